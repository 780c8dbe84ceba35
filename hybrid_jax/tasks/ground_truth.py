"""The annotations of one example, without decoding its image if possible."""

from hybrid_jax.contracts import Example, Source


def ground_truth(source: Source, index: int) -> Example:
    """Returns example `index` without `image` but with `original_hw`, (height, width).

    Raises:
        BadImageError, BadAnnotationError: the image or its annotation cannot be read.
    """
    without_image = getattr(source, "annotations", None)
    if without_image is not None:
        return without_image(index)
    example = dict(source[index])
    example["original_hw"] = example.pop("image").shape[:2]
    return example
