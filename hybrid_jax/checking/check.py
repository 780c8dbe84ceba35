"""`--mode=check`: reads the whole data set once, tells what is there and what is wrong."""

import itertools
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from hybrid_jax.checking.contact_sheet import write_contact_sheet
from hybrid_jax.checking.example_facts import ExampleFacts
from hybrid_jax.checking.read_split import read_split
from hybrid_jax.checking.report_text import report_text
from hybrid_jax.checking.split_summary import summary_of
from hybrid_jax.checking.verdict import problems_of, remarks_of
from hybrid_jax.config import changed, resolve
from hybrid_jax.config.splits_read import splits_read
from hybrid_jax.contracts import DatasetInfo, Source
from hybrid_jax.data.checks.unused_bits import unused_bits
from hybrid_jax.data.formats.classes.class_names import one_class_note
from hybrid_jax.data.reading import reading_as
from hybrid_jax.data.sources import checked_split
from hybrid_jax.errors import UserError
from hybrid_jax.tasks import TASKS
from hybrid_jax.train.checkpoints.dataset_record import record_of
from hybrid_jax.train.parallel.distributed import is_main_process

_PAIRS_SHOWN = 5  # of images that two splits share


def check(config: ConfigDict, workdir: str, *, output: str | None = None) -> dict[str, Any]:
    """Reads every example of training, evaluation, validation and test.

    Prints classes with their counts, sizes, boxes for each image, faults by kind with
    examples, and images that are in two splits; writes all of it as `check.json`, and
    samples of each split with their annotations as `check_<split>.png`.

    Args:
        config: of the run that the data is for.
        workdir: of that run.
        output: folder for the files; the workdir if None.

    Returns:
        What `check.json` holds.

    Raises:
        UserError: the data cannot be trained on; says why, after all else is done.
    """
    folder = pathlib.Path(output or workdir).expanduser().absolute()
    needed = splits_read(config)
    sources, refused = _opened(config, needed=needed)
    train = sources[config.data.train_split]
    task = TASKS.get(config.task.name)
    task.num_classes(train.info)  # raises for data that has no such annotations
    (target,) = task.targets
    config = resolve(
        config,
        on_cpu=jax.default_backend() == "cpu",
        num_train_examples=len(train),
    )
    if not is_main_process():
        return {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be made: {error}.") from error
    _say_first(config, sources, target=target)
    started = time.perf_counter()
    facts = _facts(config, sources, target=target)
    seconds = time.perf_counter() - started
    report = _report(config, sources, facts=facts, target=target)
    for split, why in refused.items():
        kind = "problems" if split in needed else "remarks"
        report[kind].insert(0, f"no {split} split: {why}")
    print(report_text(report["splits"], target=target, remarks=report["remarks"]))
    print(f"read {sum(map(len, facts.values())):,} images in {seconds:.1f} s", flush=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (folder / "check.json").write_text(f"{text}\n", encoding="utf-8")
    with reading_as(config.data):
        for split, source in sources.items():
            path = folder / f"check_{split}.png"
            write_contact_sheet(path, source, facts=facts[split], target=target)
    print(f"check.json and samples to look at, check_*.png, in {folder}", flush=True)
    if report["problems"]:
        lines = "".join(f"\n    {problem}" for problem in report["problems"])
        raise UserError(f"the data cannot be trained on as it is:{lines}")
    return report


def _opened(
    config: ConfigDict, *, needed: list[str]
) -> tuple[dict[str, Source], dict[str, str]]:
    """Returns the splits that are there, and why others are not."""
    # What is faulty is to be counted, all of it.
    lenient = changed(config.data, {"on_bad_annotation": "skip", "on_bad_image": "skip"})
    train = needed[0]
    sources = {train: checked_split(lenient, split=train)}
    refused = {}
    for split in dict.fromkeys([*needed[1:], "validation", "test"]):
        try:
            source = checked_split(lenient, split=split)
            if split in needed:
                record_of(sources[train], source, task=config.task.name)
            sources[split] = source
        except UserError as error:
            refused[split] = str(error)
    return sources, refused


def _say_first(config: ConfigDict, sources: dict[str, Source], *, target: str) -> None:
    count = len(_names(sources[config.data.train_split].info, target))
    lengths = ", ".join(f"{len(source):,} {split}" for split, source in sources.items())
    print(
        f"{config.data.name}: {config.task.name} of {count} classes; reading {lengths} "
        f"images",
        flush=True,
    )


def _facts(
    config: ConfigDict, sources: dict[str, Source], *, target: str
) -> dict[str, list[ExampleFacts]]:
    return {
        split: read_split(
            source,
            split=split,
            target=target,
            image_hw=tuple(config.data.image_size),
            data=config.data,
            threads=config.data.threads,
            progress=config.log.progress,
        )
        for split, source in sources.items()
    }


def _report(
    config: ConfigDict,
    sources: dict[str, Source],
    *,
    facts: dict[str, list[ExampleFacts]],
    target: str,
) -> dict[str, Any]:
    """Returns what `check.json` holds."""
    data, train = config.data, config.data.train_split
    names = _names(sources[train].info, target)
    splits = {
        split: summary_of(of_split, names=names, target=target, max_boxes=data.max_boxes)
        for split, of_split in facts.items()
    }
    shared = _in_two_splits(facts)
    remarks = remarks_of(
        splits,
        duplicates=shared,
        train=train,
        image_hw=tuple(data.image_size),
        max_boxes=data.max_boxes,
    )
    notes = [note for source in sources.values() for note in source.info.notes]
    if target == "label":
        notes += filter(None, [one_class_note(names)])
    problems = problems_of(splits, data=data, needed=splits_read(config))
    problems += filter(None, [unused_bits(sources[train], data)])
    return dict(
        data=data.name,
        task=config.task.name,
        classes=list(names),
        splits=splits,
        images_in_two_splits=shared,
        remarks=list(dict.fromkeys([*notes, *remarks])),
        problems=problems,
    )


def _names(info: DatasetInfo, target: str) -> tuple[str, ...]:
    numbers = tuple(map(str, range(info.num_classes)))
    return {
        "label": info.class_names or numbers,
        "boxes": info.box_names,
        "segmentation": info.segmentation_names,
    }[target]


def _in_two_splits(facts: Mapping[str, Sequence[ExampleFacts]]) -> list[dict[str, Any]]:
    """Returns, for each two splits that share images, how many of the second, and some.

    What is scored then was trained on. Images are the same if their decoded pixels are,
    whatever their files are called.

    Args:
        facts: split -> of its examples.
    """
    by_hash = {
        split: {one.fingerprint: one.name for one in of_split if one.fingerprint}
        for split, of_split in facts.items()
    }
    found = []
    for first, second in itertools.combinations(facts, 2):
        names = by_hash[first]
        both = [one for one in facts[second] if one.fingerprint in names]
        if both:
            examples = [[names[one.fingerprint], one.name] for one in both[:_PAIRS_SHOWN]]
            found.append(dict(splits=[first, second], count=len(both), examples=examples))
    return found
