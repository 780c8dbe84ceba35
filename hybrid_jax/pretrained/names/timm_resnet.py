"""Names and shapes of ResNets with BatchNorm, as timm and torchvision have them.

What the two call by the same names are the same arrays, alone or in front of a ViT. A file
does not tell everything: `resnetblur50` and `resnetaa50` have the very arrays of resnet50.
"""

import re
from collections.abc import Iterable

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.codecs import CONV_OIHW, SAME
from hybrid_jax.pretrained.dialect import Entry, Stored, entry
from hybrid_jax.specs import ResNetSpec

_PREFIXES = ("", "module.", "model.")


def unwrapped(stored: Stored, key: str) -> Stored | None:
    """Returns the arrays without what stands before `key`; None if `key` is not there."""
    prefix = next((p for p in _PREFIXES if f"{p}{key}" in stored), None)
    if prefix is None:
        return None
    return {name.removeprefix(prefix): array for name, array in stored.items()}


def without_counters(stored: Stored) -> Stored:
    """Returns all but torch's counts of batches, which the running means do not need."""
    return {
        key: array
        for key, array in stored.items()
        if not key.endswith("num_batches_tracked")
    }


def block_counts(stored: Stored, pattern: str) -> tuple[int, ...]:
    """Returns how many blocks each stage has.

    Args:
        pattern: finds the numbers of stage and block at the beginning of a key.

    Raises:
        UserError: no stages, or one that is left out.
    """
    found = {m.groups() for key in stored if (m := re.match(pattern, key))}
    stages = sorted({int(stage) for stage, _ in found})
    if not stages or stages != list(range(stages[0], stages[-1] + 1)):
        raise UserError(f"the ResNet has the stages {stages}: not a whole one.")
    return tuple(sum(int(stage) == s for stage, _ in found) for s in stages)


def resnet_of(stored: Stored, *, prefix: str = "") -> ResNetSpec:
    """Returns the spec of the ResNet whose names begin with `prefix`.

    Raises:
        UserError: a relative of another form, such as ResNet-18 or ResNeXt.
    """
    first = f"{prefix}layer1.0."
    if f"{first}conv3.weight" not in stored:
        raise UserError(
            f"no array '{first}conv3.weight': a ResNet of basic blocks (18 or 34 layers), "
            f"which this library does not have. Use one of bottlenecks: 26, 50, 101 or 152."
        )
    if f"{prefix}bn1.running_mean" not in stored:
        raise UserError(
            f"no array '{prefix}bn1.running_mean': the norms are not BatchNorms, or the "
            f"file leaves their statistics out. Use a file of a whole state_dict()."
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
    """Returns where the ResNet stands."""
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
                # The mean of a pooled shortcut is the first of three.
                numbers = (1, 2) if spec.shortcut == "pooled" else (0, 1)
                names = tuple(f"downsample.{number}" for number in numbers)
                entries += _conv_norm(f"{ours}/downsample", theirs, "", names=names)
    return entries


def check_keys(stored: Stored, entries: Iterable[Entry], *, head: str) -> None:
    """Refuses a file that holds more or less than a ResNet: it would be another one.

    Args:
        head: what the names of the classifier begin with; one may be left out.

    Raises:
        UserError: names the first array that has no place, or has no array.
    """
    known = {key: None for entry in entries for key in entry.keys}
    missing = [key for key in known if key not in stored]
    unknown = [key for key in stored if key not in known and not key.startswith(head)]
    if missing:
        raise UserError(
            f"no array {missing[0]!r}, which every ResNet of this form has."
            f"{nearest(missing[0], unknown)} ({len(missing)} are missing in all.) "
            f"Use a file of a whole model."
        )
    if unknown:
        raise UserError(
            f"{unknown[0]!r} {stored[unknown[0]].shape} has no place in a ResNet of this "
            f"library ({len(unknown)} such in all), so the file holds another model, such "
            f"as an SE-ResNet. Use one of a ResNet or ResNet-D."
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
    """Refuses relatives that have all the names, in other widths.

    Raises:
        UserError: names the first array that differs.
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
                f"'{prefix}{name}': expected {shape} in a ResNet of width {width}, got "
                f"{found.shape}: another kind of root, ResNeXt's groups or a wide ResNet, "
                f"which this library does not have. Use a ResNet or ResNet-D."
            )
