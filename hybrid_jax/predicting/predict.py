"""`hybrid_jax.predict`: what a model says about any images, in one call."""

import operator
import os
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from hybrid_jax.config import changed, defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.models.layers.folding import fold
from hybrid_jax.ops.normalize_image import POLICIES
from hybrid_jax.predicting.class_names import published_names
from hybrid_jax.predicting.prediction import Prediction
from hybrid_jax.predicting.predictor import Predictor
from hybrid_jax.pretrained.dialect import Hints
from hybrid_jax.pretrained.files.published_file import open_published
from hybrid_jax.pretrained.load import load_pretrained, native_size
from hybrid_jax.trained_model import restored_model

ModelLike = Predictor | Hybrid | str | os.PathLike
_SIDE_PX = 224  # of images for a model in memory


def predict(
    model: ModelLike,
    images: Any,
    *,
    batch_size: int | None = None,
    progress: bool | None = None,
    **options: Any,
) -> list[Prediction]:
    """Predicts for images: reads them, prepares them as in training, names the classes.

        answers = hybrid_jax.predict("runs/r26_vit_b16", "photos/")
        print(answers[0].best.name)
        answers[0].draw().save("drawn.png")

    Args:
        model: the workdir of a run; published weights, as a name or file that
            `load_pretrained` takes; a model in memory; or a `Predictor`, which keeps the
            model and its compiled program for the next call.
        images: one or several of: a path of a file or of a folder, a pattern such as
            "photos/*.jpg", a Pillow image, and uint8 arrays (H, W, 3), (H, W) or
            (N, H, W, 3). Pillow images are turned upright and brought to 8 bits as files
            are. Frames of a video in a folder come in the order of their numbers.
        batch_size: images at a time; None for up to 8 on CPUs and 64 on accelerators, and
            half of it again wherever device memory does not suffice.
        progress: whether to show a bar; None for "if stderr is a terminal".
        options: of `predictor`: `class_names`, `image_size` and `normalization`.

    Returns:
        One `ClassificationPrediction`, `DetectionPrediction` or `SegmentationPrediction`
        for each image, in order.

    Raises:
        UserError: no such model or image, or an array that is no image. A file that cannot
            be read is named, and nothing is returned.
    """
    if isinstance(model, Predictor) and options:
        raise UserError(
            f"predict: {', '.join(options)}: expected no options beside a predictor, which "
            f"has its own. Give them to hybrid_jax.predictor(...)."
        )
    ready = model if isinstance(model, Predictor) else predictor(model, **options)
    return ready(images, batch_size=batch_size, progress=progress)


def predictor(
    model: Hybrid | str | os.PathLike,
    *,
    class_names: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    normalization: str | None = None,
) -> Predictor:
    """Returns a `Predictor`: a model with its preprocessing and the names of its classes.

    Args:
        model: a workdir, published weights, or a model in memory, as for `predict`. A model
            in memory is folded in place: it cannot be trained any more.
        class_names: in the order of the outputs; None for those that the run or the file
            has, or for numbers.
        image_size: side or (height, width) in px that images are brought to; None for that
            of the run or the file, or 224 for a model in memory.
        normalization: "half" or "imagenet"; None for that of the run or the file, or "half"
            for a model in memory.

    Raises:
        UserError: no such model, an option outside its range, or names that are not as
            many as its classes.
    """
    given = _asked(image_size, normalization)
    if isinstance(model, Hybrid):
        made = _in_memory(model)
    elif _is_run(model):
        trained = restored_model(model)
        made = Predictor(trained.model, trained.config, trained.info)
    else:
        made = _published(model)
    info = made.info
    if class_names is not None:
        info = _named(tuple(class_names), count=len(made.class_names))
    return Predictor(made.model, changed(made.config, given), info)


def _asked(
    image_size: int | tuple[int, int] | None, normalization: str | None
) -> dict[str, Any]:
    """Returns the options as changes of a config.

    Raises:
        UserError: one is outside its range.
    """
    given: dict[str, Any] = {}
    if image_size is not None:
        given |= {"data.image_size": _sides(image_size), "eval.image_size": None}
    if normalization is not None:
        if normalization not in POLICIES:
            raise UserError(
                f"predictor: normalization: expected one of {', '.join(POLICIES)}, got "
                f"{normalization!r}."
            )
        given["model.normalization"] = normalization
    return given


def _sides(image_size: Any) -> tuple[int, int]:
    pair = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    try:
        height, width = map(operator.index, pair)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise UserError(
            f"predictor: image_size: expected a side or (height, width) in whole px of at "
            f"least 1, got {image_size!r}."
        )
    return height, width


def _is_run(model: str | os.PathLike) -> bool:
    """Whether a path is a workdir; a folder of weights may have a config.json too."""
    path = os.fspath(model)
    if path.startswith("hf://"):
        return False
    return (epath.Path(path).expanduser() / "checkpoints").exists()


def _published(source: str | os.PathLike) -> Predictor:
    try:
        file = open_published(os.fspath(source), hints=Hints())
    except UserError as error:
        raise UserError(
            f"predictor: model: expected the workdir of a run, with a folder 'checkpoints' "
            f"in it, or published weights, got {os.fspath(source)!r}. As weights: {error}"
        ) from error
    model, _ = load_pretrained(os.fspath(source))
    fold(model)
    images = file.preprocessing()
    config = _config_for(model, image_hw=native_size(file.architecture))
    found = {
        "model.normalization": images.normalization,
        "data.interpolation": images.interpolation,
        "data.eval_crop": images.eval_crop,
    }
    count = file.architecture.num_classes
    names = published_names(file.path, count=count)
    return Predictor(model, changed(config, found), _named(names, count=count))


def _in_memory(model: Hybrid) -> Predictor:
    fold(model)
    config = _config_for(model, image_hw=(_SIDE_PX, _SIDE_PX))
    count = _class_count(model, config)
    return Predictor(model, config, _named(tuple(map(str, range(count))), count=count))


def _config_for(model: Hybrid, *, image_hw: tuple[int, int]):
    """Returns the default config of the task that a model's head is for."""
    heads = [name for name in HEADS.names() if isinstance(model.head, HEADS.get(name))]
    task = HEADS.get(heads[0]).task
    values = {"task.name": task, "data.image_size": image_hw}
    values["task.segmentation.window"] = image_hw
    return changed(defaults(), values)


def _class_count(model: Hybrid, config) -> int:
    """Returns how many classes a model has, from the shapes of its outputs."""
    shape = (1, *config.data.image_size, 3)
    outputs = jax.eval_shape(model, jax.ShapeDtypeStruct(shape, "float32"))
    if hasattr(outputs, "layers"):
        return outputs.layers[-1].logits.shape[-1] - outputs.has_no_object
    return outputs.logits.shape[-1]


def _named(names: tuple[str, ...], *, count: int) -> DatasetInfo:
    if len(names) != count:
        raise UserError(
            f"predictor: class_names: expected {count} names, one for each class of the "
            f"model, got {len(names)}."
        )
    return DatasetInfo(
        num_classes=count,
        class_names=names,
        box_names=names,
        segmentation_names=names,
    )
