"""Options of fusions: unknown ones and wrong types are one line that names the fusion."""

import typing
from collections.abc import Sequence

import pytest

from hybrid_jax.errors import UserError
from hybrid_jax.models.fusions import FUSIONS
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
    check_options("mine", Fusion, options)


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
        check_options("mine", Fusion, {option: value})
    assert str(error.value) == (
        f"fusion 'mine': {option}: expected {expected}, got {value!r}."
    )


def test_unknown_option_names_the_nearest():
    with pytest.raises(UserError, match=r"no option 'cuont'. Did you mean 'count'\?"):
        check_options("mine", Fusion, dict(cuont=1))


def test_root_block_alone_is_one_line():
    with pytest.raises(UserError) as error:
        check_has_stages("mine", ResNetSpec(blocks=()))
    assert str(error.value) == (
        "fusion 'mine': resnet: expected a ResNet with stages, got a root block alone "
        "(size 'r'); choose r26, r50, r101 or r152."
    )
    check_has_stages("mine", ResNetSpec(blocks=(1,)))


@pytest.mark.parametrize("name", FUSIONS.names())
def test_every_option_of_a_registered_fusion_states_its_type(name):
    class Odd: ...

    fusion = FUSIONS.get(name)
    hints = typing.get_type_hints(fusion.__init__)
    for option in set(hints) - {"resnet_spec", "vit_spec", "image_size", "rngs", "return"}:
        with pytest.raises(UserError, match=f"^fusion '{name}': {option}: expected "):
            check_options(name, fusion, {option: Odd()})
