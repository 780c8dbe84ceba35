"""`dataset.json` of a workdir: the data of a run and the names of its classes."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from jax.experimental import multihost_utils

from hybrid_jax.contracts import DatasetInfo, Source
from hybrid_jax.errors import UserError
from hybrid_jax.tasks import TASKS
from hybrid_jax.train.checkpoints.workdir import has_checkpoint, write_whole
from hybrid_jax.train.parallel.distributed import is_main_process

CHANNEL_ORDER = "RGB"
"""The order of an image's channels, the same for all sources."""

_FILE = "dataset.json"
_SHOWN = 50  # more names make a message nobody reads to its end


@dataclasses.dataclass(frozen=True)
class DatasetRecord:
    """What is remembered of the data that a run is trained on.

    Attributes:
        task: `config.task.name`.
        classes: names in the order of the model's outputs, by target of the task: of
            "label", "boxes" and "segmentation".
        category_ids: of the classes of boxes in their annotation file; empty for 1, 2, ...
        train_examples: length of the training split.
        validation_examples: length of `config.eval.split`.
        channel_order: of the images.
        share_digest: of which examples `data.train_fraction` takes; "" for all.
    """

    task: str
    classes: Mapping[str, tuple[str, ...]]
    category_ids: tuple[int, ...]
    train_examples: int
    validation_examples: int
    channel_order: str = CHANNEL_ORDER
    share_digest: str = ""

    @property
    def fingerprint(self) -> str:
        """Hash of the names and their order: 16 hexadecimal digits."""
        text = json.dumps(self.classes, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def info(self, *, largest_hw: tuple[int, int] | None) -> DatasetInfo:
        """Returns what the data set told the task; images are at most `largest_hw` px."""
        labels = self.classes.get("label", ())
        return DatasetInfo(
            num_classes=len(labels),
            class_names=labels,
            box_names=self.classes.get("boxes", ()),
            box_category_ids=self.category_ids,
            segmentation_names=self.classes.get("segmentation", ()),
            largest_hw=largest_hw,
        )

    def check_classes(self, info: DatasetInfo, *, workdir: epath.Path, data: str) -> None:
        """Refuses data whose classes are not those of the run.

        Args:
            info: of the data as it is now.
            workdir: of the run, for the message.
            data: what the data is called, for the message.

        Raises:
            UserError: a class was renamed, moved, added or removed; both lists are named.
        """
        for target, then in self.classes.items():
            now = _classes_of(info, (target,))[target]
            if now != then:
                raise UserError(
                    f"{workdir} was trained with other classes than {data} has now, so "
                    f"predictions would get wrong names:\n{_both(then, now)}\n"
                    f"  Give the data back the classes it had, under the same names, or "
                    f"train with another --workdir. The k-th output of the model is the "
                    f"k-th class of {workdir / _FILE}, whatever it is called now."
                )

    def to_json(self) -> str:
        """Returns the content of the file."""
        facts = dataclasses.asdict(self) | dict(fingerprint=self.fingerprint)
        return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def record_of(train: Source, validation: Source, *, task: str) -> DatasetRecord:
    """Returns the record of the data that a run is about to be trained on.

    Args:
        train: the training split.
        validation: the split that is evaluated during training.
        task: `config.task.name`.

    Raises:
        UserError: the two splits have different classes.
    """
    targets = TASKS.get(task).targets
    classes = _classes_of(train.info, targets)
    for target, names in _classes_of(validation.info, targets).items():
        if names != classes[target]:
            raise UserError(
                f"config.eval.split: expected the classes of config.data.train_split, in "
                f"the same order:\n{_both(classes[target], names, of=('train', 'eval'))}"
            )
    return DatasetRecord(
        task=task,
        classes=classes,
        category_ids=tuple(train.info.box_category_ids) if "boxes" in targets else (),
        train_examples=len(train),
        validation_examples=len(validation),
        share_digest=getattr(train, "share_digest", ""),
    )


def read_record(workdir: epath.Path) -> DatasetRecord | None:
    """Returns the record of a run; None if there is none, as in older workdirs.

    Raises:
        UserError: the file is damaged, or its names were edited.
    """
    path = workdir / _FILE
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text())
        written = facts.pop("fingerprint", None)
        facts["category_ids"] = tuple(facts["category_ids"])
        facts["classes"] = {k: tuple(map(str, v)) for k, v in facts["classes"].items()}
        record = DatasetRecord(**facts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is not the JSON that a run writes ({error!r}). Restore it from a "
            f"copy, or remove it: the classes are then those of the data."
        ) from error
    if written not in (None, record.fingerprint):
        raise UserError(
            f"{path}: expected names with the fingerprint {written}, got "
            f"{record.fingerprint}: they were edited. Restore the file from a copy."
        )
    if record.channel_order != CHANNEL_ORDER:
        raise UserError(
            f"{path}: expected channel_order {CHANNEL_ORDER!r}, the order in which images "
            f"are read, got {record.channel_order!r}."
        )
    return record


def claim_dataset(workdir: epath.Path, record: DatasetRecord, *, data: str) -> None:
    """Writes `dataset.json`, or checks that the one there has the same classes.

    As with `workdir.claim`, a workdir without a checkpoint may be taken over.

    Args:
        record: of the data as it is now.
        data: what the data is called, for messages.

    Raises:
        UserError: the run there was trained with other classes.
    """
    saved = read_record(workdir) if has_checkpoint(workdir) else None
    if saved is not None:
        saved.check_classes(record.info(largest_hw=(1, 1)), workdir=workdir, data=data)
        _say_other_examples(saved, record)
    else:
        say_unrecorded(workdir, classes=f"are taken to be those that {data} has now")
    # No process may still be reading while the first one writes.
    multihost_utils.sync_global_devices("data set checked")
    if is_main_process() and saved != record:
        write_whole(workdir / _FILE, record.to_json())


def say_unrecorded(workdir: epath.Path, *, classes: str) -> None:
    """Says what is taken for the classes of a run that is older than `dataset.json`."""
    if is_main_process() and has_checkpoint(workdir):
        print(f"note: {workdir} has no {_FILE}; its classes {classes}", flush=True)


def _say_other_examples(saved: DatasetRecord, now: DatasetRecord) -> None:
    there, here = saved.train_examples, now.train_examples
    if not is_main_process():
        return
    if there != here:
        print(
            f"note: {here:,} training examples, there were {there:,}: they come in another "
            f"order from here on",
            flush=True,
        )
    elif saved.share_digest != now.share_digest:
        print(
            "note: data.train_fraction takes other training examples than those that this "
            "run has seen, if an earlier version or another order of the data chose them; "
            "use another --workdir to train on one share alone",
            flush=True,
        )


def _classes_of(info: DatasetInfo, targets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the names by target; labels without names have numbers."""
    numbers = tuple(map(str, range(info.num_classes)))
    names: dict[str, Any] = dict(
        label=info.class_names or numbers,
        boxes=info.box_names,
        segmentation=info.segmentation_names,
    )
    return {target: tuple(names[target]) for target in targets}


def _both(
    first: tuple[str, ...],
    second: tuple[str, ...],
    *,
    of: tuple[str, str] = ("then", "now"),
) -> str:
    """Returns two lists of names, one below the other, and where they part."""
    at = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    lines = [
        f"    {name + ':':<6} {len(names)} classes: {_listed(names)}"
        for name, names in zip(of, (first, second), strict=True)
    ]
    one, other = (repr(n[at]) if at < len(n) else "none" for n in (first, second))
    return "\n".join([*lines, f"    first difference: class {at} is {one} and {other}"])


def _listed(names: tuple[str, ...]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
