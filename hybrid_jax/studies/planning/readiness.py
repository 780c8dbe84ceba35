"""Whether what the runs of a study read is there, found out before any of them begins."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.contracts import DatasetInfo, Source
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import BadImageError, UserError
from hybrid_jax.pretrained.files.source import local_file
from hybrid_jax.studies.running.changed_experiment import changed_experiment
from hybrid_jax.studies.settings import Study

_WEIGHTS = ("pretrained", "pretrained_resnet", "pretrained_vit")


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How many examples there are.

    Attributes:
        train: variant -> in its training split, or the share of it that is used.
        scored: variant -> evaluation -> in the split that is scored.
        validation: variant -> in the split that settings are chosen on.
        notes: what the sources say of themselves, such as how they were split.
    """

    train: Mapping[str, int]
    scored: Mapping[str, Mapping[str, int]]
    validation: Mapping[str, int]
    notes: tuple[str, ...] = ()


def training_data_fault(study: Study) -> str:
    """Returns why the training data of the baseline cannot be opened; "" if they can.

    A study may be planned where its data are not, and its tables written.
    """
    data = _experiments(study)[study.baseline].data
    try:
        open_split(data, split=data.train_split)
    except UserError as error:
        return str(error)
    return ""


def lengths_of(study: Study) -> Lengths:
    """Opens every split that a run or an evaluation reads, and finds all weights.

    Raises:
        UserError: a split, its labels or a file of weights are not there, or the data have
            no boxes and localization is scored; names who needs it.
    """
    opened: dict[str, tuple[int, DatasetInfo]] = {}
    notes: dict[str, None] = {}

    def look_at(data: ConfigDict, split: str, *, where: str) -> tuple[int, DatasetInfo]:
        key = json.dumps([data.to_dict(), split], sort_keys=True)
        if key not in opened:
            try:
                source = open_split(data, split=split)
                _look_at_first(source, data)
            except UserError as error:
                raise UserError(f"config.study: {where}: {error}") from error
            opened[key] = len(source), source.info
            notes.update(dict.fromkeys(source.info.notes))
        return opened[key]

    def length(data: ConfigDict, split: str, *, where: str) -> int:
        return look_at(data, split, where=where)[0]

    train, scored, validation = {}, {}, {}
    for name, experiment in _experiments(study).items():
        data, where = experiment.data, f"variant {name!r}"
        _find_weights(experiment, where=where)
        train[name] = length(data, data.train_split, where=where)
        validation[name] = length(data, experiment.eval.split, where=where)
        scored[name] = {
            evaluation: length(
                changed_experiment(experiment.to_dict(), changes, where=where).data,
                changes["eval.split"],
                where=f"{where}, evaluation {evaluation!r}",
            )
            for evaluation, changes in study.evaluations.items()
        }
        if study.localization:
            _, info = look_at(data, study.test_split, where=where)
            _check_boxes(info, data, where=where)
    return Lengths(train, scored, validation, tuple(notes))


def _look_at_first(source: Source, data: ConfigDict) -> None:
    """Raises `BadAnnotationError` for a split whose labels are kept secret, as by -1."""
    if data.on_bad_annotation == "skip" or not len(source):
        return
    annotations = getattr(source, "annotations", source.__getitem__)
    # One image that cannot be read says nothing about the split.
    with contextlib.suppress(BadImageError):
        annotations(0)


def _check_boxes(info: DatasetInfo, data: ConfigDict, *, where: str) -> None:
    if not info.box_names:
        raise UserError(
            f"config.study.localization: {where}: the data {data.name!r} have no boxes, in "
            f"which a model could be seen to look. Leave it out, or take data with boxes."
        )


def _experiments(study: Study) -> dict[str, ConfigDict]:
    """Returns variant -> its experiment with the first setting and seed."""
    return {
        name: study.experiment(name, study.settings[name][0], seed=study.seeds[0])
        for name in study.variants
    }


def _find_weights(experiment: ConfigDict, *, where: str) -> None:
    model: Mapping[str, Any] = experiment.model
    for key in _WEIGHTS:
        if not model[key]:
            continue
        try:
            local_file(model[key])
        except UserError as error:
            raise UserError(f"config.study: {where}, model.{key}: {error}") from error
