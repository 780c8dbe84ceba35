"""`--topology`: estimates by hand, and the compiled path on pretend devices."""

import dataclasses
import json
import re
import sys

import jax
import pytest
from jax.experimental import topologies
from small_run import ROOT, run, small_config

from hybrid_jax.chips import chip_named
from hybrid_jax.errors import UserError
from hybrid_jax.profiling import ahead_of_time
from hybrid_jax.profiling import topology as topology_file
from hybrid_jax.profiling.ahead_of_time import OutOfMemory, compile_train_step, tpu_devices
from hybrid_jax.profiling.profile import describe
from hybrid_jax.profiling.topology import cost_on, profile_on
from hybrid_jax.train.experiment import prepare

# Most of a test is tracing.
ONE_BLOCK = {
    "model.fusion": "vit",
    "model.vit_options.depth": 1,
    "model.vit_options.patch_size": 8,
}


@pytest.fixture
def pretend(monkeypatch):
    """The eight CPUs of the tests stand in for a TPU slice, their compiler for its."""
    monkeypatch.setattr(topology_file, "tpu_devices", lambda _: jax.devices())
    monkeypatch.setattr(topology_file, "chip_of", lambda _: chip_named("v5e"))


@pytest.mark.usefixtures("pretend")
def test_compiled_step_has_its_memory_and_its_traffic(capsys, tmp_path):
    changes = {"mesh.data": 2, "mesh.fsdp": 4, "data.name": "folder:/nowhere"}
    config = small_config(ONE_BLOCK | changes)
    cost = profile_on(config, str(tmp_path / "run"), topology="v5e:2x4")
    printed = capsys.readouterr().out
    assert printed.endswith(f"{cost}\n")
    assert "described with 1000 classes, because data 'folder:/nowhere'" in printed
    assert cost.devices == dict(data=2, fsdp=4, tensor=1)
    assert cost.compiled
    assert cost.fits
    assert cost.images == 8
    assert cost.peak == sum(cost.memory.values())
    state = describe(config, devices=8).memory
    held = state.parameters + state.optimizer
    assert held < cost.memory["state and batch"] < held + 5000  # eight small images
    assert cost.memory["activations and workspace"] > 0
    assert any(row.op == "all-reduce" and "data" in row.axes for row in cost.traffic)
    assert cost.flops > 0.5 * cost.model_flops > 0
    assert max(map(len, str(cost).splitlines())) <= 92
    assert json.loads(json.dumps(cost.as_dict())) == cost.as_dict()
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("pretend")
def test_step_that_does_not_fit_is_an_answer(monkeypatch):
    def refuse(_):
        raise OutOfMemory("Used 20.29G of 15.75G hbm")

    monkeypatch.setattr(topology_file, "compile_train_step", refuse)
    cost = cost_on(small_config(ONE_BLOCK), topology="v5e:2x4")
    assert not cost.fits
    assert "fits: no of 16 GiB" in str(cost)
    assert "Used 20.29G of 15.75G hbm" in str(cost)


def test_what_the_compiler_says_of_memory_is_kept(monkeypatch):
    error = jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
        "space hbm. Used 20.29G of 15.75G hbm. Exceeded hbm capacity by 4.54G.\n\nTotal"
    )

    class Lowered:
        def compile(self):
            raise error

    monkeypatch.setattr(ahead_of_time, "lower_train_step", lambda _: Lowered())
    with pytest.raises(OutOfMemory, match=re.escape("Used 20.29G of 15.75G hbm")):
        compile_train_step(None)
    error = jax.errors.JaxRuntimeError("INTERNAL: a defect")
    with pytest.raises(jax.errors.JaxRuntimeError, match="a defect"):
        compile_train_step(None)


def test_lowering_reads_no_image(monkeypatch):
    experiment = prepare(small_config(ONE_BLOCK))

    class Unreadable:
        info = experiment.source.info

        def __len__(self):
            return len(experiment.source)

    experiment = dataclasses.replace(experiment, source=Unreadable())
    text = ahead_of_time.lower_train_step(experiment).as_text()
    assert "tensor<8x16x16x3xui8>" in text


def test_estimate_of_gpus_is_arithmetic():
    changes = {"mesh.data": 2, "mesh.fsdp": 4, "train.batch_size": 64}
    config = small_config(ONE_BLOCK | changes)
    cost = cost_on(config, topology="h100:8")
    found = describe(config, platform="gpu", devices=8)
    assert not cost.compiled
    assert cost.peak == found.memory.total
    assert cost.model_flops == 6 * found.total_macs * 64 / 8
    rows = {row.op: row for row in cost.traffic}
    whole = 2 * found.total_params
    assert rows["all-gather"].received_bytes == 2 * (whole * 3 // 4)
    assert rows["reduce-scatter"].received_bytes == whole * 3 // 4
    assert rows["all-reduce"].received_bytes == whole // 4  # of a quarter, twice a half
    seconds = cost.seconds
    assert seconds["compute"] == cost.model_flops / 989.4e12
    assert cost.bound == max(seconds, key=seconds.get)
    assert "an estimate; nothing was compiled" in str(cost)


def test_estimate_knows_when_it_does_not_fit():
    cost = cost_on(small_config(ONE_BLOCK | {"train.batch_size": 2**24}), topology="l4:2")
    assert not cost.fits
    assert cost.devices["data"] == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5:2x4", "unknown chip 'v5'. Did you mean"),
        ("v5e", "expected chips as in v5e:2x4 after the colon"),
        ("v5e:8", "expected chips as in v5e:2x4 after the colon"),
        ("h100:0", "expected a number as in h100:8 after the colon"),
        ("h100:2x4", "expected a number as in h100:8 after the colon"),
    ],
)
def test_mistaken_topology_is_one_message(name, message):
    with pytest.raises(UserError, match=re.escape(message)):
        cost_on(small_config(), topology=name)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("JAX TPU support not installed", "Install it with: pip install -e '.[tpu]'"),
        ("Unable to open libtpu.so", "Install it with: pip install -e '.[tpu]'"),
        ("layout 3x3 is not divisible", "does not know this slice (layout 3x3 is not div"),
    ],
)
def test_compiler_that_is_missing_or_refuses(said, message, monkeypatch):
    def refuse(**_):
        raise RuntimeError(said)

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    monkeypatch.setattr(ahead_of_time, "_WITHOUT_TPUS", {})
    with pytest.raises(UserError, match=re.escape(message)):
        tpu_devices("v5e:3x3")


def test_small_slices_are_one_host(monkeypatch):
    asked = {}

    class Topology:
        devices = ()

    def answer(**options):
        asked[options["topology_name"]] = options.get("chips_per_host_bounds")
        return Topology()

    monkeypatch.setattr(topologies, "get_topology_desc", answer)
    monkeypatch.setattr(ahead_of_time, "_WITHOUT_TPUS", {})
    for name in ("v5e:1x1", "v5e:2x4", "v5e:4x4", "v5p:2x2x1"):
        tpu_devices(name)
    assert asked == {
        "v5e:1x1": (1, 1, 1),
        "v5e:2x4": (2, 4, 1),
        "v5e:4x4": None,
        "v5p:2x2x1": (2, 2, 1),
    }


def test_flag_of_another_mode_is_refused(tmp_path):
    config = f"--config={ROOT / 'configs/tiny.py'}"
    words = [sys.executable, "-m", "hybrid_jax.main", config, "--topology=v5e:2x4"]
    done = run(words, cwd=tmp_path)
    assert done.returncode == 1
    assert "--topology is for --mode=profile, not for --mode=train" in done.stderr
