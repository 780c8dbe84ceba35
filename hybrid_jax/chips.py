"""Peak performance, memory and bandwidth of accelerators, as published by their makers.

All figures are per JAX device. A TPU v3 or TPU7x chip has two devices, each with half of
the chip's figures; any other chip is one device.

Sources. TPU: Google's pages on v4, v5e, v5p, v6e and tpu7x; the figures of v3 and of the v4
network are from memory. NVIDIA: figures of the data sheets as quoted by others, with
float32 accumulation and without sparsity (half of the largest printed figure); GeForce and
PCIe cards are from memory. Check a figure before you quote it.
"""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
        name: as in `--topology=NAME:LAYOUT`.
        kinds: values of JAX's `device.device_kind`.
        flops: peak FLOP/s of matrix products in bfloat16; a multiply-accumulate is two.
        memory: bytes.
        memory_bandwidth: bytes per second.
        network_bandwidth: bytes per second that a device can receive over all links
            together (half of a bidirectional figure); PCIe if there is no other link.
        cores: cores of the device; a program may be compiled for one of several.
    """

    name: str
    kinds: tuple[str, ...]
    flops: float
    memory: int
    memory_bandwidth: float
    network_bandwidth: float
    cores: int = 1

    @property
    def is_tpu(self) -> bool:
        """Whether it is a TPU."""
        return self.kinds[0].startswith("TPU")


_PCIE_4, _PCIE_5 = 32e9, 64e9  # sixteen lanes, one direction

CHIPS = (
    Chip("v3", ("TPU v3",), 61.5e12, 16 * GIB, 450e9, 41e9),
    Chip("v4", ("TPU v4",), 275e12, 32 * GIB, 1200e9, 150e9, cores=2),
    Chip("v5e", ("TPU v5 lite", "TPU v5e"), 197e12, 16 * GIB, 819e9, 200e9),
    Chip("v5p", ("TPU v5", "TPU v5p"), 459e12, 95 * GIB, 2765e9, 600e9, cores=2),
    Chip("v6e", ("TPU v6 lite", "TPU v6e"), 918e12, 32 * GIB, 1640e9, 400e9),
    Chip("tpu7x", ("TPU7x",), 1153.5e12, 96 * GIB, 3690e9, 300e9),
    Chip("a10", ("NVIDIA A10",), 125e12, 24 * GIB, 600e9, _PCIE_4),
    Chip("a100-40", ("NVIDIA A100-SXM4-40GB",), 312e12, 40 * GIB, 1555e9, 300e9),
    Chip("a100", ("NVIDIA A100-SXM4-80GB",), 312e12, 80 * GIB, 2039e9, 300e9),
    Chip("a100-pcie-40", ("NVIDIA A100-PCIE-40GB",), 312e12, 40 * GIB, 1555e9, _PCIE_4),
    Chip("a100-pcie", ("NVIDIA A100 80GB PCIe",), 312e12, 80 * GIB, 1935e9, _PCIE_4),
    Chip("h100", ("NVIDIA H100 80GB HBM3",), 989.4e12, 80 * GIB, 3350e9, 450e9),
    Chip("h100-pcie", ("NVIDIA H100 PCIe",), 756e12, 80 * GIB, 2000e9, _PCIE_5),
    Chip("h100-nvl", ("NVIDIA H100 NVL",), 835e12, 94 * GIB, 3900e9, 300e9),
    Chip("h200", ("NVIDIA H200",), 989.4e12, 141 * GIB, 4800e9, 450e9),
    Chip("b200", ("NVIDIA B200",), 2250e12, 180 * GIB, 8000e9, 900e9),
    Chip("l4", ("NVIDIA L4",), 121e12, 24 * GIB, 300e9, _PCIE_4),
    Chip("l40s", ("NVIDIA L40S",), 362e12, 48 * GIB, 864e9, _PCIE_4),
    Chip("rtx3090", ("NVIDIA GeForce RTX 3090",), 71e12, 24 * GIB, 936e9, _PCIE_4),
    Chip("rtx4090", ("NVIDIA GeForce RTX 4090",), 165.2e12, 24 * GIB, 1008e9, _PCIE_4),
)

_BY_KIND = {kind: chip for chip in CHIPS for kind in chip.kinds}
_BY_NAME = {chip.name: chip for chip in CHIPS}


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip with this `device_kind` of JAX, or None if it is not known.

    A MIG slice of a GPU has its own kind and is not known.
    """
    return _BY_KIND.get(device_kind)


def chip_named(name: str) -> Chip | None:
    """Returns the chip with this name, such as "v5e" or "h100"; None if unknown."""
    return _BY_NAME.get(name)


def peak_flops(device_kind: str) -> float | None:
    """Returns the peak bfloat16 FLOP/s of one device; None if unknown."""
    chip = chip_of(device_kind)
    return None if chip is None else chip.flops
