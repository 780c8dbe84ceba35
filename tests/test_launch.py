"""The launch scripts parse, explain themselves, and print exactly what they would run."""

import pathlib
import shlex
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).parent.parent / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))


def bash(*words) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", *map(str, words)], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_parses_and_shows_its_usage(script):
    assert bash("-n", script).returncode == 0
    done = bash(script)
    assert done.returncode == 2
    assert f"bash launch/{script.name}" in done.stderr


def test_tpu_vm_starts_every_host_with_the_words_given():
    words = ["--config=configs/tiny.py:folder=/data/two words", "--workdir=gs://b/r"]
    done = bash(LAUNCH / "tpu_vm.sh", "pod", "us-east5-b", "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    copy, start = (shlex.split(line) for line in done.stdout.splitlines())
    assert copy[:5] == ["gcloud", "compute", "tpus", "tpu-vm", "scp"]
    assert {"--worker=all", "--zone=us-east5-b"} <= set(copy) & set(start)
    remote = start[-1].removeprefix("--command=")
    assert "HJ_DISTRIBUTED=1 nohup python3 -m hybrid_jax.main" in remote
    inside = remote.split("hybrid_jax.main", 1)[1].split(">")[0]
    assert shlex.split(inside) == words
