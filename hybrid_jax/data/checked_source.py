"""A source whose boxes and masks have been checked."""

from hybrid_jax.contracts import DatasetInfo, Example, Source
from hybrid_jax.data.annotations import check_annotations


class CheckedSource:
    """The examples of a source with usable annotations alone (see `check_annotations`).

    Who trains and who scores see the same: `faulty` of an example counts what was left out.
    Where the source cannot give an example at all, its `BadAnnotationError` is passed on,
    and the pipeline takes it or leaves it (see `errors_to_skip`).

    Args:
        source: with boxes or masks. If it has `first_fault`, a `BadAnnotationError` or
            None, that is of the first of the examples it already knows it cannot give.
        skip: whether to leave out what is faulty; otherwise it raises.

    Raises:
        BadAnnotationError: `first_fault`, at once, if nothing is to be skipped.
    """

    def __init__(self, source: Source, *, skip: bool):
        fault = getattr(source, "first_fault", None)
        if fault is not None and not skip:
            raise fault
        self._source = source
        self._skip = skip

    @property
    def info(self) -> DatasetInfo:
        """Returns that of the source."""
        return self._source.info

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        """Returns example `index` with `faulty`.

        Raises:
            BadImageError: the file of this example cannot be read.
            BadAnnotationError: something is faulty and nothing is to be skipped, or the
                source has no annotation to check.
        """
        return self._checked(self._source[index])

    def annotations(self, index: int) -> Example:
        """Returns the same without `image` and with `original_hw`, (height, width) in px.

        The image is decoded only if the source cannot do without.

        Raises:
            BadImageError, BadAnnotationError: as `[index]`.
        """
        if hasattr(self._source, "annotations"):
            return self._checked(self._source.annotations(index))
        example = dict(self._source[index])
        example["original_hw"] = example.pop("image").shape[:2]
        return self._checked(example)

    def _checked(self, example: Example) -> Example:
        example, faulty = check_annotations(example, info=self.info, skip=self._skip)
        return {**example, "faulty": faulty}
