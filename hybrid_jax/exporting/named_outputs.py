"""The outputs of heads as plain dicts of arrays, with a sentence for each."""

import jax

from hybrid_jax.outputs import DenseDetectionOutputs, Outputs, SetDetectionOutputs


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
