"""What every fusion guarantees, as functions that fail with a sentence.

Each takes a fusion class, registered or not, and builds it as `small_fusion` does:
`test_every_fusion` applies them to the registry, `test_guarantees_catch_breakage` to
fusions made to fail.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import random_draws
from flax import nnx
from fresh_modules import fresh_state
from gradient_paths import inputs_reached
from parameters import names_and_leaves, random_like
from parts_alone import donor_features
from product_dtypes import float32_products
from small_fusion import (
    BATCH_NORM,
    BFLOAT16,
    BUILT_FOR,
    COMPUTED,
    OTHER_HW,
    RESNET,
    VIT,
    build,
    construct,
    example_images,
    variant,
)

from hybrid_jax.contracts import Features
from hybrid_jax.models.resnet.resnet import ResNet
from hybrid_jax.models.vit.vit import ViT


def _arrays(features: Features) -> dict[str, np.ndarray]:
    arrays = {f"map at stride {s}": np.asarray(m) for s, m in features.maps.items()}
    arrays["pooled"] = np.asarray(features.pooled)
    for index, array in enumerate(features.intermediates):
        arrays[f"intermediate {index}"] = np.asarray(array)
    return arrays


def _largest_difference(a: Features, b: Features) -> tuple[float, str]:
    a, b = _arrays(a), _arrays(b)
    assert a.keys() == b.keys(), f"other outputs: {sorted(a)} against {sorted(b)}"
    sizes = {name: float(np.abs(a[name].astype(np.float64) - b[name]).max()) for name in a}
    name = max(sizes, key=lambda key: np.nan_to_num(sizes[key], nan=np.inf))
    return sizes[name], name


def check_contract(
    fusion, *, hw=BUILT_FOR, built_for=BUILT_FOR, dtype="float32", image_dtype=None, **specs
):
    """Maps and pooled have the promised strides, channels, shapes, order and dtype."""
    specs = dict(resnet=RESNET, vit=VIT) | specs
    specs = {name: dataclasses.replace(spec, dtype=dtype) for name, spec in specs.items()}
    built = build(fusion, built_for=built_for, **specs)
    traced = _eval_trace(built, hw=hw, image_dtype=image_dtype or dtype)
    features, order = traced.features, traced.order
    channels, width = built.module.channels, built.module.width
    assert order == sorted(order), f"maps are not fine to coarse: {order}"
    assert list(channels) == order, (
        f"`channels` promises strides {list(channels)}, the maps have {order}"
    )
    for stride, array in features.maps.items():
        h, w = (math.ceil(side / stride) for side in hw)
        expected = (2, h, w, channels[stride])
        assert array.shape == expected, (
            f"map at stride {stride} of {hw[0]}x{hw[1]} images: "
            f"expected {expected}, got {array.shape}"
        )
    assert features.pooled.shape == (2, width), (
        f"pooled: expected {(2, width)}, got {features.pooled.shape}"
    )
    maps = {f"map at stride {s}": array for s, array in features.maps.items()}
    for name, array in (maps | {"pooled": features.pooled}).items():
        assert array.dtype == jnp.dtype(dtype), (
            f"specs say {dtype}, {name} is {array.dtype}: give every layer of your own "
            f"dtype=resnet_spec.dtype or dtype=vit_spec.dtype"
        )
    slow = float32_products(traced.jaxpr) if dtype == "bfloat16" else []
    assert not slow, (
        f"specs say {dtype}, {len(slow)} products are of float32, the first at {slow[0]}: "
        f"give every layer of your own dtype=resnet_spec.dtype or dtype=vit_spec.dtype"
    )


def check_parameters_are_float32(fusion):
    """Under bfloat16 compute every stored number stays float32."""
    built = build(fusion, **variant(BFLOAT16))
    for name, leaf in names_and_leaves(built.params).items():
        assert leaf.dtype == jnp.float32, f"{name} is stored as {leaf.dtype}"


def check_everything_is_read(fusion, *, hw=BUILT_FOR, dtype="float32"):
    """A gradient can come to every parameter, in a traced program: nothing is compiled.

    The program is that of `check_contract` at the same size and dtype.
    """
    specs = [dataclasses.replace(spec, dtype=dtype) for spec in (RESNET, VIT)]
    built = build(fusion, resnet=specs[0], vit=specs[1])
    jaxpr = _eval_trace(built, hw=hw, image_dtype=dtype).jaxpr
    names = list(names_and_leaves(built.params))
    reached = inputs_reached(jaxpr)[: len(names)]
    lost = [name for name, is_reached in zip(names, reached, strict=True) if not is_reached]
    assert not lost, (
        f"no gradient reaches {len(lost)} parameters, which nothing reads, or their "
        f"gradient is stopped: {', '.join(lost[:8])}"
    )
    for part in fusion.parts:
        assert any(name.startswith(f"{part}.") for name in names), (
            f"says it uses {part!r} but has no parameters under it"
        )


def check_gradient_reaches_everything(fusion):
    """A random reading of the outputs changes with every parameter, as numbers.

    As in the checks below, the size is not that for which the fusion was built, so that
    all of them compile one program.
    """
    check_everything_is_read(fusion)
    built = build(fusion, **COMPUTED)
    _, gradient = built.read(random_like(built.params), example_images(OTHER_HW))
    gradients = names_and_leaves(gradient)
    # By numpy: a norm of every shape would be a program to compile.
    sizes = {name: float(np.linalg.norm(g)) for name, g in gradients.items()}
    # Rounding alone leaves about 1e-7 of the largest; parameters that work leave 1e-3.
    least = 1e-6 * max(sizes.values())
    dead = [name for name, size in sizes.items() if not size > least]
    assert not dead, f"no gradient reaches {len(dead)} parameters: {', '.join(dead[:8])}"


@dataclasses.dataclass(frozen=True)
class _Trace:
    """Eval mode with a key, traced: the program, shapes of its outputs, maps' strides."""

    jaxpr: Any
    features: Features
    order: list[int]


