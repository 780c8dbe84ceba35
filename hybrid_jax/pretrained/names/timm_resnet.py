"""Names and shapes of ResNets with BatchNorm in timm and torchvision.

Both use the same names, with and without a ViT. Some variants cannot be recognized:
`resnetblur50` and `resnetaa50` have the same arrays as resnet50.
"""

import re
from collections.abc import Iterable

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.codecs import CONV_OIHW, SAME
from hybrid_jax.pretrained.dialect import Entry, Stored, entry
from hybrid_jax.specs import ResNetSpec

_PREFIXES = ("", "module.", "model.")


def unwrapped(stored: Stored, key: str) -> Stored | None:
    """Returns the arrays without the prefix of `key`; None if there is no `key`."""
    prefix = next((p for p in _PREFIXES if f"{p}{key}" in stored), None)
    if prefix is None:
        return None
    return {name.removeprefix(prefix): array for name, array in stored.items()}


def without_counters(stored: Stored) -> Stored:
    """Returns the arrays without torch's batch counters of BatchNorm."""
    return {
        key: array
        for key, array in stored.items()
        if not key.endswith("num_batches_tracked")
    }


def block_counts(stored: Stored, pattern: str) -> tuple[int, ...]:
    """Returns the number of blocks of each stage.

    Args:
        pattern: matches the indices of stage and block at the start of a key.

    Raises:
        UserError: no stages, or a missing stage.
    """
    found = {m.groups() for key in stored if (m := re.match(pattern, key))}
    stages = sorted({int(stage) for stage, _ in found})
    if not stages or stages != list(range(stages[0], stages[-1] + 1)):
        raise UserError(
            f"expected consecutive stages of a ResNet, got {stages}. Use a file of a "
            f"complete model."
        )
    return tuple(sum(int(stage) == s for stage, _ in found) for s in stages)


def resnet_of(stored: Stored, *, prefix: str = "") -> ResNetSpec:
    """Returns the spec of the ResNet whose names begin with `prefix`.

    Raises:
        UserError: another architecture, such as ResNet-18 or ResNeXt.
    """
    first = f"{prefix}layer1.0."
    if f"{first}conv3.weight" not in stored:
        raise UserError(
            f"expected an array '{first}conv3.weight', got none: a ResNet of basic blocks "
            f"(18 or 34 layers), which this library does not have. Use ResNet-26, 50, 101 "
            f"or 152."
        )
    if f"{prefix}bn1.running_mean" not in stored:
        raise UserError(
            f"expected an array '{prefix}bn1.running_mean', got none: the norms are not "
            f"BatchNorms, or their statistics are missing. Use a file of a complete "
            f"state_dict()."
        )
    spec = ResNetSpec(
        blocks=block_counts(stored, rf"{re.escape(prefix)}layer(\d+)\.(\d+)\."),
        width=stored[f"{prefix}bn1.weight"].shape[0],
        norm="batch",
        root="deep" if f"{prefix}conv1.0.weight" in stored else "7x7",
        shortcut="pooled" if f"{first}downsample.2.weight" in stored else "strided",
    )
    _check_shapes(stored, spec, prefix)
    return spec


def resnet_entries(spec: ResNetSpec, *, prefix: str = "") -> list[Entry]:
    """Returns the entries of the ResNet."""
    if spec.root == "deep":
        entries = []
        for n, conv, norm in ((1, "conv1.0", "conv1.1"), (2, "conv1.3", "conv1.4")):
            entries += _conv_norm("resnet/stem", prefix, str(n), names=(conv, norm))
        entries += _conv_norm("resnet/stem", prefix, "3", names=("conv1.6", "bn1"))
    else:
        entries = _conv_norm("resnet/stem", prefix, "", names=("conv1", "bn1"))
    for stage, count in enumerate(spec.blocks):
        for unit in range(count):
            ours = f"resnet/stages/{stage}/blocks/{unit}"
            theirs = f"{prefix}layer{stage + 1}.{unit}."
            for n in "123":
                entries += _conv_norm(ours, theirs, n, names=(f"conv{n}", f"bn{n}"))
            if unit == 0:
                # In a pooled shortcut, downsample.0 is the average pooling.
                numbers = (1, 2) if spec.shortcut == "pooled" else (0, 1)
                names = tuple(f"downsample.{number}" for number in numbers)
                entries += _conv_norm(f"{ours}/downsample", theirs, "", names=names)
    return entries


def check_keys(stored: Stored, entries: Iterable[Entry], *, head: str) -> None:
    """Raises an error for a file with missing or unknown arrays: another architecture.

    Args:
        head: prefix of the classifier, which is optional.

    Raises:
        UserError: an array is missing or unknown; the message names the first one.
    """
    known = {key: None for entry in entries for key in entry.keys}
    missing = [key for key in known if key not in stored]
    unknown = [key for key in stored if key not in known and not key.startswith(head)]
    if missing:
        raise UserError(
            f"expected an array {missing[0]!r} of a ResNet, got none."
            f"{nearest(missing[0], unknown)} ({len(missing)} missing in all.) "
            f"Use a file of a complete model."
        )
    if unknown:
        raise UserError(
            f"unknown array {unknown[0]!r} {stored[unknown[0]].shape} ({len(unknown)} "
            f"unknown in all): the file holds another architecture, such as an SE-ResNet. "
            f"Use a file of a ResNet or ResNet-D."
        )


def _conv_norm(ours: str, theirs: str, n: str, *, names: tuple[str, ...]) -> list[Entry]:
    conv, norm = (theirs + name for name in names)
    return [
        entry(f"{ours}/conv{n}/kernel", f"{conv}.weight", CONV_OIHW),
        entry(f"{ours}/norm{n}/scale", f"{norm}.weight", SAME),
        entry(f"{ours}/norm{n}/bias", f"{norm}.bias", SAME),
        entry(f"{ours}/norm{n}/mean", f"{norm}.running_mean", SAME),
        entry(f"{ours}/norm{n}/var", f"{norm}.running_var", SAME),
    ]


def _check_shapes(stored: Stored, spec: ResNetSpec, prefix: str) -> None:
    """Raises an error for architectures with the same names and other shapes.

    Raises:
        UserError: the message names the first array with another shape.
    """
    width, half = spec.width, spec.width // 2
    if spec.root == "deep":
        expected = {"conv1.0.weight": (half, 3, 3, 3), "conv1.3.weight": (half, half, 3, 3)}
    else:
        expected = {"conv1.weight": (width, 3, 7, 7)}
    inputs = width
    for stage in range(len(spec.blocks)):
        middle, block = width * 2**stage, f"layer{stage + 1}.0."
        expected[f"{block}conv1.weight"] = (middle, inputs, 1, 1)
        expected[f"{block}conv2.weight"] = (middle, middle, 3, 3)
        inputs = 4 * middle
        expected[f"{block}conv3.weight"] = (inputs, middle, 1, 1)
    for name, shape in expected.items():
        found = stored.get(prefix + name)
        if found is not None and found.shape != shape:
            raise UserError(
                f"'{prefix}{name}': expected shape {shape} in a ResNet of width {width}, "
                f"got {found.shape}: another root, a ResNeXt or a wide ResNet, which this "
                f"library does not have. Use a ResNet or ResNet-D."
            )
