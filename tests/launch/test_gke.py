"""gke.sh gives kubectl a JobSet, or xpk a workload."""

import shlex

import pytest
import yaml
from stub_programs import Stubs

SLICE = ["--accelerator=tpu-v5-lite-podslice", "--topology=4x4", "--chips-per-host=4"]
RUN = ["run", "first", "--image=registry/i:1", "--num-hosts=4"]
ODD = [
    "--config=configs/x.py:fusion.strides=(16,32)",
    """--config.note=it's "so" $(HOME) $$(HOME) $HOME \\ & @NAME@: # {x}""",
    "--workdir=gs://b/runs/first",
]


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path, "kubectl", "xpk")


def manifest(stubs, *words) -> dict:
    stubs.run_well("gke.sh", *RUN, *SLICE, *words, "--", *ODD)
    assert stubs.calls() == [["kubectl", "apply", "-f", "-"]]
    return yaml.safe_load(stubs.stdin())


def pod(jobset: dict) -> dict:
    (job,) = jobset["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]


def expanded(word: str) -> str:
    """Returns what a container gets for an argument, by the rules of Kubernetes."""
    assert "$" not in word.replace("$$", ""), "a variable would be put in"
    return word.replace("$$", "$")


def test_jobset_has_a_pod_for_each_host(stubs):
    jobset = manifest(stubs, "--num-slices=2", "--max-restarts=7")
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert jobset["metadata"]["name"] == "first"
    assert jobset["spec"]["failurePolicy"] == {"maxRestarts": 7}
    (job,) = jobset["spec"]["replicatedJobs"]
    assert job["replicas"] == 2
    spec = job["template"]["spec"]
    assert (spec["parallelism"], spec["completions"], spec["backoffLimit"]) == (4, 4, 0)


def test_containers_get_words_and_variables(stubs):
    spec = pod(manifest(stubs, "--num-slices=2"))
    (container,) = spec["containers"]
    assert container["image"] == "registry/i:1"
    assert list(map(expanded, container["args"])) == ODD
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert variables == {
        "HJ_DISTRIBUTED": "1",
        "HJ_EXPECTED_PROCESSES": "8",
        "HJ_CACHE": "gs://b/hybrid_jax/xla",
    }
    assert container["resources"]["limits"] == {"google.com/tpu": 4}


@pytest.mark.parametrize("spot", [[], ["--spot"]])
def test_nodes_are_chosen(stubs, spot):
    chosen = {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    if spot:
        chosen["cloud.google.com/gke-spot"] = "true"
    assert pod(manifest(stubs, *spot))["nodeSelector"] == chosen


def test_xpk_gets_a_line_that_a_shell_reads_back(stubs):
    words = ["--cluster=c", "--tpu-type=v5litepod-16", "--num-slices=2", "--", *ODD]
    stubs.run_well("gke.sh", *RUN, *words)
    (call,) = stubs.calls()
    assert call[:4] == ["xpk", "workload", "create", "--workload=first"]
    assert {
        *("--cluster=c", "--tpu-type=v5litepod-16", "--num-slices=2"),
        *("--docker-image=registry/i:1", "--max-restarts=50"),
    } <= set(call)
    (line,) = (word for word in call if word.startswith("--command="))
    read = shlex.split(line.removeprefix("--command="))
    assert read[-len(ODD) :] == ODD
    assert "HJ_EXPECTED_PROCESSES=8" in read


def test_xpk_must_be_installed(stubs):
    (stubs.folder / "xpk").unlink()
    path = {"PATH": f"{stubs.folder}:/usr/bin:/bin"}
    words = [*RUN, "--cluster=c", "--tpu-type=v5", "--", *ODD]
    done = stubs.run("gke.sh", *words, env=stubs.environment | path)
    assert done.returncode == 2
    assert "xpk, which is not installed" in done.stderr


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("stop", ["kubectl delete jobset first"]),
        (
            "logs",
            [
                "kubectl logs --follow --tail=100 --selector=jobset.sigs.k8s.io/jobset-name"
                "=first,jobset.sigs.k8s.io/job-index=0,"
                "batch.kubernetes.io/job-completion-index=0"
            ],
        ),
        (
            "status",
            [
                "kubectl get jobset first",
                "kubectl get pods --selector=jobset.sigs.k8s.io/jobset-name=first "
                "--output=wide",
            ],
        ),
    ],
)
def test_other_verbs_ask_kubectl(stubs, verb, expected):
    stubs.run_well("gke.sh", verb, "first")
    assert list(map(" ".join, stubs.calls())) == expected


@pytest.mark.parametrize("missing", ["--image", "--num-hosts", "--topology"])
def test_missing_options_are_named(stubs, missing):
    words = [word for word in [*RUN, *SLICE] if not word.startswith(missing)]
    done = stubs.run("gke.sh", *words, "--", *ODD)
    assert done.returncode == 2
    assert f"{missing} is missing" in done.stderr
