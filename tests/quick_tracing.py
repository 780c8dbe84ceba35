"""What makes Python quick where programs are traced: a third of the suite's time."""

import gc
import inspect
import itertools
import os
import pathlib
import resource
from collections.abc import Callable
from typing import Any

import jax
from jax._src.interpreters import mlir

# A traced program is millions of small objects that live for a while. At Python's own
# thresholds (700, 10, 10) reading them again and again takes a fifth of all time.
_THRESHOLDS = (100_000, 50, 100)
_PROGRAMS_A_CONTEXT = 200


def collect_garbage_rarely() -> None:
    """Makes collections fewer, also of what is imported, of which hardly any is garbage."""
    gc.set_threshold(*_THRESHOLDS)


def keep_what_is_imported() -> None:
    """Leaves what there is out of all collections to come.

    It is not collected before: the little that is garbage is not worth half a second.
    """
    gc.freeze()


def give_tracers_a_short_answer() -> None:
    """A tracer asked for its sharding says at once that it has none.

    Flax asks at every random key that is drawn under a trace. JAX's answer names the
    origin of the tracer, for which it reads all of the program so far. Models do not
    depend on this (`hybrid_jax/models/layers/replaced.py`); parts built alone do.
    """

    def sharding(tracer: jax.core.Tracer) -> None:
        raise AttributeError(f"{type(tracer).__name__} has no sharding")

    jax.core.Tracer.sharding = property(sharding)


def share_contexts() -> None:
    """Lowers many programs in one context of MLIR, where JAX makes one for each.

    Loading the dialects into a new context takes longer than lowering, for a program of
    one operation: the suite has thousands. Constants live as long as their context does,
    so there is a new one now and then.
    """
    make, made = mlir.make_ir_context, itertools.count()
    newest = []

    def shared() -> mlir.ir.Context:
        if next(made) % _PROGRAMS_A_CONTEXT == 0:
            newest[:] = [make()]
        return newest[0]

    mlir.make_ir_context = shared


def resident_bytes() -> int:
    """Returns the memory this process holds; where that is unknown, its maximum so far."""
    pages = pathlib.Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def remember_steps() -> Callable[[], None]:
    """Traces a step once in a file of tests, for runs of one config; returns what forgets.

    To be called after `remember_models`: runs of one config have one description. A task
    whose methods a test replaces has steps of its own.
    """
    from hybrid_jax.predicting import predict_run
    from hybrid_jax.robustness.changed_batch import BatchChanger
    from hybrid_jax.train.experiment import Experiment

    known: dict[tuple, tuple] = {}

    def remember(owner: Any, name: str, experiment_of: Callable) -> None:
        make = getattr(owner, name)

        def remembered(self: Any, *args: Any, **options: Any) -> Callable:
            run = experiment_of(self)
            told = (each if isinstance(each, str) else type(each) for each in args)
            key = (make, *_traced_of(run), *told, *options.items())
            if key not in known:
                known[key] = run.graph, make(self, *args, **options)
            return known[key][1]

        setattr(owner, name, remembered)

    remember(Experiment, "jitted_train_step", lambda run: run)
    remember(Experiment, "jitted_eval_step", lambda run: run)
    remember(predict_run, "_jitted_step", lambda run: run)
    remember(BatchChanger, "_program", lambda changer: changer._experiment)
    return known.clear


def _traced_of(run: Any) -> tuple:
    """Returns what the steps of an `Experiment` are traced of, to be compared."""
    methods = tuple(vars(type(run.task)).items())
    kept = run.config.to_json_best_effort(), repr(run.source.info)
    return (id(run.graph), *kept, run.mesh, run.platform, methods)


def remember_models() -> Callable[[], None]:
    """Traces the construction of a model once in a file of tests; returns what forgets.

    A test that saves a run, reads it and predicts describes the same model three times.
    Everything that a model is built of is compared: the config, the data, and the classes
    that are registered. A class that is changed in place is not seen to have changed.
    """
    from hybrid_jax.models.fusions import FUSIONS
    from hybrid_jax.models.heads import HEADS
    from hybrid_jax.tasks import TASKS
    from hybrid_jax.train import experiment

    trace, known = experiment.make_init, {}

    def remembered(build: Callable, optimizer: Any, *, averaged: bool) -> tuple:
        told = inspect.getclosurevars(build).nonlocals
        config, info = told["config"], told["source"].info
        names = config.model.fusion, config.model.head, config.task.name
        entries = (FUSIONS, HEADS, TASKS)
        parts = tuple(e.get(name) for e, name in zip(entries, names, strict=True))
        branches = config.model, config.data, config.optimizer, config.train, config.task
        text = "\n".join(branch.to_json_best_effort() for branch in branches)
        key = (text, repr(info), parts, averaged)
        if key not in known:
            known[key] = trace(build, optimizer, averaged=averaged)
        return known[key]

    experiment.make_init = remembered
    return known.clear
