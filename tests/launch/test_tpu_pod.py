"""tpu_pod.sh calls gcloud as its reference says, and words survive the way to hosts."""

import shlex
import subprocess

import pytest
from stub_programs import Stubs

ZONE = "--zone=us-west4-a"
QUEUED = [ZONE, "--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite"]
GROUP = [
    *(
        "--backend=mig",
        "--project=p",
        "--zone=us-east5-b",
        "--machine-type=ct6e-standard-4t",
    ),
    *("--topology=4x4", "--num-hosts=4", "--image-family=f", "--image-project=g"),
]
SCOPE = "--scopes=https://www.googleapis.com/auth/cloud-platform"
ODD = [
    "--config=configs/x.py:fusion.strides=(16,32)",
    "--config.data.name=folder:/data/two words",
    """--config.note=it's "so" $HOME `id` \\ & ; * #""",
    "--workdir=gs://b/runs/first",
]


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path, "gcloud")


def remote(stubs: Stubs) -> str:
    """Returns the command that the last ssh call gives to the hosts."""
    call = [call for call in stubs.calls("gcloud") if "ssh" in call][-1]
    (command,) = (word for word in call if word.startswith("--command="))
    return command.removeprefix("--command=")


def test_queued_resource_is_created(stubs):
    stubs.run_well("tpu_pod.sh", "create", "pod", *QUEUED)
    (call,) = stubs.calls()
    assert call[1:6] == ["compute", "tpus", "queued-resources", "create", "pod"]
    assert set(call[6:]) == {*QUEUED, "--node-id=pod", SCOPE}


def test_several_spot_slices_are_created(stubs):
    words = ["--spot", "--num-slices=2", "--project=p", "--create-flag=--network=wide net"]
    stubs.run_well("tpu_pod.sh", "create", "pod", *QUEUED, *words)
    (call,) = stubs.calls()
    several = {"--node-count=2", "--node-prefix=pod", "--spot", "--project=p"}
    assert set(call[6:]) == {*QUEUED, *several, SCOPE, "--network=wide net"}


def test_managed_instance_group_is_created(stubs):
    stubs.run_well("tpu_pod.sh", "create", "pod", *GROUP, "--spot")
    template, policy, group = stubs.calls("gcloud", "compute")
    assert template[2:5] == ["instance-templates", "create", "pod"]
    assert {
        *("--machine-type=ct6e-standard-4t", "--maintenance-policy=TERMINATE"),
        *("--image-family=f", "--image-project=g", "--provisioning-model=SPOT", SCOPE),
    } <= set(template)
    assert policy[2:6] == ["resource-policies", "create", "workload-policy", "pod"]
    assert {"--accelerator-topology=4x4", "--type=HIGH_THROUGHPUT"} <= set(policy)
    assert group[2:6] == ["instance-groups", "managed", "create", "pod"]
    assert {
        *("--size=4", "--template=pod", "--target-size-policy-mode=bulk"),
        "--workload-policy=projects/p/regions/us-east5/resourcePolicies/pod",
        *("--region=us-east5", "--zones=us-east5-b"),
    } <= set(group)


def test_group_of_one_host_has_no_topology_to_keep(stubs):
    words = [word for word in GROUP if not word.startswith("--num-hosts")]
    stubs.run_well("tpu_pod.sh", "create", "pod", *words, "--num-hosts=1")
    _, group = stubs.calls("gcloud", "compute")
    assert not any("policies" in word for word in group)


