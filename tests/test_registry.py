"""Names to entries, and the messages for names that are none."""

import pytest

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.registry import Registry
from hybrid_jax.tasks import TASKS


@pytest.fixture
def registry():
    # `json` is a package whose modules register nothing here.
    return Registry("fruit", package="json")


def test_entry_is_found_by_its_name(registry):
    apple = registry.register("apple")(object())
    assert registry.get("apple") is apple


def test_names_are_sorted(registry):
    for name in ("pear", "apple", "fig"):
        registry.register(name)(name.title())
    assert registry.names() == ("apple", "fig", "pear")


def test_unknown_name_gives_the_nearest_and_all(registry):
    registry.register("apple")(1)
    registry.register("pear")(2)
    with pytest.raises(UserError) as error:
        registry.get("aple")
    assert str(error.value) == (
        "unknown fruit 'aple'. Did you mean 'apple'? Known: apple, pear."
    )


def test_name_like_no_other_gives_no_guess(registry):
    registry.register("apple")(1)
    with pytest.raises(UserError) as error:
        registry.get("xyzzy")
    assert str(error.value) == "unknown fruit 'xyzzy'. Known: apple."


def test_second_entry_of_a_name_is_refused_and_both_are_named(registry):
    class Apple: ...

    class OtherApple: ...

    registry.register("apple")(Apple)
    with pytest.raises(ValueError, match=r"'apple' is registered twice.*\.Apple.*Other"):
        registry.register("apple")(OtherApple)
    assert registry.get("apple") is Apple


def test_the_same_entry_may_register_again(registry):
    apple = object()
    registry.register("apple")(apple)
    registry.register("apple")(apple)
    assert registry.names() == ("apple",)


def test_class_that_is_defined_again_replaces_the_first(registry):
    def define():
        class Apple: ...

        return registry.register("apple")(Apple)

    first, second = define(), define()
    assert registry.get("apple") is second
    assert second is not first


def test_decorator_returns_what_it_decorates(registry):
    class Apple: ...

    assert registry.register("apple")(Apple) is Apple


@pytest.mark.parametrize("of", [FUSIONS, HEADS, TASKS], ids=lambda r: r.kind)
def test_registries_of_the_library_are_filled(of):
    assert of.names()
    for name in of.names():
        assert of.get(name)


def test_nearest_is_a_sentence_or_nothing():
    assert nearest("sequental", ("vit", "sequential")) == " Did you mean 'sequential'?"
    assert nearest("q", ("vit", "sequential")) == ""
