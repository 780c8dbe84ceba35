"""Which values the keys of the configuration tree may have."""

import re
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.errors import UserError


def check(config: ConfigDict) -> None:
    """Raises `UserError` for the first value outside its range, naming its key."""
    for path, allowed in _CHOICES.items():
        _expect(config, path, lambda v, a=allowed: v in a, f"one of {', '.join(allowed)}")
    for path in _POSITIVE:
        _expect(config, path, lambda v: v is None or v > 0, "a positive number")
    for path in _NOT_NEGATIVE:
        _expect(config, path, lambda v: v >= 0, "zero or more")
    _expect(config, "train.ema_decay", lambda v: 0.0 <= v < 1.0, "a decay in [0, 1)")
    for path in ("data.crop_area", "data.crop_ratio", "data.scale_jitter"):
        _expect(config, path, _is_range, "a pair 0 < lower <= upper, such as (0.5, 0.5)")
    factors = "one or more factors above 0, such as (1.0,)"
    _expect(config, "task.segmentation.scales", _are_factors, factors)
    _expect(config, "data.ignore_label", _are_ids, "ids from 0 to 255, such as (11,)")
    gray = "a pair black < white, such as (0, 4095), or ()"
    _expect(config, "data.gray_range", _is_gray_range, gray)
    grid = "a pair (rows, columns), or ()"
    _expect(config, "model.pretrained_options.grid", _is_grid, grid)
    canvas = "a pair (height, width) in px, one number for both, or None"
    _expect(config, "task.segmentation.canvas", _is_canvas, canvas)
    _expect(config, "optimizer.layer_decay", lambda v: 0.0 < v <= 1.0, "a factor in (0, 1]")
    for path in ("optimizer.freeze", "optimizer.no_decay"):
        _expect(config, path, _is_pattern, "a regular expression")
    _expect(config, "profile.steps", _is_span, "'' or 'FIRST:LAST', such as '10:15'")
    _expect(config, "data.train_fraction", lambda v: 0.0 < v <= 1.0, "a share in (0, 1]")
    _expect(config, "data.eval_crop", lambda v: 0.0 < v <= 1.0, "a share in (0, 1]")
    for path in _RATES:
        _expect(config, path, lambda v: 0.0 <= v <= 1.0, "a number in [0, 1]")
    batch_size, accumulate = config.train.batch_size, config.train.accumulate
    if batch_size is not None and batch_size % accumulate:
        raise UserError(
            f"config.train.accumulate: expected a divisor of train.batch_size "
            f"{batch_size}, got {accumulate}."
        )


_CHOICES = {
    "model.normalization": ("half", "imagenet"),
    "model.dtype": ("auto", "float32", "bfloat16"),
    "model.attention": ("auto", "xla", "cudnn", "tokamax"),
    "model.pretrained_options.numerics": ("file", "config"),
    "model.pretrained_options.preprocessing": ("file", "config"),
    "model.pretrained_options.head": ("auto", "new"),
    "task.loss": ("softmax", "sigmoid"),
    "data.crop": ("resize", "random_resized", "pad", "letterbox", "scale_jitter"),
    "data.eval_fit": ("letterbox", "resize"),
    "data.on_bad_annotation": ("raise", "skip"),
    "task.segmentation.inference": ("whole", "slide"),
    "data.interpolation": ("bicubic", "bilinear"),
    "data.on_bad_image": ("raise", "skip"),
    "optimizer.name": ("adamw", "sgd", "lamb"),
    "optimizer.schedule": ("cosine", "linear", "rsqrt", "constant"),
    "optimizer.moment_dtype": ("float32", "bfloat16"),
    "eval.restore": ("best", "last"),
}
_POSITIVE = (
    "mesh.fsdp_min_elements",
    "train.steps",
    "train.epochs",
    "train.batch_size",
    "train.accumulate",
    "checkpoint.every",
    "checkpoint.keep",
    "log.every",
    "eval.every",
    "eval.batch_size",
    "data.threads",
    "data.max_boxes",
    "data.max_pixels",
    "task.detection.nms_candidates",
    "task.detection.max_detections",
    "task.detection.center_radius",
    "task.segmentation.slide_stride",
    "data.prefetch",
    "optimizer.rsqrt_timescale",
)
_NOT_NEGATIVE = (
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    *(f"optimizer.branch.{name}" for name in ("resnet", "vit", "fusion", "head")),
    "task.mixup",
    "task.cutmix",
    "data.workers",
    "data.randaugment_layers",
    "data.randaugment_magnitude",
    "data.color_jitter",
    "data.pad_px",
    "task.segmentation.auxiliary_weight",
    *(f"task.detection.{name}_weight" for name in ("class", "l1", "giou", "quality")),
    "task.detection.focal_gamma",
)
_RATES = (
    "task.label_smoothing",
    "task.flip",
    "task.erase",
    "optimizer.warmup_fraction",
    "optimizer.cooldown_fraction",
    "task.detection.score_threshold",
    "task.detection.nms_iou",
    "task.detection.focal_alpha",
    "task.detection.no_object_weight",
)


def _expect(config: ConfigDict, path: str, holds, expected: str) -> None:
    value = config
    for name in path.split("."):
        value = value[name]
    try:
        right = holds(value)
    except (TypeError, ValueError):  # of another type: a text, or one number for two
        right = False
    if not right:
        raise UserError(f"config.{path}: expected {expected}, got {value!r}.")


def _is_range(pair: Any) -> bool:
    lower, upper = pair
    return 0.0 < lower <= upper


def _are_factors(values: Any) -> bool:
    return len(values) > 0 and all(value > 0.0 for value in values)


def _are_ids(values: Any) -> bool:
    return all(isinstance(value, int) and 0 <= value <= 255 for value in values)


def _is_gray_range(pair: Any) -> bool:
    return not len(pair) or (len(pair) == 2 and float(pair[0]) < float(pair[1]))


def _is_grid(grid: Any) -> bool:
    return len(grid) in (0, 2) and all(isinstance(side, int) and side > 0 for side in grid)


def _is_canvas(canvas: Any) -> bool:
    if canvas is None:
        return True
    height, width = (canvas, canvas) if isinstance(canvas, int) else canvas
    return isinstance(height, int) and isinstance(width, int) and min(height, width) > 0


def _is_span(text: str) -> bool:
    ends = re.fullmatch(r"(\d+):(\d+)", text)
    return not text or (ends is not None and 1 <= int(ends[1]) <= int(ends[2]))


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True
