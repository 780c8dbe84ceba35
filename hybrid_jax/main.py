"""Trains, evaluates and uses combinations of ResNets and Vision Transformers.

    python -m hybrid_jax.main --config=r26_vit_b16
    python -m hybrid_jax.main --config=my_experiment.py:folder=/data/birds
    python -m hybrid_jax.main --config=r26_vit_b16 --mode=predict --input=photos/
    python -m hybrid_jax.main --config=studies/every_fusion --mode=study

The same command goes on with a run that was interrupted. A mistake ends with one
message and exit status 1; a traceback is a defect of this library.
"""

import os
import pathlib
import re
import sys
import traceback

from absl import app, flags, logging
from ml_collections import config_flags

from hybrid_jax.command_line import flag_list as given
from hybrid_jax.command_line.flag_list import check_flags
from hybrid_jax.command_line.large_pages import restart_with_large_pages
from hybrid_jax.command_line.modes import chosen_mode
from hybrid_jax.config_files import first_lines, study_lines, with_files
from hybrid_jax.errors import UserError, nearest

# So that --help lists them as those of this program.
flags.adopt_module_key_flags(given)


def _default_workdir(config_path: str) -> str:
    """`runs/<config name>`, with the argument after the colon made part of the name."""
    path, _, argument = config_path.partition(":")
    words = "".join(c if c.isalnum() or c in "._-=" else "-" for c in argument)
    name = pathlib.Path(path).stem + (f"-{words.strip('-')}" if argument else "")
    return str(pathlib.Path("runs") / name)


def _compilation_cache() -> str:
    """Compiled programs are kept between runs: a restart should not pay for them again."""
    default = pathlib.Path("~/.cache/hybrid_jax/xla").expanduser()
    return os.environ.get("HJ_CACHE", str(default))


def _parse_flags(argv: list[str]) -> list[str]:
    """Reads the flags and loads the config.

    Raises:
        UserError: anything wrong on the command line or in the config file, for which
            absl and ml_collections would show a traceback.
    """
    try:
        words = flags.FLAGS(with_files(argv))
        if given.MODE.value != "report":
            if not flags.FLAGS["config"].present:
                example = "name an experiment, e.g. --config=r26_vit_b16; --help lists all."
                raise UserError(f"no --config: {example}")
            _ = given.CONFIG.value.seed  # a missing file fails when first used
    except SystemExit:
        studies = ("studies, for --mode=study", study_lines())
        for title, lines in (("experiments", first_lines()), studies):
            print(f"\n{title}:")
            for name, line in lines.items():
                print(f"  --config={name:24} {line}")
        sys.exit(0)  # --help has been printed; absl calls that a failure
    except (flags.Error, AttributeError, KeyError, OSError) as error:
        raise UserError(_explained(error, argv)) from error
    if len(words) > 1:
        raise UserError(f"unexpected arguments: {words[1:]}; flags begin with --.")
    return words


def _explained(error: Exception, argv: list[str]) -> str:
    """Returns what went wrong, from the middle of what the libraries say about it."""
    cause: BaseException | None = error
    while cause is not None:
        # The library's own message, which ml_collections repeats with its traceback.
        if isinstance(cause, UserError) and "\n" not in str(cause):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError):
        asked = re.search(r"--?config[= ]([^:\s]+)", " ".join(argv))
        if asked and not asked[1].endswith(".py") and "/" not in asked[1]:
            names = first_lines()
            return (
                f"no experiment {asked[1]!r} and no file of that name."
                f"{nearest(asked[1], names)} Known: {', '.join(names)}."
            )
        return f"the config cannot be read: {str(error).splitlines()[-1].strip()}."
    if isinstance(error, flags.Error):
        return f"{error} (--help lists the flags)"
    inner = error.args[0] if error.args else error
    text = " ".join(str(inner.args[0] if hasattr(inner, "args") else inner).split())
    text = re.sub(r' Other fields present: "\{.*\}"', "", text)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.name == "get_config":
            return f"{frame.filename}, line {frame.lineno}: {text}"
    key = text.split("'")[1] if "'" in text else ""
    given = [word for word in argv if word.startswith("--config.") and key in word]
    text = text.replace("' Did", "'. Did")
    where = ". Only a study has it, see docs/studies.md." if key == "study" else ""
    return f"{', '.join(given)}: the config has no key {text}{where}"


def _workdir() -> str:
    """Returns the workdir, or several separated by commas for `--mode=report`."""
    if given.WORKDIR.value:
        return given.WORKDIR.value
    if not flags.FLAGS["config"].present:
        raise UserError("--mode=report: give --workdir=PATH, or several: --workdir=A,B.")
    return _default_workdir(config_flags.get_config_filename(flags.FLAGS["config"]))


def _run(argv: list[str]) -> None:
    check_flags()
    mode = given.MODE.value
    config = {} if mode == "report" else given.CONFIG.value  # the workdir has it
    if mode == "study" and "study" not in config:
        raise UserError("--mode=study: the config is no study; see docs/studies.md.")
    if "study" in config and mode != "study":
        raise UserError(f"the config is a study: give --mode=study, not {mode}.")
    if mode == "study":
        from hybrid_jax.studies.overruled_words import refuse_overruled

        name = config_flags.get_config_filename(flags.FLAGS["config"])
        refuse_overruled(given.CONFIG.value, name.partition(":")[2])
    # Imported here so that --help answers at once.
    import jax

    from hybrid_jax.train.failure import failing_together
    from hybrid_jax.train.parallel.distributed import join

    logging.set_verbosity(logging.WARNING)
    jax.config.update("jax_compilation_cache_dir", _compilation_cache())
    if mode == "study":
        # The runs, each a process of its own, need the accelerators and their memory.
        jax.config.update("jax_platforms", "cpu")
    else:
        join()
    with failing_together():
        chosen_mode()(config, _workdir())


def main() -> None:
    """Parses the flags and runs one mode."""
    try:
        app.run(_run, flags_parser=_parse_flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read the output has left, as `| head` does; no more can be told, and
        # Python would try once again on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)  # as shells report SIGINT


if __name__ == "__main__":
    restart_with_large_pages()
    main()
