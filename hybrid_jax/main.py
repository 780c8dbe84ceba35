"""Trains, evaluates and uses combinations of ResNets and Vision Transformers.

    python -m hybrid_jax.main --config=r26_vit_b16
    python -m hybrid_jax.main --config=my_experiment.py:folder=/data/birds
    python -m hybrid_jax.main --config=r26_vit_b16 --mode=predict --input=photos/
    python -m hybrid_jax.main --config=studies/every_fusion --mode=study

The same command goes on with a run that was interrupted. A mistake ends with one
message and exit status 1; a traceback is a defect of this library.
"""

# The only reader of flags; two modules mark those of other libraries as parsed.

import functools
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from hybrid_jax.config_files import first_lines, study_lines, with_files
from hybrid_jax.errors import UserError, nearest

_MODES = (
    *("train", "check", "evaluate", "robustness", "predict", "explain", "profile"),
    *("export", "pack", "config", "study", "report"),
)

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The experiment: a name of the list below, or a file. Words after a colon choose data "
    "(digits, shapes, imagenet2012, folder=PATH, tfds=NAME, coco=(IMAGES,JSON), ...) and "
    "common keys (size=, fusion=, head=, pretrained=, fusion.OPTION=, ...): "
    "r26_vit_b16:imagenet2012,size=384. A wrong word is answered with all there are. Any "
    "key is set with --config.<key>=<value>.",
    lock_config=True,
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    _MODES,
    "What to do with the experiment. check reads all of its data once, says what is there "
    "and what is wrong, and draws samples. pack writes it as a few large files for "
    "records=PATH. config prints every key as training would have it: with what hardware, "
    "data, published weights and a run in the workdir decide. explain draws what a run "
    "looks at in the images of --input; without any, it scores how well that finds the "
    "objects of config.eval.split. study trains and compares variants of an experiment; see "
    "docs/studies.md. report makes report.html of a workdir alone, without --config, and "
    "compares several: --workdir=A,B.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where the run is kept and continued from: a directory or a bucket path. "
    "Default: runs/<name of the config>-<words after the colon>.",
)

_FORMATS = {
    "export": ("safetensors", "npz", "stablehlo", "onnx"),
    "predict": ("json", "jsonl", "csv"),
}
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    [name for formats in _FORMATS.values() for name in formats],
    "--mode=export: weights for other libraries, safetensors (timm's layout; the default) "
    "or npz (vit_jax's); or a program with its weights, stablehlo (runs with jax alone) or "
    "onnx. --mode=predict: json (the default), and jsonl or csv for that file beside it.",
)
_PROGRAM = flags.DEFINE_enum(
    "program",
    "network",
    ["network", "whole"],
    "--mode=export --format=stablehlo: network maps normalized images to what the head "
    "gives; whole maps uint8 images of any size to predictions in their own px.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "--mode=export: the file of weights, default <workdir>/export/model.<format>; or the "
    "directory of a program, default <workdir>/export/<format>. "
    "--mode=predict: the directory; default <workdir>/predictions. "
    "--mode=explain: the directory; default <workdir>/explanations. "
    "--mode=check: the directory; default the workdir. "
    "--mode=report: the page; default in the workdir. "
    "--mode=pack: the directory or bucket path.",
)
_MAX_SIDE = flags.DEFINE_integer(
    "max_side",
    None,
    "--mode=pack: px of the longer side; larger images are packed smaller. Default: as "
    "they are.",
)
_INPUT = flags.DEFINE_list(
    "input",
    [],
    "--mode=predict and explain: the images: files, directories with all below them, and "
    "patterns such as 'photos/*.jpg', separated by commas.",
)
_SUITES = flags.DEFINE_list(
    "suites",
    [],
    "--mode=robustness: what the run is scored under, as corruptions,rotation; default all "
    "that suit its task. A wrong one is answered with all there are.",
)
_CORRUPTIONS = flags.DEFINE_list(
    "corruptions",
    [],
    "--mode=robustness: names, as gaussian_noise,fog; default all 19. A wrong one is "
    "answered with all there are. Without --suites no other suite is measured.",
)
_SEVERITIES = flags.DEFINE_list(
    "severities",
    ["1", "2", "3", "4", "5"],
    "--mode=robustness: of the corruptions, which of 1 to 5.",
)
_BASELINE = flags.DEFINE_list(
    "baseline",
    [],
    "--mode=robustness: workdirs of runs that were measured before, separated by commas; "
    "errors are given relative to theirs (mCE), and plots show them all.",
)
_TOPOLOGY = flags.DEFINE_string(
    "topology",
    "",
    "--mode=profile: accelerators that need not be here, as v5e:2x4 (TPU chips; the step "
    "is compiled for them: 1 to 3 minutes, after pip install -e '.[tpu]') or h100:8 (GPUs; "
    "estimated). Prints memory, traffic, the step's bound, and whether it fits.",
)

