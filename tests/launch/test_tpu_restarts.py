"""A spot run comes back after its machines were taken, on a cloud of two pretended hosts.

Everything of the launch scripts is real, on_host.sh too; gcloud and the model are not.
"""

import pathlib
import shutil
import sys

import pytest
from stub_programs import LAUNCH, Stubs, wait_until

# What a host runs in place of Python: `-m pip` does nothing, `-m hybrid_jax.main` plays the
# role that is due; everything else is Python.
HOST_PYTHON = """#!/bin/bash
if [[ $1 != -m ]]; then exec {python} "$@"; fi
if [[ $2 == pip ]]; then exit 0; fi
attempts=$FAKE_CLOUD/attempts-$(basename "$HOME")
printf '%s\\n' "$HJ_EXPECTED_PROCESSES $*" >> "$attempts"
attempt=$(wc -l < "$attempts")
source "$FAKE_CLOUD/role"
"""
PREEMPTED_ONCE = """
if ((attempt == 1)); then
  echo SUSPENDED > "$FAKE_CLOUD/state"
  echo "stopped by SIGTERM after step 3; saved"
else
  echo "done: 8 steps"
fi
"""
# The hosts that are left notice by a failure before the cloud tells.
NEIGHBOR_LOST = """
if ((attempt == 1)); then
  if [[ $HOME == *host0 ]]; then touch "$FAKE_CLOUD/doomed"; fi
  exit 1
fi
"""
RUN = [
    *("run", "pod", "--zone=z-1-a", "--num-hosts=2", "--spot", "--accelerator-type=v5"),
    *("--runtime-version=v2", "--max-restarts=3", "--", "--config=c:(1,2)"),
    "--workdir=gs://b/r",
]


@pytest.fixture
def cloud(tmp_path):
    # Of the source, the hosts need little more than the scripts; packing all takes long.
    launch = shutil.copytree(LAUNCH, tmp_path / "checkout/launch")
    stubs = Stubs(tmp_path, launch=launch)
    fake = pathlib.Path(__file__).with_name("fake_gcloud.py").read_text()
    stubs.add("gcloud", f"#!{sys.executable}\n{fake}")
    stubs.add("hostname", '#!/bin/bash\nbasename "$HOME"\n')
    stubs.environment["FAKE_CLOUD"] = str(tmp_path)
    for host in ("host0", "host1"):
        python = tmp_path / host / "hybrid_jax/venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(HOST_PYTHON.format(python=sys.executable))
        python.chmod(0o755)
    return stubs


def play(cloud: Stubs, role: str) -> None:
    (pathlib.Path(cloud.environment["FAKE_CLOUD"]) / "role").write_text(role)


def attempts(cloud: Stubs, host: str) -> list[str]:
    path = pathlib.Path(cloud.environment["FAKE_CLOUD"]) / f"attempts-{host}"
    return path.read_text().splitlines()


def verbs(cloud: Stubs) -> list[str]:
    calls = cloud.calls("gcloud", "compute", "tpus", "queued-resources")
    return [call[4] for call in calls if call[4] != "describe"]


@pytest.mark.parametrize("role", [PREEMPTED_ONCE, NEIGHBOR_LOST])
def test_preempted_run_comes_back_with_the_same_command(cloud, tmp_path, role):
    play(cloud, role)
    ends_of_before = tmp_path / "gs/b/r/launch/ends"
    ends_of_before.mkdir(parents=True)
    (ends_of_before / "host9").write_text("stopped\n")
    done = cloud.run_well("tpu_pod.sh", *RUN)
    assert verbs(cloud) == ["create", "ssh", "delete", "create", "ssh"]
    create, again = cloud.calls("gcloud", "compute", "tpus", "queued-resources", "create")
    assert create == again
    for host in ("host0", "host1"):
        first, second = attempts(cloud, host)
        assert first == second
        assert first == "2 -m hybrid_jax.main --config=c:(1,2) --workdir=gs://b/r"
    assert "restart 1 of at most 3" in done.stderr
    assert "ended: finished" in done.stderr


