"""The first lines of a run, each before something that takes long."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.dataset_record import DatasetRecord
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.parallel.distributed import is_main_process

_SHOWN = 5  # names of classes
# Training images above which the test split is not opened for its length alone: sources
# list files, and some read every annotation.
_COUNTED = 100_000


def announce_start(config: ConfigDict) -> None:
    """Prints what is begun, before the model is traced and anything is compiled."""
    if is_main_process():
        print(
            f"starting {config.model.fusion} on {config.data.name}; the first time, "
            f"compiling can take minutes",
            flush=True,
        )


def ready_line(saved: int | None, *, seconds: float, compiles: bool) -> str:
    """Returns that the state is there, and what takes long next.

    Args:
        saved: step that the run goes on from; None for a new one.
        seconds: since the start.
        compiles: whether there are steps to train.
    """
    verb = "initialized" if saved is None else f"continued from step {saved}"
    wait = "; compiling the training step: seconds to minutes, once" * compiles
    return f"{verb} in {seconds:.1f} s{wait}"


def first_step_line(step: int, *, seconds: float, config: Mapping[str, Any]) -> str:
    """Returns how long the first step took, and when the first row comes.

    Args:
        step: counted from 1.
        seconds: of the step.
        config: of the run.
    """
    every = config["log"]["every"]
    row = min(-(-step // every) * every, config["train"]["steps"])
    wait = f"; the first row comes with step {row}" if row > step else ""
    return f"first step, compilation included: {seconds:.1f} s{wait}"


def announce(
    experiment: Experiment,
    workdir: epath.Path,
    *,
    record: DatasetRecord | None = None,
    eval_notes: Sequence[str] = (),
    sizes: str = "",
) -> None:
    """Prints what is about to run, on what, and where it is kept.

    Args:
        experiment: what runs.
        workdir: where it is kept.
        record: of the data; None says nothing of its classes.
        eval_notes: sentences of the split to evaluate, see `DatasetInfo.notes`.
        sizes: of the images, in words.
    """
    if not is_main_process():
        return
    config = experiment.config
    params = experiment.shapes.params
    trained, frozen = map(_count, experiment.optimizer.split(params))
    height, width = config.data.image_size
    print(
        f"{config.model.fusion}: {trained + frozen:,} parameters on {jax.device_count()} x "
        f"{jax.devices()[0].device_kind}; {config.data.name}, "
        f"{len(experiment.source):,} training images at {height}x{width}, batch "
        f"{config.train.batch_size}, {config.train.steps} steps; workdir {workdir}",
        flush=True,
    )
    if record is not None:
        test = _test_count(config.data, record)
        print(_described(record, test=test, sizes=sizes), flush=True)
    notes = tuple(dict.fromkeys([*experiment.source.info.notes, *eval_notes]))
    for note in notes:
        print(f"data: {note}", flush=True)
    if notes:
        print("data: --mode=check reads all of it once and shows samples", flush=True)
    if experiment.left_to_hardware:
        kind = "cpu" if jax.default_backend() == "cpu" else "accelerator"
        print(
            f"{', '.join(experiment.left_to_hardware)}: as config.hardware.{kind} says; "
            f"size=, batch= and steps= after the config's colon set them",
            flush=True,
        )
    if frozen:
        print(f"{trained:,} of them are trained, {frozen:,} are frozen", flush=True)
    if rates := _own_rates(config.optimizer):
        print(rates, flush=True)
    if experiment.weights_report is not None:
        print(experiment.weights_report, flush=True)


def _own_rates(optimizer: ConfigDict) -> str:
    """Returns which parts learn at a rate of their own in words; '' if none does."""
    rates = [f"{part} {rate:g}" for part, rate in optimizer.branch.items() if rate != 1.0]
    if optimizer.layer_decay != 1.0:
        rates.append(f"each layer below the top {optimizer.layer_decay:g} more")
    return f"factors on the learning rate: {', '.join(rates)}" if rates else ""


def _test_count(data: ConfigDict, record: DatasetRecord) -> str:
    """Returns how many images of the test split there are in words; '' without one."""
    if record.train_examples > _COUNTED:
        return "uncounted test"
    try:
        return f"{len(open_source(data.name, split='test')):,} test"
    except UserError:
        return ""


def _described(record: DatasetRecord, *, test: str, sizes: str) -> str:
    """Returns task, classes and lengths of the splits, so that one sees what is learned."""
    kinds = [names for names in record.classes.values() if names]
    classes = "; ".join(
        f"{len(names)} {'class' if len(names) == 1 else 'classes'} "
        f"({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
        for names in kinds
    )
    train, validation = record.train_examples, record.validation_examples
    counts = [f"{train:,} training", f"{validation:,} validation"]
    counts += filter(None, [test])
    return (
        f"data: {record.task} of {classes or 'no classes'}; {', '.join(counts[:-1])} and "
        f"{counts[-1]} images{f' of {sizes}' if sizes else ''}"
    )


def _count(params: dict) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
