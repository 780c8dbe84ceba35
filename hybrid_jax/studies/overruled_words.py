"""Words after the colon of `--config` that would change nothing in a study."""

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.config.recipes import keys_of_words
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.workdir import flat


def refuse_overruled(config: ConfigDict, argument: str) -> None:
    """Checks that no word sets a key that every run of the study sets anew.

    Args:
        config: of `study_config`.
        argument: what stood behind the colon of `--config`.

    Raises:
        UserError: naming the word, and what the study sets in its place.
    """
    tried = flat(config.study.grid.to_dict())
    own = [flat(changes) for changes in config.study.variants.to_dict().values()]
    for word, key in sorted(keys_of_words(argument).items()):
        if key == "seed":
            raise UserError(
                f"config argument: {word}= would change nothing, since this study has the "
                f"seeds {_listed(config.study.seeds)}. Leave {word}= out, or choose them "
                f'with --config.study.seeds="(...)".'
            )
        if key in tried:
            raise UserError(
                f"config argument: {word}= would change nothing, since this study tries "
                f"{key} = {_listed(tried[key])}. Leave {word}= out, or say what is tried "
                f'with --config.study.grid.{key}="(...)".'
            )
        if all(key in changes for changes in own):
            raise UserError(
                f"config argument: {word}= would change nothing, since every variant of "
                f"this study has a {key} of its own: "
                f"{_listed(dict.fromkeys(changes[key] for changes in own))}. "
                f"Leave {word}= out."
            )


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))
