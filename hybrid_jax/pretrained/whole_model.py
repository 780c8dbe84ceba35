"""A whole model has every array that is not the head's, and of a head all or nothing."""

from hybrid_jax.errors import UserError
from hybrid_jax.pretrained.load_report import Report, Row

_LOGITS, _LAYER = "head/logits/kernel", "head/pre_logits/kernel"


def check_whole_model(report: Report, *, source: str) -> None:
    """Raises an error if a file lacks arrays, or its classifier cannot be kept.

    A classifier is useless without the tanh layer that it was trained behind, and starting
    anew without a word would lose what the file knows of these very classes.

    Raises:
        UserError: arrays other than the head's are missing; or the classes are as many, but
            the file has a tanh layer and the model none, or the reverse, or one of another
            width.
    """
    report.check_whole(source=source)
    rows = {row.path: row for row in report.rows}
    logits, layer = rows.get(_LOGITS), rows.get(_LAYER)
    if logits is None or not _as_many_classes(logits):
        return
    width = 0 if layer is None or layer.file_shape is None else layer.file_shape[-1]
    if layer is None or layer.action == "loaded":
        return
    where = "head_options.linear.representation_size"
    raise UserError(
        f"{source}: its classifier stands behind "
        f"{f'a tanh layer of width {width}' if width else 'no tanh layer'}, the model's "
        f"{_of(layer)}. Set --config.model.{where}={width}, or start with a new one: "
        f"--config.model.pretrained_options.head=new."
    )


def _as_many_classes(row: Row) -> bool:
    """Whether the file's classes are the model's, so that its classifier is expected."""
    if row.action == "loaded":
        return True
    there, here = row.file_shape, row.shape
    if there is None or here is None or row.why == "head=new":
        return False
    return there[-1:] == here[-1:]


def _of(layer: Row) -> str:
    return f"behind one of {layer.shape[-1]}" if layer.shape else "behind none"
