"""What a user sees: help, one clear message for each mistake, and a finished run."""

import json
import os
import subprocess
import sys

import pytest
from absl.testing import flagsaver
from small_run import MAIN, ROOT, command, environment, run_well

from hybrid_jax import main
from hybrid_jax.command_line import flag_list
from hybrid_jax.main import _default_workdir

TINY = f"--config={ROOT / 'configs/tiny.py'}"


@pytest.fixture
def mistaken(tmp_path, monkeypatch, capfd):
    """Runs the command line in an empty folder and in this process, which is quick.

    Returns what it prints as an error; it must be one line and all there is.
    """

    def run(words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["main.py", *words])
        monkeypatch.setenv("HJ_CACHE", os.environ.get("JAX_COMPILATION_CACHE_DIR", ""))
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
            main.main()
        printed = capfd.readouterr()
        assert ended.value.code == 1
        assert printed.err.startswith("error: ")
        assert len(printed.err.splitlines()) == 1
        assert printed.out == ""
        return printed.err

    return run


def test_help_lists_flags_and_modes():
    done = run_well([*MAIN, "--help"], forked=False)
    printed = "".join(done.stdout.split())  # absl breaks lines within words
    for words in (
        "--config",
        f"<{'|'.join(flag_list.MODES)}>",
        "--workdir",
        "--input",
        "runs/<name of",
        "--config=r26_vit_b16",
        "A hybrid of 1.0 M parameters that learns in minutes on two cores.",
        "--config=studies/every_fusion",
    ):
        assert "".join(words.split()) in printed
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            [],
            "no --config: name an experiment, e.g. --config=r26_vit_b16; --help lists all.",
        ),
        (["--config=r26_vit_b61"], "no experiment 'r26_vit_b61' and no file of that name."),
        (["--config", "r26_vit_b61:digits"], "Did you mean 'r26_vit_b16'? Known: ade20k_"),
        (
            ["--config=configs/none.py"],
            "the config cannot be read: [Errno 2] No such file or directory: "
            "'configs/none.py'.",
        ),
        (
            [TINY, "--config.train.step=5"],
            "--config.train.step=5: the config has no key 'step'. "
            'Did you mean "steps" instead of "step"?',
        ),
        (
            [TINY, "--config.trian.steps=5"],
            "--config.trian.steps=5: the config has no key 'trian'. "
            'Did you mean "train" instead of "trian"?',
        ),
        (
            [TINY, "--mode=study", "--config.study.plan_only"],
            "Only a study has it, see docs/studies.md",
        ),
        ([TINY, "--config.train.steps=many"], "flag --config.train.steps=many: invalid"),
        (
            [TINY, "--config.train.steps=-5"],
            "config.train.steps: expected a positive number, got -5.",
        ),
        (
            [TINY, "--config.model.fusion=sequental"],
            "unknown fusion 'sequental'. Did you mean 'sequential'?",
        ),
        (
            [TINY, "--config.optimizer.name=adam"],
            "config.optimizer.name: expected one of adamw, sgd, lamb, got 'adam'.",
        ),
        (
            [TINY, "--config.data.image_size=4"],
            "fusion 'sequential': image_size: expected 16 px or more, the stride of its "
            "coarsest map, got 4x4 px.",
        ),
        (
            [TINY, "--config.data.name=folder:/nowhere"],
            "data 'folder:/nowhere': there is no folder /nowhere.",
        ),
        ([TINY, "--config.data.name=digit"], "Did you mean 'digits'?"),
        ([TINY, "--config.data.train_split=trian"], "trian"),
        ([TINY + ":digits,size=big"], "config argument 'size=big': cannot read 'big'"),
        ([TINY + ":digit"], "config argument 'digit': unknown data. Did you mean 'digits'"),
        ([TINY, "--config.mesh.data=3"], "config.mesh: data=3, fsdp=1, tensor=1 does not"),
        (
            [TINY, "--mode=tune"],
            "flag --mode=tune: value should be one of <train|check|eval",
        ),
        ([TINY, "--mode=study"], "--mode=study: the config is no study; see docs/"),
        (["--config=studies/every_fusion"], "a study: give --mode=study, not train."),
        (
            [TINY, "--input=photos"],
            "--input is for --mode=predict and explain, not for --mode=train.",
        ),
        (
            [TINY, "--mode=profile", "--output=out"],
            "--output is for --mode=export, evaluate, predict, explain, check, report and ",
        ),
        (
            [TINY, "--mode=predict", "--input=photos"],
            "--input: there is no file or folder 'photos'.",
        ),
        (
            [TINY, "--mode=explain", "--input=photos"],
            "--input: there is no file or folder 'photos'.",
        ),
        (
            [TINY + ":size=4", "--mode=profile"],
            "fusion 'sequential': image_size: expected 16 px or more",
        ),
        (
            [TINY, "--severities=1"],
            "--severities is for --mode=robustness, not for --mode=train.",
        ),
        (
            [TINY, "--mode=robustness", "--corruptions=fogg"],
            "unknown corruption 'fogg'. Did you mean 'fog'? Known: gaussian_noise, ",
        ),
        (
            [TINY, "--mode=robustness", "--suites=rotatoin"],
            "unknown suite 'rotatoin'. Did you mean 'rotation'? Known: attacks, corruptio",
        ),
        (
            [TINY, "--mode=robustness", "--severities=6"],
            "severity: expected 1, 2, 3, 4 or 5, got 6.",
        ),
        (
            [TINY, "--mode=robustness", "--baseline=none"],
            "/none/robustness_passes.json. Measure that run first: --mode=robustness with ",
        ),
        ([TINY, "--mode=predict"], "--mode=predict: expected --input=PATH[,PATH...] with"),
        ([TINY, "train"], "unexpected arguments: ['train']; flags begin with --."),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else "",
)
def test_mistake_ends_with_one_message(mistaken, tmp_path, words, expected):
    assert expected in mistaken(words)
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_output_that_nobody_reads_ends_the_command_without_a_traceback(tmp_path):
    words = [*MAIN, TINY, "--mode=config"]
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_report_wants_workdirs_of_runs_and_no_config(mistaken, tmp_path):
    wanted = "error: --mode=report: give --workdir=PATH, or several: --workdir=A,B."
    assert mistaken(["--mode=report"]).strip() == wanted
    error = mistaken(["--mode=report", f"--workdir={tmp_path}"])
    assert error.startswith(f"error: --workdir: {tmp_path} has neither config.json nor")