# Flags that only some modes read.
_ONLY_FOR = (
    (_INPUT, ("predict", "explain")),
    (_TOPOLOGY, ("profile",)),
    (_MAX_SIDE, ("pack",)),
    (_PROGRAM, ("export",)),
    *((f, ("robustness",)) for f in (_SUITES, _CORRUPTIONS, _SEVERITIES, _BASELINE)),
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


def _parse_flags(argv: list[str]) -> list[str]:
    """Reads the flags and loads the config.

    Raises:
        UserError: anything wrong on the command line or in the config file, for which
            absl and ml_collections would show a traceback.
    """
    try:
        words = flags.FLAGS(with_files(argv))
        if _MODE.value != "report":
            if not flags.FLAGS["config"].present:
                example = "name an experiment, e.g. --config=r26_vit_b16; --help lists all."
                raise UserError(f"no --config: {example}")
            _ = _CONFIG.value.seed  # a missing file fails when first used
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
    return f"{', '.join(given)}: the config has no key {text}"


def _workdir() -> str:
    """Returns the workdir, or several separated by commas for `--mode=report`."""
    if _WORKDIR.value:
        return _WORKDIR.value
    if not flags.FLAGS["config"].present:
        raise UserError("--mode=report: give --workdir=PATH, or several: --workdir=A,B.")
    return _default_workdir(config_flags.get_config_filename(flags.FLAGS["config"]))


def _mode() -> Callable[[Any, str], Any]:
    """Returns what does the work; imports nothing that another mode needs."""
    match _MODE.value:
        case "train":
            from hybrid_jax.train.loop import train as run
        case "check":
            from hybrid_jax.checking.check import check

            return functools.partial(check, output=_OUTPUT.value)
        case "evaluate":
            from hybrid_jax.evaluate import evaluate as run
        case "robustness":
            from hybrid_jax.robustness.measure import measure_robustness

            return functools.partial(
                measure_robustness,
                suites=_SUITES.value,
                corruptions=_CORRUPTIONS.value,
                severities=_SEVERITIES.value,
                baselines=_BASELINE.value,
            )
        case "predict":
            from hybrid_jax.predicting.predict_run import predict_run

            options = dict(output=_OUTPUT.value, format=_FORMAT.value or "json")
            return functools.partial(predict_run, inputs=_INPUT.value, **options)
        case "explain":
            from hybrid_jax.explaining.explain_run import explain_run

            options = dict(inputs=_INPUT.value, output=_OUTPUT.value)
            return functools.partial(explain_run, **options)
        case "profile" if _TOPOLOGY.value:
            from hybrid_jax.profiling.topology import profile_on

            return functools.partial(profile_on, topology=_TOPOLOGY.value)
        case "profile":
            from hybrid_jax.profiling.profile import profile as run
        case "export":
            from hybrid_jax.exporting.export_run import export_run

            options = dict(format=_FORMAT.value or "safetensors", program=_PROGRAM.value)
            return functools.partial(export_run, output=_OUTPUT.value, **options)
        case "pack":
            from hybrid_jax.packing.pack import pack

            options = dict(output=_OUTPUT.value, max_side=_MAX_SIDE.value)
            return functools.partial(pack, **options)
        case "config":
            from hybrid_jax.train.reporting.show_config import show_config as run
        case "study":
            from hybrid_jax.studies.study import study as run
        case "report":
            from hybrid_jax.report import report

            return lambda _, workdirs: report(workdirs.split(","), output=_OUTPUT.value)
    return run


def _run(argv: list[str]) -> None:
    for flag, modes in _ONLY_FOR:
        if flag.present and (asked := _MODE.value) not in modes:
            allowed = " and ".join(modes)
            raise UserError(
                f"--{flag.name} is for --mode={allowed}, not for --mode={asked}."
            )
    if _FORMAT.value and _FORMAT.value not in _FORMATS.get(_MODE.value, ()):
        (mode,) = (mode for mode in _FORMATS if _FORMAT.value in _FORMATS[mode])
        raise UserError(
            f"--format={_FORMAT.value} is for --mode={mode}, not for --mode={_MODE.value}."
        )
    if _PROGRAM.present and _FORMAT.value not in ("stablehlo", "onnx"):
        raise UserError("--program is for --format=stablehlo and --format=onnx.")
    if _MODE.value == "study" and "study" not in _CONFIG.value:
        raise UserError("--mode=study: the config is no study; see docs/studies.md.")
    config = {} if _MODE.value == "report" else _CONFIG.value  # the workdir has it
    if "study" in config and _MODE.value != "study":
        raise UserError(f"the config is a study: give --mode=study, not {_MODE.value}.")
    # Imported here so that --help answers at once.
    import jax

    from hybrid_jax.train.failure import failing_together
    from hybrid_jax.train.parallel.distributed import join

    logging.set_verbosity(logging.WARNING)
    jax.config.update("jax_compilation_cache_dir", _compilation_cache())
    if _MODE.value == "study":
        # The runs, each a process of its own, need the accelerators and their memory.
        jax.config.update("jax_platforms", "cpu")
    else:
        join()
    with failing_together():
        _mode()(config, _workdir())


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
    main()
