"""Every platform has options of the compiler; programs are compiled with them."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from hybrid_jax.ops import compiler_options as module
from hybrid_jax.ops.compiler_options import compiler_options, made_by_intel
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.train.experiment import Experiment


@pytest.fixture
def intel(monkeypatch):
    monkeypatch.setattr(module, "made_by_intel", lambda: True)
    monkeypatch.setenv("XLA_FLAGS", "")
    module._known_to_xla.cache_clear()
    yield
    module._known_to_xla.cache_clear()


@pytest.mark.parametrize(
    ("platform", "names"), [("gpu", "xla_gpu_"), ("tpu", "xla_jf_"), ("cpu", "xla_cpu_")]
)
def test_every_platform_has_options_of_its_own(intel, platform, names):
    with tracing_for(platform):
        options = compiler_options()
    assert [key.startswith(names) for key in options or ()] == [True]


def test_what_a_user_says_of_ynnpack_stays(intel, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=-reduce")
    with tracing_for("cpu"):
        assert compiler_options() is None


def test_an_option_that_xla_no_longer_has_is_left_out(intel, monkeypatch):
    monkeypatch.setattr(module, "_INTEL", {"xla_no_such_option": True})
    with tracing_for("cpu"):
        assert compiler_options() is None


def test_a_model_beside_accelerators_may_lie_elsewhere(intel, monkeypatch):
    assert module.cpu_options() == module._INTEL
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert module.cpu_options() is None


def test_processors_that_were_not_measured_have_no_options(monkeypatch):
    monkeypatch.setattr(module, "made_by_intel", lambda: False)
    with tracing_for("cpu"):
        assert compiler_options() is None


@pytest.mark.parametrize(
    "facts", ["vendor_id\t: GenuineIntel\n", "vendor_id\t: AuthenticAMD\n"]
)
def test_the_maker_is_read_on_linux(monkeypatch, tmp_path, facts):
    monkeypatch.setattr(module, "_LINUX_FACTS", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(facts)
    assert made_by_intel.__wrapped__() == ("Intel" in facts)


@pytest.mark.parametrize("name", ["Intel64 Family 6 Model 158, GenuineIntel", "arm"])
def test_the_maker_is_asked_elsewhere(monkeypatch, tmp_path, name):
    monkeypatch.setattr(module, "_LINUX_FACTS", tmp_path / "missing")
    monkeypatch.setattr(module.machine, "processor", lambda: name)
    assert made_by_intel.__wrapped__() == ("Intel" in name)


@pytest.mark.parametrize("platform", ["gpu", "cpu"])
def test_xla_knows_the_options(intel, platform):
    with tracing_for(platform):
        options = compiler_options()
    jax.jit(lambda x: x + 1, compiler_options=options)(1)  # an unknown one raises
    with pytest.raises(Exception, match="xla_gpu_enable_nothing"):
        jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_enable_nothing": True})(1)


def test_convolutions_on_intel_are_not_left_to_ynnpack():
    @functools.partial(jax.jit, compiler_options=module._INTEL)
    def convolved(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=numbers
        )

    arrays = jnp.ones((1, 8, 8, 32)), jnp.ones((3, 3, 32, 32))
    program = convolved.lower(*arrays).compile().as_text()
    assert "convolution(" in program
    assert "__ynn_fusion" not in program


@pytest.mark.parametrize("platform", ["gpu", "tpu", "cpu"])
@pytest.mark.parametrize("step", ["jitted_train_step", "jitted_eval_step"])
def test_both_steps_are_compiled_with_those_of_their_platform(
    intel, monkeypatch, step, platform
):
    with tracing_for(platform):
        expected = compiler_options()
    seen = {}

    def jit(function, **options):
        seen.update(options)
        return function

    monkeypatch.setattr(jax, "jit", jit)
    monkeypatch.setattr("hybrid_jax.train.experiment.replicated", lambda mesh: None)
    experiment = mock.MagicMock(platform=platform)
    experiment.compiler_options = Experiment.compiler_options.fget(experiment)
    getattr(Experiment, step)(experiment)
    assert seen["compiler_options"] == expected
