"""All launch scripts: well-formed, short, and they tell how they are used."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from stub_programs import LAUNCH, Stubs

# The ones a user calls; the others are sourced by them or run on hosts.
CALLED = ["gke.sh", "local.sh", "slurm.sbatch", "tpu_pod.sh"]
SHELL = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])
WORDS = {
    "gke.sh": [
        *("run", "job", "--image=i", "--accelerator=a", "--topology=2x2"),
        *("--num-hosts=1", "--chips-per-host=4", "--", "--workdir=gs://b/r"),
    ],
    "local.sh": ["2", "--config=c", "--workdir=w"],
    "slurm.sbatch": ["--config=c", "--workdir=w"],
    "tpu_pod.sh": [
        *("run", "pod", "--zone=z-1-a", "--num-hosts=1", "--", "--workdir=gs://b/r"),
    ],
}


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path, "docker", "gcloud", "kubectl", "python", "srun", "tar", "xpk")


def test_shellcheck_finds_nothing():
    program = shutil.which("shellcheck", path=str(pathlib.Path(sys.executable).parent))
    done = subprocess.run(
        [program, "--external-sources", *map(str, SHELL)],
        capture_output=True,
        text=True,
        check=False,
        cwd=LAUNCH.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(LAUNCH.iterdir()), ids=lambda path: path.name)
def test_file_is_short(path):
    if path.is_file():
        lines = path.read_text().splitlines()
        assert len(lines) < 300
        assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("script", CALLED)
def test_help_is_the_manual(stubs, script):
    done = stubs.run_well(script, "--help")
    assert f"launch/{script}" in done.stdout
    assert "--dry-run" in done.stdout
    assert "set -euo" not in done.stdout
    assert stubs.calls() == []


@pytest.mark.parametrize("script", [name for name in CALLED if name != "slurm.sbatch"])
def test_without_words_the_manual_is_an_error(stubs, script):
    done = stubs.run(script)
    assert done.returncode == 2
    assert f"bash launch/{script}" in done.stderr


@pytest.mark.parametrize("place", [0, 1, -1, None])
@pytest.mark.parametrize("script", CALLED)
def test_dry_run_anywhere_runs_nothing(stubs, script, place):
    words = list(WORDS[script])
    words.insert(len(words) if place is None else place, "--dry-run")
    done = stubs.run_well(script, *words)
    assert stubs.calls() == []
    assert done.stdout


@pytest.mark.parametrize("script", [name for name in CALLED if name != "local.sh"])
def test_without_dry_run_something_runs(stubs, script):
    stubs.run(script, *WORDS[script])
    assert stubs.calls()


@pytest.mark.parametrize("script", ["gke.sh", "tpu_pod.sh"])
@pytest.mark.parametrize("workdir", [[], ["--workdir=/home/me/r"], ["--workdir=gs://b"]])
def test_workdir_must_be_in_a_bucket(stubs, script, workdir):
    words = [word for word in WORDS[script] if not word.startswith("--workdir")]
    done = stubs.run(script, *words, *workdir)
    assert done.returncode == 2
    assert "expected a folder of a bucket, such as gs://" in done.stderr
    assert stubs.calls() == []


@pytest.mark.parametrize("script", ["gke.sh", "tpu_pod.sh"])
def test_unknown_options_are_refused(stubs, script):
    words = WORDS[script]
    done = stubs.run(script, *words[:2], "--zoen=z", *words[2:])
    assert done.returncode == 2
    assert "--zoen=z is no option" in done.stderr
    done = stubs.run(script, "fly", *words[1:])
    assert done.returncode == 2
    assert "the verb: got 'fly', expected" in done.stderr


def test_image_lacks_what_hosts_lack():
    ignored = (LAUNCH / "Dockerfile.dockerignore").read_text().split("\n")
    there = {line.removeprefix("**/") for line in ignored if line.startswith("**/")}
    text = (LAUNCH / "source_archive.sh").read_text()
    words = re.search(r"not_copied=\((.*?)\)", text, re.DOTALL)[1].split()
    assert there == {word.strip("'") for word in words}
    assert {".git", "runs"} <= there


def test_image_runs_the_command_line():
    text = (LAUNCH / "Dockerfile").read_text()
    instructions = re.findall(r"^([A-Z]+) (.+)$", text, re.MULTILINE)
    assert [word for word, _ in instructions][:2] == ["FROM", "ARG"]
    assert dict(instructions)["ARG"] == "ACCELERATOR=cuda"
    entry = json.loads(dict(instructions)["ENTRYPOINT"])
    assert entry == ["python", "launch/report_end.py", "python", "-m", "hybrid_jax.main"]
    assert '--editable ".[$ACCELERATOR,gcs]"' in text
    setup = (LAUNCH.parent / "setup.py").read_text()
    assert {'"cuda":', '"tpu":', '"gcs":'} <= set(setup.split())