@functools.lru_cache(maxsize=8)  # those of one fusion, of which three checks read one
def _eval_trace(built, *, hw, image_dtype):
    orders = []

    def apply(params, images, key):
        features = built.apply(params, images, train=False, key=key)
        assert isinstance(features, Features), f"{type(features)} is not Features"
        orders.append(list(features.maps))
        return features

    images = jax.ShapeDtypeStruct((2, *hw, 3), jnp.dtype(image_dtype))
    trace = jax.make_jaxpr(apply, return_shape=True)
    traced = trace(built.params, images, jax.random.key(0))
    return _Trace(traced[0].jaxpr, traced[1], orders[0])


def check_examples_do_not_mix(fusion):
    """In eval mode an example's features are its own, whoever it shares a batch with.

    The size is not the one that the fusion was built for: its parameters serve both.
    """
    built = build(fusion, **COMPUTED)
    params, images = random_like(built.params), example_images(OTHER_HW)
    one, _ = built.read(params, images)
    for name, array in _arrays(one).items():
        assert np.isfinite(array).all(), f"{name} is not finite at {OTHER_HW}"
    other, _ = built.read(params, images.at[1].set(example_images(OTHER_HW, seed=7)[1]))
    first = jax.tree.map(lambda x: x[:1], (one, other))
    difference, where = _largest_difference(*first)
    assert difference <= 1e-6, f"example 1 changes example 0's {where} by {difference:.1e}"
    second = jax.tree.map(lambda x: x[1:], (one, other))
    assert _largest_difference(*second)[0] > 1e-3, "the features do not see the image"


def check_eval_is_deterministic(fusion):
    """Eval mode has no randomness: no output depends on the key, and nothing is drawn."""
    traced = _eval_trace(build(fusion), hw=BUILT_FOR, image_dtype="float32")
    program = random_draws.read(traced.jaxpr)
    assert not program.reads_key, "train=False with a key depends on it"
    assert not program.draws, f"train=False draws random numbers: {program.draws}"


