"""Every registered fusion keeps every promise; a new file is tested as it stands.

What is traced is looked at in all of them. What is computed is slow in those that take
longest to compile, see `COSTLY`.
"""

import dataclasses
import inspect

import fusion_guarantees as guarantees
import jax
import jax.numpy as jnp
import pytest
import small_fusion
from flax import nnx
from flax.configurations import config as flax_config
from folding_guarantee import (
    check_folding_changes_nothing,
    check_folding_leaves_none_to_standardize,
    filled,
    random_module,
)
from grid_guarantee import check_grids_cover_the_image
from task_steps import check_head_takes, read_by

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import build_fusion

# Seconds to compile each. Their numbers are looked at in `fusions/` as well; that a
# guarantee holds in whatever parts, layers and ways to connect them share is seen in the
# others. A fusion that is not named here, as a new one is not, has all computed.
COSTLY = {
    "bifusion",
    "conformer",
    "cross_attention",
    "mobile_former",
    "rtdetr_encoder",
    "sta",
    "vit_adapter",
    "vit_comer",
}


@pytest.fixture(params=FUSIONS.names(), scope="module")
def fusion(request):
    """One after the other, so that each is built in one worker."""
    return FUSIONS.get(request.param)


of_computed_fusions = pytest.mark.parametrize(
    "fusion",
    [
        pytest.param(name, marks=pytest.mark.slow if name in COSTLY else ())
        for name in FUSIONS.names()
    ],
    indirect=True,
    scope="module",
)


def test_costly_fusions_are_registered():
    assert set(FUSIONS.names()) >= COSTLY


# Sizes and dtypes have nothing to do with one another: each is looked at in a few places.
def test_fusion_obeys_the_contract(fusion):
    guarantees.check_contract(fusion)


def test_fusion_takes_other_parts_at_a_larger_size(fusion):
    parts = small_fusion.variant(small_fusion.BATCH_NORM)
    guarantees.check_contract(fusion, hw=small_fusion.AWKWARD, **parts)
    check_grids_cover_the_image(fusion, **parts)


def test_fusion_computes_in_the_spec_dtype_whatever_the_images_at_a_smaller_size(fusion):
    parts = small_fusion.variant(small_fusion.BFLOAT16)
    options = dict(dtype="bfloat16", image_dtype="float32")
    guarantees.check_contract(fusion, **options, hw=small_fusion.OTHER_HW, **parts)
    check_grids_cover_the_image(fusion, **parts)


def test_fusion_parameters_are_float32_under_bfloat16(fusion):
    guarantees.check_parameters_are_float32(fusion)


def test_gradient_can_come_to_every_parameter(fusion):
    guarantees.check_everything_is_read(fusion)


def test_eval_is_deterministic_and_ignores_the_key(fusion):
    guarantees.check_eval_is_deterministic(fusion)


def test_drops_follow_the_key_in_train_mode(fusion):
    guarantees.check_drops_follow_the_key(fusion)


@of_computed_fusions
def test_gradient_reaches_every_parameter(fusion):
    guarantees.check_gradient_reaches_everything(fusion)


@of_computed_fusions
def test_examples_do_not_mix_at_another_size(fusion):
    guarantees.check_examples_do_not_mix(fusion)


@of_computed_fusions
def test_jit_equals_eager(fusion):
    guarantees.check_jit_equals_eager(fusion)


def test_folding_leaves_no_kernel_to_standardize(fusion):
    graph, state = nnx.split(small_fusion.build(fusion, **small_fusion.COMPUTED).module)
    fold_and_check = check_folding_leaves_none_to_standardize
    jax.eval_shape(lambda state: fold_and_check(nnx.merge(graph, state)), state)


@of_computed_fusions
def test_folding_standardized_kernels_changes_nothing(fusion):
    built = small_fusion.build(fusion, **small_fusion.COMPUTED)
    module = filled(built.module)
    images = small_fusion.example_images(small_fusion.OTHER_HW)
    expected, _ = built.read(nnx.state(module), images)
    check_folding_changes_nothing(module, images, expected=expected)


@of_computed_fusions
def test_folding_batch_norm_changes_nothing(fusion):
    specs = dict(small_fusion.COMPUTED)
    specs["resnet"] = dataclasses.replace(specs["resnet"], norm="batch")
    module = random_module(lambda: small_fusion.construct(fusion, **specs))
    check_folding_changes_nothing(module, small_fusion.example_images())


