"""MFU by hand, on devices that pretend to be known ones."""

import dataclasses

import numpy as np
import pytest
from small_run import small_config

from hybrid_jax.profiling.profile import describe
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.measuring import utilization
from hybrid_jax.train.measuring.step_timer import StepTimer
from hybrid_jax.train.measuring.utilization import fastest_images_per_second


class Device:
    device_kind = "TPU v5 lite"


class Mesh:
    devices = np.array([[Device(), Device()], [Device(), Device()]])


def test_peak_speed_is_that_of_all_devices():
    config = small_config()
    experiment = dataclasses.replace(prepare(config), mesh=Mesh())
    macs = describe(config).total_macs
    expected = 4 * 197e12 / (3 * 2 * macs)
    assert fastest_images_per_second(experiment) == pytest.approx(expected, rel=1e-12)


def test_nothing_is_traced_for_a_cpu(monkeypatch):
    monkeypatch.setattr(utilization, "trace_forward", None)
    assert fastest_images_per_second(prepare(small_config())) is None


class Batches:
    seconds_waited = 0.0


@pytest.mark.parametrize("fastest", [None, 1e9])
def test_rows_have_it_where_the_peak_is_known(fastest):
    pace = StepTimer(batch_size=8, batches=Batches(), fastest=fastest)
    pace.step()
    values = pace.values()
    assert ("mfu" in values) == (fastest is not None)
    if fastest is not None:
        assert values["mfu"] == values["images_per_second"] / fastest
