"""A model as a program that other programs run: plain arrays in, a dict of arrays out."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jax import export
from ml_collections import ConfigDict

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.transforms.recipe import evaluation_recipe
from hybrid_jax.exporting.placed_images import place
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.ops.attention.dot_product import attention_kernel
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.outputs import DenseDetectionOutputs, Outputs, SetDetectionOutputs
from hybrid_jax.pretrained.load import leaves_by_path
from hybrid_jax.tasks import TASKS
from hybrid_jax.tasks.segmentation.prediction import classes_of_one_size

PROGRAMS = ("network", "whole")
PLATFORMS = ("cpu", "cuda", "tpu")

_WHOLE_MEANINGS = {
    "classification": dict(probabilities="(B, classes), as in training's loss"),
    "detection": dict(
        boxes_xyxy_px="(B, D, 4): left, top, right, bottom in px of the given image",
        scores="(B, D), best first",
        labels="(B, D): index of the class",
        valid="(B, D): False for rows without a box",
    ),
    "segmentation": dict(segmentation="(B, H, W): the class of each pixel"),
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of weights and images that is ready to be exported.

    Attributes:
        function: `(weights, images) -> dict of arrays`.
        weights: arrays by path in the model.
        image_hw: (height, width) of the images it was made for; what "whole" brings any
            size to.
        dtype: of the images: float32, normalized, for "network"; uint8 for "whole".
        name: one of `PROGRAMS`.
        meanings: a sentence for each output.
    """

    function: Callable[[dict[str, jax.Array], jax.Array], dict[str, jax.Array]]
    weights: dict[str, jax.Array]
    image_hw: tuple[int, int]
    dtype: str
    name: str
    meanings: dict[str, str]


def network_program(model: Hybrid, *, image_hw: tuple[int, int]) -> Program:
    """Returns the model alone: normalized float32 images to what its head predicts.

    Args:
        model: folded or not.
        image_hw: (height, width) in px.
    """
    apply, weights = _pure(model)

    def network(weights, images):
        return named_outputs(apply(weights, images))

    shape = jax.ShapeDtypeStruct((1, *image_hw, 3), jnp.float32)
    told = meanings(jax.eval_shape(apply, weights, shape))
    return Program(network, weights, image_hw, "float32", "network", told)


def whole_program(model: Hybrid, config: ConfigDict, info: DatasetInfo) -> Program:
    """Returns everything: uint8 images of any one size to predictions in their px.

    Args:
        model: folded or not.
        config: of the run, resolved; `data` says how images are prepared, `task` what is
            made of the outputs.
        info: the classes.
    """
    name = config.task.name
    task = TASKS.get(name)(config.task, dataclasses.replace(info, largest_hw=(1, 1)))
    (transform,) = evaluation_recipe(config.data, targets=task.targets)
    apply, weights = _pure(model)

    def whole(weights, images_u8):
        placed = place(images_u8, transform)
        policy = config.model.normalization
        image = normalize_image(placed.image, policy=policy)
        content = None
        if name != "classification":
            content = placed.geometry["content_yxyx_px"]

        def of_content(image, **options):
            return apply(weights, image, **options)

        outputs = task.infer(of_content, image, content_yxyx_px=content)
        if name == "classification":
            return dict(probabilities=task.probabilities(outputs.logits))
        if name == "segmentation":
            hw = images_u8.shape[1:3]
            pixels = classes_of_one_size(outputs, placed.geometry, hw=hw)
            return dict(segmentation=pixels)
        return task.predict(outputs, placed.geometry)

    hw = tuple(config.data.image_size)
    return Program(whole, weights, hw, "uint8", "whole", _WHOLE_MEANINGS[name])


def exported(program: Program, *, sides: str = "fixed") -> export.Exported:
    """Lowers a program for CPUs, NVIDIA GPUs and TPUs, for any number of images.

    Args:
        sides: "fixed", the program's; "any" px; or a number as text, of which both sides
            must be multiples.

    Raises:
        Exception: of many kinds, where the model's code needs sides that are numbers.
    """
    H, W = program.image_hw
    symbols = dict(fixed=f"{H}, {W}", any="h, w")
    hw = symbols.get(sides, f"{sides}*h, {sides}*w")
    shape = export.symbolic_shape(f"b, {hw}, 3")
    images = jax.ShapeDtypeStruct(shape, jnp.dtype(program.dtype))
    weights = {
        k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in program.weights.items()
    }
    # Operations that all platforms have; XLA's kernels for each are chosen when it runs.
    with tracing_for("cpu"), attention_kernel("xla"):
        function = jax.jit(program.function)
        return export.export(function, platforms=PLATFORMS)(weights, images)


def _pure(model: Hybrid) -> tuple[Callable[..., Outputs], dict[str, jax.Array]]:
    """Returns a function of weights and images, and the weights by path."""
    graph, state = nnx.split(model)
    weights = leaves_by_path(nnx.to_pure_dict(state))

    def apply(weights: dict[str, jax.Array], images: jax.Array, **options: Any) -> Outputs:
        tree = nnx.restore_int_paths(traverse_util.unflatten_dict(weights, sep="/"))
        merged = nnx.merge(graph, tree)
        merged.attention = "xla"
        return merged(images, **options)

    return apply, weights


def named_outputs(outputs: Outputs) -> dict[str, jax.Array]:
    """Returns what a head predicts, without what only its loss reads."""
    if isinstance(outputs, SetDetectionOutputs):
        last = outputs.layers[-1]
        return dict(logits=last.logits, boxes_cxcywh=last.boxes_cxcywh)
    if isinstance(outputs, DenseDetectionOutputs):
        return dict(
            logits=outputs.logits,
            quality_logits=outputs.quality_logits,
            boxes_xyxy_px=outputs.boxes_xyxy_px,
        )
    return dict(logits=outputs.logits)


def meanings(outputs: Outputs) -> dict[str, str]:
    """Returns a sentence for each of `named_outputs`, for the model card."""
    if isinstance(outputs, SetDetectionOutputs):
        last = "softmax, the last class is 'no object'" if outputs.has_no_object else ""
        return dict(
            logits=f"(B, queries, classes): {last or 'one sigmoid for each class'}",
            boxes_cxcywh="(B, queries, 4): center, width, height; 1.0 is the whole input",
        )
    if isinstance(outputs, DenseDetectionOutputs):
        return dict(
            logits="(B, cells, classes): one sigmoid for each class",
            quality_logits="(B, cells): sigmoid is the predicted IoU of the box",
            boxes_xyxy_px="(B, cells, 4): left, top, right, bottom in px of the input",
        )
    stride = getattr(outputs, "stride", None)
    if stride is None:
        return dict(logits="(B, classes): scores before softmax or sigmoid")
    return dict(logits=f"(B, h, w, classes): one cell for {stride} x {stride} px")
