"""GPUs and TPUs have options of the compiler; steps are compiled with them."""

from unittest import mock

import jax
import pytest

from hybrid_jax.ops.compiler_options import compiler_options
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.train.experiment import Experiment


@pytest.mark.parametrize(
    ("platform", "names"), [("gpu", "xla_gpu_"), ("tpu", "xla_jf_"), ("cpu", None)]
)
def test_accelerators_have_options_of_their_own(platform, names):
    with tracing_for(platform):
        options = compiler_options()
    assert [key.startswith(names) for key in options or ()] == ([True] if names else [])


def test_xla_knows_the_options_for_gpus():
    with tracing_for("gpu"):
        options = compiler_options()
    jax.jit(lambda x: x + 1, compiler_options=options)(1)  # an unknown one raises
    with pytest.raises(Exception, match="xla_gpu_enable_nothing"):
        jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_enable_nothing": True})(1)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("step", ["jitted_train_step", "jitted_eval_step"])
def test_both_steps_are_compiled_with_those_of_their_platform(monkeypatch, step, platform):
    seen = {}

    def jit(function, **options):
        seen.update(options)
        return function

    monkeypatch.setattr(jax, "jit", jit)
    monkeypatch.setattr("hybrid_jax.train.experiment.replicated", lambda mesh: None)
    experiment = mock.MagicMock(platform=platform)
    experiment.compiler_options = Experiment.compiler_options.fget(experiment)
    getattr(Experiment, step)(experiment)
    with tracing_for(platform):
        assert seen["compiler_options"] == compiler_options()
