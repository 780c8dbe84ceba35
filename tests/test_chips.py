"""The table of accelerators: names and kinds are unique, and figures are of one device."""

import pytest

from hybrid_jax.chips import CHIPS, GIB, chip_named, chip_of, peak_flops


def test_every_name_and_kind_means_one_chip():
    for chip in CHIPS:
        assert chip_named(chip.name) is chip
        assert all(chip_of(kind) is chip for kind in chip.kinds)
    assert len({kind for chip in CHIPS for kind in chip.kinds}) == sum(
        len(chip.kinds) for chip in CHIPS
    )


@pytest.mark.parametrize(
    ("kind", "teraflops"),
    [
        ("TPU v5 lite", 197.0),
        ("TPU v4", 275.0),
        ("TPU v6 lite", 918.0),
        ("TPU7x", 1153.5),  # half of a chip's 2307
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA A100-SXM4-40GB", 312.0),
    ],
)
def test_peaks_are_the_published_ones(kind, teraflops):
    assert peak_flops(kind) == teraflops * 1e12


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", ""])
def test_what_is_not_known_has_no_peak(kind):
    assert peak_flops(kind) is None
    assert chip_of(kind) is None


def test_units_are_operations_and_bytes():
    """A slip of a thousand or of a power of two would leave these ranges."""
    for chip in CHIPS:
        assert 5e13 < chip.flops < 5e15
        assert 16 * GIB <= chip.memory < 300 * GIB
        assert 2e11 < chip.memory_bandwidth < 1e13
        assert 1e10 < chip.network_bandwidth < 2e12
        assert chip.is_tpu == chip.kinds[0].startswith("TPU")
