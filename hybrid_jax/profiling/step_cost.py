"""The cost of one training step on given accelerators, as data and as a table."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from hybrid_jax.chips import Chip
from hybrid_jax.profiling.description import table
from hybrid_jax.programs.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Traffic:
    """All collectives of one kind in one step.

    Attributes:
        op: such as "all-gather".
        axes: mesh axes of the devices that take part; () if not known.
        count: number of executions.
        bytes: total size of the results on one device.
        received_bytes: bytes that one device receives, with ring algorithms.
    """

    op: str
    axes: tuple[str, ...]
    count: int
    bytes: int
    received_bytes: int


def traffic(collectives: Iterable[Collective], mesh: Mapping[str, int]) -> list[Traffic]:
    """Groups collectives by kind and mesh axes, largest first."""
    groups: dict[tuple, list[Collective]] = collections.defaultdict(list)
    for one in collectives:
        groups[one.op, one.axes(mesh)].append(one)
    rows = [
        Traffic(
            op,
            axes,
            count=sum(one.times for one in group),
            bytes=sum(one.times * one.bytes for one in group),
            received_bytes=sum(one.received_bytes for one in group),
        )
        for (op, axes), group in groups.items()
    ]
    return sorted(rows, key=lambda row: row.received_bytes, reverse=True)


@dataclasses.dataclass(frozen=True)
class StepCost:
    """The cost of one training step.

    Attributes:
        topology: the value of `--topology`.
        chip: type of the devices.
        devices: number of devices along each mesh axis.
        images: images per step, on all devices.
        memory: name -> bytes on one device.
        peak: peak bytes on one device; None if the compiler ran out of memory.
        fits: whether the peak fits into a device's memory.
        flops: FLOPs of the compiled program on one device; 0.0 if nothing was compiled.
        model_flops: FLOPs of the model on one device.
        accessed: bytes that one device reads and writes; 0.0 if not known.
        traffic: communication between devices.
        compiled: True for figures of a compiled program, False for estimates.
        notes: remarks on what is not known.
    """

    topology: str
    chip: Chip
    devices: Mapping[str, int]
    images: int
    memory: Mapping[str, int]
    peak: int | None
    fits: bool
    flops: float
    model_flops: float
    accessed: float
    traffic: tuple[Traffic, ...]
    compiled: bool
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> dict[str, float]:
        """Returns the seconds of compute, memory and network, each at the chip's peak."""
        received = sum(row.received_bytes for row in self.traffic)
        return dict(
            compute=max(self.flops, self.model_flops) / self.chip.flops,
            memory=self.accessed / self.chip.memory_bandwidth,
            network=received / self.chip.network_bandwidth,
        )

    @property
    def bound(self) -> str:
        """The one of compute, memory and network that takes longest."""
        seconds = self.seconds
        return max(seconds, key=seconds.__getitem__)

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields and times as plain values for JSON."""
        fields: dict[str, Any] = dataclasses.asdict(self)
        fields["chip"] = self.chip.name
        fields["traffic"] = list(fields["traffic"])
        for row in fields["traffic"]:
            row["axes"] = list(row["axes"])
        fields["notes"] = list(self.notes)
        return fields | dict(seconds=self.seconds, bound=self.bound)

    def __str__(self) -> str:
        """Returns the tables, with lines of at most 92 characters except for notes."""
        blocks = [self._title(), self._memory()]
        if self.peak is not None:
            blocks += [self._traffic(), self._times()]
        notes = "\n".join(f"note: {note}" for note in self.notes)
        return "\n\n".join(filter(None, [*blocks, notes]))

    def _title(self) -> str:
        count = math.prod(self.devices.values())
        axes = ", ".join(f"{axis} {along}" for axis, along in self.devices.items())
        how = "compiled" if self.compiled else "an estimate; nothing was compiled"
        return (
            f"one training step of {self.images:,} images on {self.topology}, {how}\n"
            f"{count:,} devices ({axes})"
        )

    def _memory(self) -> str:
        capacity = self.chip.memory
        rows = [("memory of each device", "MiB")]
        rows += [(name, _mib(size)) for name, size in self.memory.items() if size]
        if self.peak is not None:
            rows.append(("peak", _mib(self.peak)))
        share = "" if self.peak is None else f", {100 * self.peak / capacity:.0f} %"
        verdict = "yes" if self.fits else "no"
        return (
            f"{table(rows)}\n\nfits: {verdict}{share} of {capacity / 2**30:.0f} GiB "
            f"({self.chip.kinds[0]})"
        )

    def _traffic(self) -> str:
        if not self.traffic:
            return "between devices: nothing"
        rows = [("between devices", "along", "number", "MiB", "MiB received")]
        rows += [
            (row.op, " ".join(row.axes) or "?", f"{row.count:,}", _mib(row.bytes))
            + (_mib(row.received_bytes),)
            for row in self.traffic
        ]
        return table(rows)

    def _times(self) -> str:
        chip, seconds = self.chip, self.seconds
        received = sum(row.received_bytes for row in self.traffic)
        rows = [
            ("at the chip's peak", "ms", "of each device"),
            (
                "compute",
                _ms(seconds["compute"]),
                f"{max(self.flops, self.model_flops) / 1e12:,.2f} TFLOP, "
                f"{chip.flops / 1e12:,.0f} TFLOP/s",
            ),
            (
                "memory",
                _ms(seconds["memory"]),
                f"{self.accessed / 1e9:,.1f} GB, {chip.memory_bandwidth / 1e9:,.0f} GB/s",
            ),
            (
                "network",
                _ms(seconds["network"]),
                f"{received / 1e9:,.2f} GB, {chip.network_bandwidth / 1e9:,.0f} GB/s",
            ),
        ]
        longest = seconds[self.bound]
        mfu = self.model_flops / (longest * chip.flops)
        return (
            f"{table(rows)}\n\nbound by: {self.bound}; upper bound: "
            f"{self.images / longest:,.0f} images/s, MFU {100 * mfu:.0f} %."
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.2f}"
