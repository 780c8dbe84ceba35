"""Names that transformers gives neck and head of a DPT that segments.

The file does not tell after which blocks the tokens are taken. As published they are the
two after three quarters of the blocks and after all: (8, 11) of 12.
"""

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.codecs import CONV_OIHW, LINEAR_OI11, SAME
from hybrid_jax.pretrained.dialect import Architecture, Entry, Stored, entry
from hybrid_jax.pretrained.names.hf import linear, norm

_CLASSES = "head.head.4"
_LEVELS = 4
_MAPS = 2  # the finer levels are maps of the ResNet, as they are
_REASSEMBLE = "neck.reassemble_stage"
_FUSION = "neck.fusion_stage.layers"
_PARTS = ("neck.", "head.", "auxiliary_head.")


def segments(stored: Stored) -> bool:
    """Tells whether a tidied file has the head of a segmenter; depth has no BatchNorm."""
    return {f"{_CLASSES}.weight", "head.head.1.running_mean"} <= stored.keys()


def class_count(stored: Stored) -> int:
    """Returns K of the head."""
    return stored[f"{_CLASSES}.weight"].shape[0]


def head_options(stored: Stored, *, depth: int) -> dict:
    """Returns the options of our head `dpt` that build the file's.

    Args:
        depth: blocks of the ViT.

    Raises:
        UserError: arrays that every such neck has are not there.
    """
    projections = [
        f"{_REASSEMBLE}.layers.{level}.projection.weight" for level in range(_MAPS, _LEVELS)
    ]
    for key in ("neck.convs.0.weight", *projections):
        if key not in stored:
            raise UserError(
                f"no array {key!r}, which every segmenting DPT on a hybrid has."
                f"{nearest(key, stored)} Use a file of a DPTForSemanticSegmentation with "
                f"is_hybrid=True, saved whole."
            )
    return dict(
        strides=(4, 8),
        taps=(max(3 * depth // 4 - 1, 0), depth - 1),
        hidden_dim=stored["neck.convs.0.weight"].shape[0],
        reassemble_channels=tuple(stored[key].shape[0] for key in projections),
        readout="project",
        norm="batch",
        residual_norm=f"{_FUSION}.0.residual_layer1.batch_norm1.weight" in stored,
        align_corners=True,
        auxiliary="auxiliary_head.head.4.weight" in stored,
    )


def head_entries(architecture: Architecture) -> list[Entry]:
    """Returns where every array of our head stands in a tidied file."""
    options = architecture.head_options
    entries = []
    for number, level in enumerate(range(_MAPS, _LEVELS)):
        ours = f"head/reassemble/{number}"
        theirs = f"{_REASSEMBLE}.layers.{level}"
        entries += linear(f"{ours}/readout", f"{_REASSEMBLE}.readout_projects.{level}.0")
        entries += _conv1(f"{ours}/project", f"{theirs}.projection")
        if level == _LEVELS - 1:
            entries += _conv(f"{ours}/resize", f"{theirs}.resize")
    for level in range(_LEVELS):
        ours, theirs = f"head/decoder/convs/{level}", f"neck.convs.{level}"
        entries += _conv(ours, theirs, bias=False)
        entries += _fusion(level, residual_norm=options["residual_norm"])
    entries += _reading("head", "head.head")
    if options["auxiliary"]:
        entries += _reading("head/auxiliary", "auxiliary_head.head")
    return entries


def check_head_keys(stored: Stored, entries: list[Entry]) -> None:
    """Refuses a neck or head that holds more or less than ours.

    Raises:
        UserError: names the first array that has no place, or has no array.
    """
    known = {key: None for e in entries for key in e.keys}
    # The coarsest level has nothing to be added to: its first unit is never run.
    unused = f"{_FUSION}.0.residual_layer1."
    unknown = [
        key
        for key in stored
        if key.startswith(_PARTS) and key not in known and not key.startswith(unused)
    ]
    missing = [key for key in known if key not in stored]
    if missing:
        raise UserError(
            f"no array {missing[0]!r}, which every segmenting DPT on a hybrid has."
            f"{nearest(missing[0], unknown)} ({len(missing)} are missing in all.) Use a "
            f"file of a DPTForSemanticSegmentation, saved whole."
        )
    if unknown:
        raise UserError(
            f"{unknown[0]!r} {stored[unknown[0]].shape} has no place in the head 'dpt' "
            f"({len(unknown)} such in all), so the file holds another decoder."
        )


def _fusion(level: int, *, residual_norm: bool) -> list[Entry]:
    """Returns where one step stands; transformers counts them from the coarsest."""
    ours, theirs = f"head/decoder/fusions/{level}", f"{_FUSION}.{_LEVELS - 1 - level}"
    units = {"sum": "residual_layer2"}
    if level < _LEVELS - 1:
        units["level"] = "residual_layer1"
    entries = _conv1(f"{ours}/project", f"{theirs}.projection")
    for unit, name in units.items():
        for n in range(2):
            at, key = f"{ours}/{unit}", f"{theirs}.{name}"
            entries += _conv(
                f"{at}/convs/{n}", f"{key}.convolution{n + 1}", bias=not residual_norm
            )
            if residual_norm:
                entries += _batch_norm(f"{at}/norms/{n}", f"{key}.batch_norm{n + 1}")
    return entries


def _reading(ours: str, theirs: str) -> list[Entry]:
    """Returns where convolution, norm and classifier of a reading stand."""
    return [
        *_conv(f"{ours}/conv/conv", f"{theirs}.0", bias=False),
        *_batch_norm(f"{ours}/conv/norm", f"{theirs}.1"),
        *_conv1(f"{ours}/logits", f"{theirs}.4"),
    ]


def _conv(ours: str, theirs: str, *, bias: bool = True) -> list[Entry]:
    kernel = entry(f"{ours}/kernel", f"{theirs}.weight", CONV_OIHW)
    return [kernel, entry(f"{ours}/bias", f"{theirs}.bias", SAME)] if bias else [kernel]


def _conv1(ours: str, theirs: str) -> list[Entry]:
    return [
        entry(f"{ours}/kernel", f"{theirs}.weight", LINEAR_OI11),
        entry(f"{ours}/bias", f"{theirs}.bias", SAME),
    ]


def _batch_norm(ours: str, theirs: str) -> list[Entry]:
    return [
        *norm(ours, theirs),
        entry(f"{ours}/mean", f"{theirs}.running_mean", SAME),
        entry(f"{ours}/var", f"{theirs}.running_var", SAME),
    ]