# `vit_comer` as `vit_adapter`: what either adds to the ViT is silent at first.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "vit_comer" else ())
        for name in FUSIONS.names()
        if FUSIONS.get(name).starts_as is not None
    ],
)
def test_fusion_starts_as_its_donor(name):
    guarantees.check_starts_as_its_donor(FUSIONS.get(name))


def test_parameters_of_the_parts_keep_their_names(fusion):
    guarantees.check_names_are_stable(fusion)


def test_fusion_holds_only_parameters_and_statistics(fusion):
    guarantees.check_holds_only_parameters_and_statistics(fusion)


@pytest.fixture
def tree_mode():
    # Flax means to make these the defaults (FLIP 5310): no shared submodules then.
    flags = ("nnx_graph_mode", "nnx_graph_updates")
    before = {flag: getattr(flax_config, flag) for flag in flags}
    for flag in flags:
        flax_config.update(flag, False)
    yield
    for flag, value in before.items():
        flax_config.update(flag, value)


@pytest.mark.usefixtures("tree_mode")
def test_fusion_is_clean_in_tree_mode(fusion):
    module = nnx.eval_shape(lambda: small_fusion.construct(fusion, **small_fusion.COMPUTED))
    graph, state = nnx.split(module)
    images = jax.ShapeDtypeStruct((2, *small_fusion.BUILT_FOR, 3), jnp.float32)
    features = jax.eval_shape(
        lambda state, x: nnx.merge(graph, state)(x, train=False), state, images
    )
    assert features.pooled.shape == (2, module.width)


@pytest.mark.usefixtures("tree_mode")
def test_tree_mode_refuses_a_shared_part():
    class Shares(nnx.Module):
        def __init__(self):
            self.one = self.other = nnx.Linear(3, 5, rngs=nnx.Rngs(params=0))

    with pytest.raises(ValueError, match="Duplicate"):
        nnx.split(nnx.eval_shape(Shares))


def test_every_head_has_a_loss_and_answers_on_what_a_fusion_gives(fusion):
    """Shapes and dtypes alone, traced, under a stand-in with maps of the fusion's strides.

    That the fusion's maps have their shapes is looked at above. A step is really taken in
    `test_every_head.py`: by the fusion `vit` alone, under every head, at a size that is a
    multiple of nothing; `detr` in two variants. Gradients through the fusion's own
    channels are taken in `test_every_pair_trains.py`, which is slow.
    """
    failed = {}
    for head in HEADS.names():
        try:
            check_head_takes(head, read_by(head, fusion))
        except Exception as error:
            failed[head] = error
    assert not failed, f"heads that do not take {_name(fusion)!r}: {failed}"


def test_fusion_documents_its_wiring(fusion):
    beginning = f"`{_name(fusion)}`: "
    assert (inspect.getmodule(fusion).__doc__ or "").startswith(beginning), (
        f"the docstring of the module begins with {beginning!r} and what it is"
    )


def test_unknown_option_is_one_line_with_the_nearest():
    with pytest.raises(UserError) as error:
        _build("sequential", strid=16)
    assert str(error.value) == (
        "fusion 'sequential' has no option 'strid'. Did you mean 'stride'? "
        "It accepts: stride."
    )


def test_option_of_a_fusion_without_options_says_none():
    with pytest.raises(UserError, match=r"It accepts: none\.$"):
        _build("vit", stride=16)


def test_unknown_fusion_is_one_line_with_the_nearest():
    with pytest.raises(UserError) as error:
        _build("sequental")
    message = str(error.value)
    assert message.startswith("unknown fusion 'sequental'. Did you mean 'sequential'?")
    assert "\n" not in message


@pytest.mark.parametrize("name", FUSIONS.names())
def test_too_small_an_image_is_one_line_that_says_what_to_do(name):
    with pytest.raises(UserError) as error:
        nnx.eval_shape(lambda: _build(name, image_size=(64, 3)))
    message = str(error.value).partition("\n---")[0]  # JAX notes below, under a trace
    assert "px or more, the stride of its coarsest map, got 64x3 px." in message
    assert "Set data.image_size to" in message
    assert "\n" not in message


def _name(fusion):
    return next(name for name in FUSIONS.names() if FUSIONS.get(name) is fusion)


def _build(name, *, image_size=(64, 96), **options):
    return build_fusion(
        name,
        small_fusion.RESNET,
        small_fusion.VIT,
        image_size=image_size,
        rngs=nnx.Rngs(params=0),
        **options,
    )