@pytest.mark.slow
def test_run_told_to_end_on_machines_that_stay_goes_on_there(cloud):
    play(cloud, 'if ((attempt == 1)); then echo "stopped by SIGTERM after step 3"; fi')
    cloud.run_well("tpu_pod.sh", *RUN)
    assert verbs(cloud) == ["create", "ssh", "ssh"]
    assert len(attempts(cloud, "host0")) == 2


def test_source_reaches_the_hosts_without_what_they_do_not_need(cloud, tmp_path):
    cloud.launch = LAUNCH
    play(cloud, 'pwd > "$FAKE_CLOUD/place"')
    cloud.run_well("tpu_pod.sh", *RUN)
    source = tmp_path / "host1/hybrid_jax/source"
    assert (source / "hybrid_jax/main.py").exists()
    assert not (source / ".git").exists()
    assert not list(source.rglob("__pycache__"))
    assert (tmp_path / "place").read_text().strip().endswith("hybrid_jax/source")


def test_failed_run_is_not_tried_again(cloud, tmp_path):
    play(cloud, "echo 'error: no such key' >&2; exit 1")
    done = cloud.run("tpu_pod.sh", *RUN)
    assert done.returncode == 1
    assert verbs(cloud) == ["create", "ssh"]
    assert "failed 1" in done.stderr
    (log, _) = (tmp_path / "gs/b/r/launch/logs").iterdir()
    assert log.read_text() == "error: no such key\n"


@pytest.mark.slow
def test_restarts_have_a_limit(cloud):
    play(cloud, 'echo SUSPENDED > "$FAKE_CLOUD/state"; echo "stopped by SIGTERM"')
    words = [word.replace("--max-restarts=3", "--max-restarts=1") for word in RUN]
    done = cloud.run("tpu_pod.sh", *words)
    assert done.returncode == 1
    assert "gave up after 1 restarts" in done.stderr
    assert len(attempts(cloud, "host0")) == 2


@pytest.mark.parametrize("role", ["true", "exit 1"])
def test_machines_are_deleted_when_done_if_asked(cloud, role):
    play(cloud, role)
    words = RUN[: RUN.index("--")] + ["--delete-when-done"] + RUN[RUN.index("--") :]
    assert (cloud.run("tpu_pod.sh", *words).returncode == 0) == (role == "true")
    assert verbs(cloud) == ["create", "ssh", "delete"]


def test_run_that_is_asked_to_stop_is_not_brought_back(cloud):
    # The first host's program calls `stop`, as a user would from another terminal.
    play(
        cloud,
        """
if [[ $HOME == *host0 ]]; then bash launch/tpu_pod.sh stop pod --zone=z-1-a; fi
until [[ -e $HOME/hybrid_jax/asked_to_stop ]]; do sleep 0.02; done
echo "stopped by SIGTERM after step 3; saved"
""",
    )
    done = cloud.run_well("tpu_pod.sh", *RUN)
    assert "ended: stopped" in done.stderr
    assert verbs(cloud) == ["create", "ssh", "ssh"]


def test_second_start_leaves_a_run_in_progress_alone(cloud, tmp_path):
    play(cloud, "until [[ -e $FAKE_CLOUD/go_on ]]; do sleep 0.02; done")
    words = [word for word in RUN if word != "--spot"]
    (tmp_path / "state").write_text("ACTIVE")
    cloud.run_well("tpu_pod.sh", *words)
    wait_until(lambda: len(list(tmp_path.glob("attempts-host*"))) == 2)
    cloud.run_well("tpu_pod.sh", *words)
    logs = [tmp_path / host / "hybrid_jax/host.log" for host in ("host0", "host1")]
    wait_until(lambda: all("a run is in progress" in log.read_text() for log in logs))
    (tmp_path / "go_on").touch()
    folder = tmp_path / "gs/b/r/launch/ends"
    wait_until(lambda: all((folder / host).exists() for host in ("host0", "host1")))
    assert len(attempts(cloud, "host0")) == 1
    done = cloud.run_well("tpu_pod.sh", "status", "pod", "--zone=z-1-a", "--", RUN[-1])
    assert done.stdout.split()[-2:] == ["finished", "finished"]
