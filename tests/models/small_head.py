"""Segmentation heads built small, on random maps of an image of odd sides."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from fresh_modules import fresh_state
from parameters import as_float64, names_and_leaves, random_like

from hybrid_jax.contracts import BlockFeatures, Features
from hybrid_jax.models.heads import HEADS
from hybrid_jax.tasks.segmentation.pixel_loss import pixel_cross_entropy

CHANNELS = {4: 8, 8: 12, 16: 16, 32: 24}
HW = (37, 50)  # px, multiples of nothing
K, WIDTH, TAPS = 5, 12, 4


def features(*, rows=2, hw=HW, seed=0, mask=None, taps=TAPS):
    """Returns random maps at strides 4 to 32 and tokens after some blocks."""
    rng = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(rng.standard_normal((rows, *shape)), jnp.float32)

    grid = {s: tuple(math.ceil(side / s) for side in hw) for s in CHANNELS}
    maps = {s: array(*grid[s], c) for s, c in CHANNELS.items()}
    blocks = [BlockFeatures(array(*grid[16], WIDTH), array(WIDTH)) for _ in range(taps)]
    return Features(maps, array(WIDTH), mask=mask, intermediates=tuple(blocks))


def construct(name, *, num_classes=K, seed=0, dtype="float32", **options):
    """Calls a head's constructor the way `build_model` does."""
    return HEADS.get(name)(
        CHANNELS,
        width=WIDTH,
        num_classes=num_classes,
        dtype=dtype,
        rngs=nnx.Rngs(params=seed),
        **options,
    )


def random_head(name, **options):
    """Returns (apply, parameters in float64): `apply(features)` is compiled."""
    module = nnx.eval_shape(lambda: construct(name, **options))
    graph, state = nnx.split(module)
    state = random_like(state)
    apply = jax.jit(lambda state, x: nnx.merge(graph, state)(x, train=False))
    return functools.partial(apply, state), as_float64(state)


def outputs_shape(name, *, hw=HW, **options):
    """Returns the shapes of the outputs; nothing is computed."""

    def run():
        return construct(name, **options)(features(hw=hw, taps=0), train=True)

    return jax.eval_shape(run)


def check_learns(name, *, updates=12, rate=0.03, taps_given=0, **options):
    """From a fresh start the loss on four images falls, and moves every parameter."""
    module = nnx.eval_shape(lambda: construct(name, **options))
    state = fresh_state(lambda: construct(name, **options))
    graph, params, rest = nnx.split(nnx.merge(nnx.graphdef(module), state), nnx.Param, ...)
    inputs = features(rows=4, taps=taps_given)
    # Something that the maps tell: which of five channels is largest.
    labels = np.asarray(inputs.maps[8])[..., :K].argmax(-1)
    labels = labels.repeat(8, 1).repeat(8, 2)[:, : HW[0], : HW[1]].astype(np.uint8)
    rule = optax.adam(rate)

    def loss_of(params, inputs, labels):
        head = nnx.merge(graph, params, rest, copy=True)
        out = head(inputs, train=True, key=jax.random.key(0))
        loss = pixel_cross_entropy(out.logits, labels, stride=out.stride)
        if out.auxiliary is not None:
            stride = out.auxiliary_stride
            loss += pixel_cross_entropy(out.auxiliary, labels, stride=stride)
        return loss / labels.size

    @jax.jit
    def step(params, state, inputs, labels):
        loss, gradient = jax.value_and_grad(loss_of)(params, inputs, labels)
        change, state = rule.update(gradient, state)
        return optax.apply_updates(params, change), state, loss, gradient

    # Adam begins with zeros alone.
    shapes, losses = jax.eval_shape(rule.init, params), []
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    for _ in range(updates):
        params, state, loss, gradient = step(params, state, inputs, labels)
        losses.append(float(loss))
    dead = [path for path, g in names_and_leaves(gradient).items() if not np.any(g)]
    assert not dead, f"no gradient reaches {dead[:5]}"
    assert losses[-1] < 0.9 * losses[0], f"the loss does not fall: {losses}"