def test_mistake_in_a_config_file_is_named_by_line(mistaken, tmp_path):
    config = tmp_path / "mine.py"
    config.write_text(
        "from hybrid_jax.config import defaults\n\n\n"
        "def get_config():\n"
        "    config = defaults('tiny')\n"
        "    config.train.step = 5\n"
        "    return config\n"
    )
    error = mistaken([f"--config={config}"])
    assert error.startswith(f'error: {config}, line 6: Key "step" does not exist')
    assert 'Did you mean "steps" instead of "step"?' in error


@pytest.mark.parametrize(
    ("config", "workdir"),
    [
        ("configs/tiny.py", "runs/tiny"),
        ("/home/me/configs/tiny.py:shapes", "runs/tiny-shapes"),
        ("configs/b.py:folder=/data/birds,size=384", "runs/b-folder=-data-birds-size=384"),
    ],
)
def test_default_workdir_is_named_after_the_config(config, workdir):
    assert _default_workdir(config) == workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Workdir and output of a run of three steps that leaves all it can."""
    place = tmp_path_factory.mktemp("finished")
    words = [word for word in command(place) if not word.startswith("--workdir")]
    keys = {"train.steps": 3, "eval.every": 2, "model.vit_options.depth": 1}
    keys |= {"log.tensorboard": True, "log.report_page": True}
    flags = [f"--config.{name}={value}" for name, value in keys.items()]
    done = run_well([*words, *flags], cwd=place)
    return place / "runs/small_experiment", done.stdout


def test_run_leaves_everything_in_its_default_workdir(finished):
    workdir, said = finished
    assert sorted(path.name for path in workdir.iterdir()) == [
        "checkpoints",
        "config.json",
        "dataset.json",
        "findings.json",
        "metrics.jsonl",
        "report.html",
        "report.json",
        "tensorboard",
    ]
    report = json.loads((workdir / "report.json").read_text())
    assert report["steps"] == 3
    assert report["scores"]["count"] == 177
    assert report["model"]["fusion"] == "sequential"
    assert f"workdir {workdir}" in said
    assert "done: 3 steps" in said


def test_run_ends_with_its_page(finished):
    workdir, said = finished
    assert said.splitlines()[-1] == f"report: {workdir / 'report.html'}"
    assert (workdir / "report.html").stat().st_size < 3_000_000
    findings = json.loads((workdir / "findings.json").read_text())
    assert "hybrid_jax.main --config=" in findings["command"]
    assert findings["step"] == 3
    counts = findings["confusion"]["counts"]
    assert sum(map(sum, counts)) == 177
    right = sum(row[k] for k, row in enumerate(counts))
    scores = json.loads((workdir / "report.json").read_text())["scores"]
    assert right / 177 == pytest.approx(scores["top1"])
    assert len(findings["worst"]) == len(findings["samples"]) == 8


def test_tensorboard_has_the_same_examples_at_every_evaluation(finished):
    (events,) = (finished[0] / "tensorboard").iterdir()
    content = events.read_bytes()
    for number in (0, 25, 50, 75, 101, 126, 151, 176):  # of 177
        assert content.count(b"validation/example_%d" % number) == 2
    assert b"| `train.steps` | `3` |" in content
    assert b"train/grad_norm_vit" in content
