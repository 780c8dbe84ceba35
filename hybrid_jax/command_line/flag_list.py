"""The flags of the command line, what they mean, and which modes read them."""

from absl import flags
from ml_collections import config_flags

from hybrid_jax.errors import UserError

MODES = (
    *("train", "check", "evaluate", "robustness", "predict", "explain", "profile"),
    *("export", "pack", "config", "study", "report"),
)

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The experiment: a name of the list below, or a file. Words after a colon choose data "
    "(digits, shapes, imagenet2012, folder=PATH, tfds=NAME, coco=(IMAGES,JSON), ...) and "
    "common keys (size=, fusion=, head=, pretrained=, fusion.OPTION=, ...): "
    "r26_vit_b16:imagenet2012,size=384. A wrong word is answered with all there are. Any "
    "key is set with --config.<key>=<value>.",
    lock_config=True,
)
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    MODES,
    "What to do with the experiment. check reads all of its data once, says what is there "
    "and what is wrong, and draws samples. pack writes it as a few large files for "
    "records=PATH. config prints every key as training would have it: with what hardware, "
    "data, published weights and a run in the workdir decide. explain draws what a run "
    "looks at in the images of --input; without any, it scores how well that finds the "
    "objects of config.eval.split. study trains and compares variants of an experiment: "
    "docs/studies.md. report makes report.html of a workdir alone, without --config, and "
    "compares several: --workdir=A,B.",
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where the run is kept and continued from: a directory or a bucket path. "
    "Default: runs/<name of the config>-<words after the colon>.",
)

FORMATS = {
    "export": ("safetensors", "npz", "stablehlo", "onnx"),
    "predict": ("json", "jsonl", "csv"),
}
FORMAT = flags.DEFINE_enum(
    "format",
    None,
    [name for formats in FORMATS.values() for name in formats],
    "--mode=export: weights for other libraries, safetensors (timm's layout; the default) "
    "or npz (vit_jax's); or a program with its weights, stablehlo (runs with jax alone) or "
    "onnx. --mode=predict: json (the default), and jsonl or csv for that file beside it.",
)
PROGRAM = flags.DEFINE_enum(
    "program",
    "network",
    ["network", "whole"],
    "--mode=export --format=stablehlo: network maps normalized images to what the head "
    "gives; whole maps uint8 images of any size to predictions in their own px.",
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "--mode=export: the file of weights, default <workdir>/export/model.<format>; or the "
    "directory of a program, default <workdir>/export/<format>. "
    "--mode=evaluate: the file of scores; default <workdir>/evaluation_<split>.json. "
    "--mode=predict: the directory; default <workdir>/predictions. "
    "--mode=explain: the directory; default <workdir>/explanations. "
    "--mode=check: the directory; default the workdir. "
    "--mode=report: the page; default in the workdir. "
    "--mode=pack: the directory or bucket path.",
)
MAX_SIDE = flags.DEFINE_integer(
    "max_side",
    None,
    "--mode=pack: px of the longer side; larger images are packed smaller. Default: as "
    "they are.",
)
INPUT = flags.DEFINE_list(
    "input",
    [],
    "--mode=predict and explain: the images: files, directories with all below them, and "
    "patterns such as 'photos/*.jpg', separated by commas.",
)
SUITES = flags.DEFINE_list(
    "suites",
    [],
    "--mode=robustness: what the run is scored under, as corruptions,rotation; default all "
    "that suit its task. A wrong one is answered with all there are.",
)
CORRUPTIONS = flags.DEFINE_list(
    "corruptions",
    [],
    "--mode=robustness: names, as gaussian_noise,fog; default all 19. A wrong one is "
    "answered with all there are. Without --suites no other suite is measured.",
)
SEVERITIES = flags.DEFINE_list(
    "severities",
    ["1", "2", "3", "4", "5"],
    "--mode=robustness: of the corruptions, which of 1 to 5.",
)
BASELINE = flags.DEFINE_list(
    "baseline",
    [],
    "--mode=robustness: workdirs of runs that were measured before, separated by commas; "
    "errors are given relative to theirs (mCE), and plots show them all.",
)
TOPOLOGY = flags.DEFINE_string(
    "topology",
    "",
    "--mode=profile: accelerators that need not be here, as v5e:2x4 (TPU chips; the step "
    "is compiled for them: 1 to 3 minutes, after pip install -e '.[tpu]') or h100:8 (GPUs; "
    "estimated). Prints memory, traffic, the step's bound, and whether it fits.",
)

# Flags that only some modes read.
_ONLY_FOR = (
    (OUTPUT, ("export", "evaluate", "predict", "explain", "check", "report", "pack")),
    (INPUT, ("predict", "explain")),
    (TOPOLOGY, ("profile",)),
    (MAX_SIDE, ("pack",)),
    (PROGRAM, ("export",)),
    *((f, ("robustness",)) for f in (SUITES, CORRUPTIONS, SEVERITIES, BASELINE)),
)


def check_flags() -> None:
    """Checks that no flag was given that the mode does not read.

    Raises:
        UserError: one was; the message names the modes that do.
    """
    for flag, modes in _ONLY_FOR:
        if flag.present and (asked := MODE.value) not in modes:
            *others, last = modes
            allowed = f"{', '.join(others)} and {last}" if others else last
            raise UserError(
                f"--{flag.name} is for --mode={allowed}, not for --mode={asked}."
            )
    if FORMAT.value and FORMAT.value not in FORMATS.get(MODE.value, ()):
        (mode,) = (mode for mode in FORMATS if FORMAT.value in FORMATS[mode])
        raise UserError(
            f"--format={FORMAT.value} is for --mode={mode}, not for --mode={MODE.value}."
        )
    if PROGRAM.present and FORMAT.value not in ("stablehlo", "onnx"):
        raise UserError("--program is for --format=stablehlo and --format=onnx.")
