"""Command line: `python -m hybrid_jax.main --config=configs/r26_vit_b16.py`.

The only reader of flags. A mistake in what the user asked for ends with one message and
exit status 1; a traceback means a defect of this library.
"""

import os
import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from hybrid_jax.errors import UserError

_MODES = ("train", "evaluate")

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The experiment, e.g. configs/r26_vit_b16.py. Words after a colon choose data and "
    "common keys: configs/r26_vit_b16.py:imagenet2012,size=384. Any key is set with "
    "--config.<key>=<value>.",
    lock_config=True,
)
_MODE = flags.DEFINE_enum("mode", "train", _MODES, "What to do with the experiment.")
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where the run is kept and continued from: a directory or a bucket path. "
    "Default: runs/<name of the config>.",
)


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


def _run(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}; flags begin with --")
    # Imported here so that --help answers at once.
    import jax

    from hybrid_jax.evaluate import evaluate
    from hybrid_jax.train.distributed import join
    from hybrid_jax.train.loop import train

    logging.set_verbosity(logging.WARNING)
    jax.config.update("jax_compilation_cache_dir", _compilation_cache())
    join()
    config_path = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = _WORKDIR.value or _default_workdir(config_path)
    modes = dict(train=train, evaluate=evaluate)
    modes[_MODE.value](_CONFIG.value, workdir)


def main() -> None:
    """Parses the flags and runs one mode."""
    flags.mark_flag_as_required("config")
    try:
        app.run(_run)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