@pytest.mark.parametrize("missing", ["--zone", "--accelerator-type", "--runtime-version"])
def test_missing_options_are_named(stubs, missing):
    words = [word for word in QUEUED if not word.startswith(missing)]
    done = stubs.run("tpu_pod.sh", "create", "pod", *words)
    assert done.returncode == 2
    assert f"{missing} is missing" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "pod", ZONE, "--", "--workdir=gs://b/r"], "--num-hosts is missing"),
        (["run", "pod", ZONE, "--num-hosts=x"], "--num-hosts: got 'x', expected a whole"),
        (["run", "Pod", ZONE], "the name: got 'Pod'"),
        (["run", "pod", ZONE, "--backend=tpu-vm"], "--backend: got 'tpu-vm', expected"),
        (["create", "pod", *GROUP, "--num-slices=2"], "--num-slices: got 2, expected 1"),
        (["run", "pod", ZONE, "--config=c"], "Flags of the run follow a --"),
    ],
)
def test_mistakes_are_told(stubs, words, message):
    done = stubs.run("tpu_pod.sh", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert stubs.calls() == []


def test_run_starts_every_host_of_every_slice(stubs):
    words = [ZONE, "--num-hosts=4", "--num-slices=2", "--", *ODD]
    stubs.run_well("tpu_pod.sh", "run", "pod", *words)
    copies = [call[-1] for call in stubs.calls("gcloud", "storage", "cp")]
    folder = "gs://b/runs/first/launch"
    assert copies == [f"{folder}/source.tar.gz", f"{folder}/on_host.sh"]
    (ssh,) = stubs.calls("gcloud", "compute")
    assert ssh[3:6] == ["queued-resources", "ssh", "pod"]
    assert {"--node=all", "--worker=all", ZONE} <= set(ssh)
    command = remote(stubs)
    assert "HJ_EXPECTED_PROCESSES=8" in command
    assert "HJ_CACHE=gs://b/hybrid_jax/xla" in command


def test_words_survive_the_remote_shell(stubs, tmp_path):
    stubs.run_well("tpu_pod.sh", "run", "pod", ZONE, "--num-hosts=1", "--", *ODD)
    told = tmp_path / "told"
    stubs.add(
        "nohup", f'#!/bin/bash\nprintf "%s\\0" "$@" > {told}.new; mv {told}.new {told}\n'
    )
    done = subprocess.run(
        ["bash", "-c", f"{remote(stubs)}; wait"],
        env=stubs.environment,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert done.stdout == done.stderr == b""
    words = told.read_text().split("\0")[:-1]
    assert words[:3] == ["setsid", "bash", "hybrid_jax/on_host.sh"]
    assert words[words.index("--") + 1 :] == ODD


def test_group_is_reached_host_by_host(stubs):
    stubs.add("gcloud", stubs.folder.joinpath("gcloud").read_text() + LIST)
    stubs.run_well("tpu_pod.sh", "stop", "pod", *GROUP)
    reached = stubs.calls("gcloud", "compute", "ssh")
    assert sorted(call[3] for call in reached) == ["pod-0", "pod-1"]
    stubs.run_well("tpu_pod.sh", "logs", "pod", *GROUP)
    assert stubs.calls("gcloud", "compute", "ssh")[-1][3] == "pod-0"


LIST = """
if "list-instances" in sys.argv:
    print("pod-0\\npod-1")
"""


def test_dry_run_prints_what_can_be_pasted(stubs):
    words = [*QUEUED, "--num-hosts=4", "--spot", "--delete-when-done", "--", *ODD]
    done = stubs.run_well("tpu_pod.sh", "run", "pod", *words, "--dry-run")
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    verbs = [words[4] for words in lines if words[:2] == ["gcloud", "compute"]]
    assert verbs == ["create", "ssh", "delete"]
    assert stubs.calls() == []


def test_deletion_takes_the_nodes_too(stubs):
    stubs.run_well("tpu_pod.sh", "delete", "pod", ZONE)
    (call,) = stubs.calls()
    assert call[1:6] == ["compute", "tpus", "queued-resources", "delete", "pod"]
    assert {"--force", "--quiet"} <= set(call)


def test_failed_deletion_of_a_group_is_told(stubs):
    stubs.add("gcloud", stubs.folder.joinpath("gcloud").read_text() + "\nsys.exit(1)\n")
    assert stubs.run("tpu_pod.sh", "delete", "pod", *GROUP).returncode == 1
    assert len(stubs.calls("gcloud", "compute")) == 3  # the others are tried all the same
