"""The cost of a config, as data and as the table that `--mode=profile` prints."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from hybrid_jax.profiling.memory_estimate import StepMemory

PARTS = ("resnet", "vit", "fusion", "head")


@dataclasses.dataclass(frozen=True)
class Attention:
    """`times` attention layers from `queries` to `keys` tokens in one forward pass."""

    queries: int
    keys: int
    times: int


@dataclasses.dataclass(frozen=True)
class Description:
    """The cost of a model and of its training, computed from shapes.

    Attributes:
        model: names of the fusion, of its parts and of the head, with changed options.
        num_classes: K.
        image_size: (H, W) in px.
        dtype: compute dtype; parameters are float32.
        params: number of parameters of each part; "fusion" has those that belong to neither
            resnet nor vit.
        macs: multiply-accumulates of one forward pass of one image: products with the
            parameters of each part; "attention" (products of two activations);
            "constants" (products with constants, such as resizing).
        maps: stride -> (h, w, C) of the maps that the fusion returns.
        pooled: D of the pooled vector.
        attention: sequence lengths of the attention layers, longest first.
        memory: estimated bytes on each device in training.
        bytes_per_image: bytes of `memory.activations` per image.
        devices: number of devices along each mesh axis.
        images_per_device: images of a batch, or of a micro-batch, on one device.
        notes: remarks on what is not known.
    """

    model: Mapping[str, str]
    num_classes: int
    image_size: tuple[int, int]
    dtype: str
    params: Mapping[str, int]
    macs: Mapping[str, int]
    maps: Mapping[int, tuple[int, int, int]]
    pooled: int
    attention: tuple[Attention, ...]
    memory: StepMemory
    bytes_per_image: int
    devices: Mapping[str, int]
    images_per_device: int
    notes: tuple[str, ...] = ()

    @property
    def total_params(self) -> int:
        """Number of parameters of all parts."""
        return sum(self.params.values())

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of all parts."""
        return sum(self.macs.values())

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields and totals as plain values for JSON."""
        fields = dataclasses.asdict(self)
        fields["image_size"] = list(self.image_size)
        fields["maps"] = {str(stride): list(shape) for stride, shape in self.maps.items()}
        fields["attention"] = list(fields["attention"])
        fields["notes"] = list(self.notes)
        fields["memory"]["total"] = self.memory.total
        return fields | dict(total_params=self.total_params, total_macs=self.total_macs)

    def __str__(self) -> str:
        """Returns the tables, with lines of at most 92 characters except for notes."""
        blocks = [self._title(), self._parts(), self._shapes(), self._memory()]
        notes = "\n".join(f"note: {note}" for note in self.notes)
        return "\n\n".join(filter(None, [*blocks, notes]))

    def _title(self) -> str:
        height, width = self.image_size
        model = dict(self.model)
        model["head"] += f", {self.num_classes:,} classes"
        rows = dict(model, images=f"{height} x {width} px, {self.dtype}")
        return "\n".join(f"{name:8}{text}" for name, text in rows.items())

    def _parts(self) -> str:
        rows = [("part", "parameters", "MiB", "GMAC")]
        for part in dict.fromkeys([*PARTS, *self.macs]):
            count, macs = self.params.get(part), self.macs.get(part, 0)
            if count or macs:
                rows.append((part, *_size(count), f"{macs / 1e9:.3f}"))
        total = f"{self.total_macs / 1e9:.3f}"
        rows.append(("total", *_size(self.total_params), total))
        return (
            f"{table(rows)}\n\n"
            f"GMAC: 1e9 multiply-accumulates of products and convolutions, forward, one "
            f"image;\n{2 * self.total_macs / 1e9:.3f} GFLOPs. attention: products of two "
            f"activations; other rows: products with parameters."
        )

    def _shapes(self) -> str:
        maps = [
            f"stride {stride}: {h} x {w} x {channels}"
            for stride, (h, w, channels) in sorted(self.maps.items())
        ]
        tokens = [
            f"{a.times} attentions of {a.queries:,} queries to {a.keys:,} keys"
            for a in self.attention
        ]
        rows = [
            *_labeled("maps", maps),
            *_labeled("pooled", [f"{self.pooled:,}"]),
            *_labeled("tokens", tokens),
        ]
        return "\n".join(rows)

    def _memory(self) -> str:
        count = math.prod(self.devices.values())
        axes = ", ".join(f"{axis} {along}" for axis, along in self.devices.items())
        memory = dataclasses.asdict(self.memory)
        rows = [("training, on each device", "MiB")]
        rows += [(name, _mib(value)) for name, value in memory.items() if value]
        rows.append(("total", _mib(self.memory.total)))
        return (
            f"{table(rows)}\n\n"
            f"An estimate. Activations are stored for the backward pass and freed before "
            f"all gradients\nexist: {_mib(self.bytes_per_image)} "
            f"MiB per image, {self.images_per_device:,} images at a time.\n"
            f"Devices: {count:,} ({axes})."
        )


def _size(count: int | None) -> tuple[str, str]:
    """Returns the number of parameters and their MiB in float32."""
    return ("", "") if count is None else (f"{count:,}", _mib(4 * count))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def _labeled(label: str, lines: list[str]) -> list[str]:
    labels = [label] + [""] * (len(lines) - 1)
    return [f"{name:8}{line}" for name, line in zip(labels, lines, strict=False)]


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Formats rows as a table: first column left-aligned, the others right-aligned."""
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        right = [f"{text:>{w}}" for text, w in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:{widths[0]}}", *right]))
    return "\n".join(lines)