def check_drops_follow_the_key(fusion):
    """In train mode drop path follows the key, and only the key."""
    built = build(fusion, **COMPUTED)

    def apply(params, images, key):
        return built.apply(params, images, train=True, key=key)

    images = jax.ShapeDtypeStruct((2, *BUILT_FOR, 3), jnp.float32)
    program = random_draws.trace(apply, built.params, images)
    assert not program.seeds, f"train=True draws without the key: {program.seeds}"
    if "vit" in fusion.parts:
        assert program.reads_key, "drop_path ignores the key"


def check_jit_equals_eager(fusion):
    """Compiled and op by op agree, and so do eval mode without a key and with one."""
    built = build(fusion, **COMPUTED)
    params, images = random_like(built.params), example_images(OTHER_HW)
    eager = built.apply(params, images, train=False, key=jax.random.key(0))
    difference, where = _largest_difference(built.read(params, images)[0], eager)
    largest = max(np.abs(array).max() for array in _arrays(eager).values())
    # Float32 sums in another order through about thirty layers.
    assert difference <= 1e-4 * largest, f"jit or a key changes {where}: {difference:.1e}"


def check_starts_as_its_donor(fusion):
    """With any weights in its parts, a fresh fusion gives the donor's features.

    Whatever is drawn at random: `fresh_state` has other numbers there. At another size
    than it was built for, where both resize their positions.
    """
    donor_name = fusion.starts_as
    assert donor_name in fusion.parts, f"starts as {donor_name!r}, which it does not have"
    fresh = fresh_state(lambda: construct(fusion, **COMPUTED), nnx.Param)
    weights = random_like(nnx.to_pure_dict(fresh[donor_name]))
    nnx.replace_by_pure_dict(fresh, {donor_name: weights})
    images = example_images(OTHER_HW)
    features = build(fusion, **COMPUTED).forward(fresh, images)
    maps, pooled = donor_features(donor_name, weights, images)
    for stride, expected in maps.items():
        assert stride in features.maps, f"lacks the donor's map at stride {stride}"
        np.testing.assert_allclose(
            features.maps[stride],
            expected,
            atol=1e-5 * float(jnp.abs(expected).max()),  # another program's float32 sums
            err_msg=f"map at stride {stride} is not the fresh {donor_name}'s",
        )
    np.testing.assert_allclose(
        features.pooled,
        pooled,
        atol=1e-5 * float(jnp.abs(pooled).max()),
        err_msg=f"pooled is not the fresh {donor_name}'s",
    )


def check_names_are_stable(fusion):
    """The parts' parameters stand under `resnet.` and `vit.`, by the parts' own names."""
    built = build(fusion)
    names = names_and_leaves(nnx.state(built.module))
    own = _names_of_parts()
    assert set(fusion.parts) <= set(own), f"unknown parts {fusion.parts}"
    for part, known in own.items():
        here = {name.split(".")[1] for name in names if name.startswith(f"{part}.")}
        if part not in fusion.parts:
            assert not here, f"does not name {part!r} but has parameters under it"
            continue
        assert here, f"names {part!r} but has no parameters under it"
        assert here <= known, f"{part}.{sorted(here - known)} are no names of that part"


@functools.cache
def _names_of_parts():
    """Returns the names of the children of either part."""
    parts = dict(
        resnet=nnx.eval_shape(lambda: ResNet(RESNET, rngs=nnx.Rngs(params=0))),
        vit=nnx.eval_shape(lambda: ViT(VIT, grid=(4, 6), rngs=nnx.Rngs(params=0))),
    )
    return {
        part: {name.split(".")[0] for name in names_and_leaves(nnx.state(module))}
        for part, module in parts.items()
    }


def check_holds_only_parameters_and_statistics(fusion):
    """Nothing random is stored: no RNG state to checkpoint, shard or forget."""
    for parts in ({}, variant(BATCH_NORM)):
        state = nnx.state(build(fusion, **parts).module)
        kinds = {
            type(leaf)
            for leaf in jax.tree.leaves(
                state, is_leaf=lambda x: isinstance(x, nnx.Variable)
            )
        }
        allowed = (nnx.Param, nnx.BatchStat)
        other = [kind for kind in kinds if not issubclass(kind, allowed)]
        assert not other, f"holds {sorted(kind.__name__ for kind in other)}"
