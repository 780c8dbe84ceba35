"""Names of neck and head of transformers' DPTForSemanticSegmentation.

The file does not contain the indices of the blocks whose tokens are used. As in published
models, these are the blocks after three quarters of the depth and the last: (8, 11) of 12.
"""

from hybrid_jax.errors import UserError, nearest
from hybrid_jax.pretrained.codecs import CONV_OIHW, LINEAR_OI11, SAME
from hybrid_jax.pretrained.dialect import Architecture, Entry, Stored, entry
from hybrid_jax.pretrained.names.hf import linear, norm

_CLASSES = "head.head.4"
_LEVELS = 4
_MAPS = 2  # number of levels that are maps of the ResNet
_REASSEMBLE = "neck.reassemble_stage"
_FUSION = "neck.fusion_stage.layers"
_PARTS = ("neck.", "head.", "auxiliary_head.")


def segments(stored: Stored) -> bool:
    """Whether a tidied file has a segmentation head; heads of depth have no BatchNorm."""
    return {f"{_CLASSES}.weight", "head.head.1.running_mean"} <= stored.keys()


def class_count(stored: Stored) -> int:
    """Returns K of the head."""
    return stored[f"{_CLASSES}.weight"].shape[0]


def head_options(stored: Stored, *, depth: int) -> dict:
    """Returns the options of the head `dpt` for the file's neck and head.

    Args:
        depth: number of blocks of the ViT.

    Raises:
        UserError: arrays of the neck are missing.
    """
    projections = [
        f"{_REASSEMBLE}.layers.{level}.projection.weight" for level in range(_MAPS, _LEVELS)
    ]
    for key in ("neck.convs.0.weight", *projections):
        if key not in stored:
            raise UserError(
                f"expected an array {key!r} of a hybrid DPTForSemanticSegmentation, got "
                f"none.{nearest(key, stored)} Use a file of a complete "
                f"DPTForSemanticSegmentation with is_hybrid=True."
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
    """Returns the entries of all arrays of the head."""
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
    """Raises an error for a neck or head with missing or unknown arrays.

    Raises:
        UserError: an array is missing or unknown; the message names the first one.
    """
    known = {key: None for e in entries for key in e.keys}
    # The first unit of the coarsest level is in the file but never used.
    unused = f"{_FUSION}.0.residual_layer1."
    unknown = [
        key
        for key in stored
        if key.startswith(_PARTS) and key not in known and not key.startswith(unused)
    ]
    missing = [key for key in known if key not in stored]
    if missing:
        raise UserError(
            f"expected an array {missing[0]!r} of a hybrid DPTForSemanticSegmentation, got "
            f"none.{nearest(missing[0], unknown)} ({len(missing)} missing in all.) Use "
            f"a file of a complete DPTForSemanticSegmentation."
        )
    if unknown:
        raise UserError(
            f"unknown array {unknown[0]!r} {stored[unknown[0]].shape} ({len(unknown)} "
            f"unknown in all): the file holds another decoder than the head 'dpt'. Use "
            f"another file."
        )


def _fusion(level: int, *, residual_norm: bool) -> list[Entry]:
    """Returns the entries of one fusion step; transformers counts from the coarsest."""
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
    """Returns the entries of convolution, norm and classifier of a `PixelClassifier`."""
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
