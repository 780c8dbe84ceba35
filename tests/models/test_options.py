"""Options of fusions and heads: unknown ones and wrong types are one line naming both."""

import inspect
import typing
from collections.abc import Sequence

import pytest

from hybrid_jax.config.renamed_keys import RENAMED_KEYS
from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.options import check_has_stages, check_options
from hybrid_jax.specs import ResNetSpec


class Fusion:
    def __init__(
        self,
        resnet_spec,
        vit_spec,
        *,
        image_size,
        rngs,
        count: int = 3,
        ratio: float = 0.5,
        kind: str = "a",
        extra: bool = False,
        levels: tuple[int, ...] | None = None,
        strides: Sequence[int] | None = None,
        mode: typing.Literal["x", "y"] = "x",
    ): ...


@pytest.mark.parametrize(
    "options",
    [
        dict(count=1, ratio=2, kind="b", extra=True),
        dict(levels=(8, 16), strides=[4]),
        dict(levels=None, strides=None, mode="y"),
    ],
)
def test_values_of_the_stated_types_pass(options):
    check_options("fusion 'mine'", Fusion, options)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("count", 2.0, "int"),
        ("count", "4", "int"),
        ("count", True, "int"),
        ("ratio", "1", "float"),
        ("kind", ["a"], "str"),
        ("extra", "no", "bool"),
        ("levels", 16, "tuple[int, ...] or None"),
        ("levels", (8, "16"), "tuple[int, ...] or None"),
        ("strides", 8, "Sequence[int] or None"),
        ("mode", "z", "Literal['x', 'y']"),
    ],
)
def test_another_type_is_one_line(option, value, expected):
    with pytest.raises(UserError) as error:
        check_options("fusion 'mine'", Fusion, {option: value})
    assert str(error.value) == (
        f"fusion 'mine': {option}: expected {expected}, got {value!r}."
    )


def test_unknown_option_names_the_nearest():
    with pytest.raises(UserError, match=r"no option 'cuont'. Did you mean 'count'\?"):
        check_options("fusion 'mine'", Fusion, dict(cuont=1))


def test_renamed_option_names_the_new_one():
    entry = HEADS.get("dpt")
    with pytest.raises(UserError, match=r"'by_corners'. It is now called 'align_corners'"):
        check_options("head 'dpt'", entry, dict(by_corners=True))


@pytest.mark.parametrize("key", [k for k in RENAMED_KEYS if "fusion_" in k or "head_" in k])
def test_renamed_options_are_options(key):
    _, options, entry, name = RENAMED_KEYS[key].split(".")
    registry = FUSIONS if options == "fusion_options" else HEADS
    assert name in inspect.signature(registry.get(entry).__init__).parameters


def test_root_block_alone_is_one_line():
    with pytest.raises(UserError) as error:
        check_has_stages("mine", ResNetSpec(blocks=()))
    assert str(error.value) == (
        "fusion 'mine': resnet: expected a ResNet with stages, got one without "
        "(size 'r'). Choose r26, r50, r101 or r152."
    )
    check_has_stages("mine", ResNetSpec(blocks=(1,)))


GIVEN_BY_THE_BUILDER = {
    *("resnet_spec", "vit_spec", "image_size", "channels", "width", "num_classes"),
    *("dtype", "rngs", "return"),
}


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        *((f"fusion {name!r}", FUSIONS.get(name)) for name in FUSIONS.names()),
        *((f"head {name!r}", HEADS.get(name)) for name in HEADS.names()),
    ],
)
def test_every_option_of_a_registered_name_states_its_type(kind, entry):
    class Odd: ...

    hints = typing.get_type_hints(entry.__init__)
    for option in inspect.signature(entry.__init__).parameters:
        if option == "self" or option in GIVEN_BY_THE_BUILDER:
            continue
        assert option in hints, f"{kind}: {option} has no type"
        with pytest.raises(UserError, match=f"^{kind}: {option}: expected "):
            check_options(kind, entry, {option: Odd()})


@pytest.mark.parametrize("given", sorted(GIVEN_BY_THE_BUILDER - {"return"}))
def test_what_the_builder_gives_is_no_option(given):
    with pytest.raises(UserError, match=f"has no option {given!r}"):
        check_options("head 'mine'", Head, {given: 1})


class Head:
    def __init__(self, channels, *, width, num_classes, dtype, rngs, depth: int = 1): ...
