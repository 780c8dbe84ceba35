"""From a config to everything a run is made of, before anything is computed."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict, FrozenConfigDict

from hybrid_jax.config import changed
from hybrid_jax.contracts import DatasetInfo, Source, Task
from hybrid_jax.data.pipeline import train_batches
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import UserError
from hybrid_jax.models.heads import HEADS
from hybrid_jax.models.hybrid import build_model
from hybrid_jax.ops.compiler_options import compiler_options
from hybrid_jax.ops.device_mesh import tracing_over
from hybrid_jax.ops.platform import tracing_for
from hybrid_jax.pretrained.fill import Fill
from hybrid_jax.pretrained.load_report import Report
from hybrid_jax.tasks import TASKS
from hybrid_jax.train.checkpoints.pretrained_state import fill_state, match_state
from hybrid_jax.train.optimization.optimizer import Optimizer, make_optimizer
from hybrid_jax.train.parallel.sharding import (
    batch_sharding,
    replicated,
    state_shardings,
)
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.resolve_config import resolve_config
from hybrid_jax.train.state import TrainState, make_init
from hybrid_jax.train.step import StepOptions, make_eval_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run, described but not started.

    Attributes:
        config: resolved, see `resolve_config`.
        source: the training split.
        mesh: of the devices.
        task: loss and metrics.
        optimizer: the rule for all that is not frozen.
        graph: definition of the model.
        init: `key -> TrainState`, not jitted.
        shapes: of the state.
        shardings: of the state.
        fills: what published files give the model at the start of a run.
        weights_report: what became of their arrays; None without such files.
        left_to_hardware: keys that `config.hardware` filled.
        platform: kind of device the steps are traced for, see `ops/platform.py`.
    """

    config: FrozenConfigDict
    source: Source
    mesh: Mesh
    task: Task
    optimizer: Optimizer
    graph: nnx.GraphDef
    init: Callable[[jax.Array], TrainState]
    shapes: TrainState
    shardings: TrainState
    fills: tuple[Fill, ...] = ()
    weights_report: Report | None = None
    left_to_hardware: tuple[str, ...] = ()
    platform: str | None = None

    @property
    def eval_data(self) -> ConfigDict:
        """`config.data` for evaluation, whose images may have another size."""
        data = self.config.data
        if self.config.eval.image_size is None:
            return data
        return changed(data, {"image_size": self.config.eval.image_size})

    @property
    def batch_sharding(self) -> NamedSharding:
        """How the rows of a batch are spread."""
        return batch_sharding(self.mesh)

    @property
    def compiler_options(self) -> dict[str, bool | str] | None:
        """What XLA is told when it compiles a step."""
        with tracing_for(self.platform):
            return compiler_options()

    def new_state(self) -> TrainState:
        """Initializes the state from the seed, every array born on its own devices.

        Published weights then take the place of the arrays they hold, one by one.

        Raises:
            UserError: a file of weights that is damaged.
        """
        init = jax.jit(self.init, out_shardings=self.shardings)
        return fill_state(init(jax.random.key(self.config.seed)), self.fills)

    def train_batches(self, *, start: int) -> DevicePrefetch:
        """Returns the endless batches of training after step `start`, on the devices."""
        rows = train_batches(
            self.source,
            data=self.config.data,
            targets=self.task.targets,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            start_step=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        size = self.config.data.prefetch
        return DevicePrefetch(rows, sharding=self.batch_sharding, size=size)

    def jitted_train_step(self) -> Callable:
        """Returns the compiled-on-first-call training step; it donates the state."""
        config = self.config
        options = StepOptions(
            seed=config.seed,
            accumulate=config.train.accumulate,
            ema_decay=config.train.ema_decay,
            normalization=config.model.normalization,
        )
        step = make_train_step(
            self.graph,
            self.task,
            self.optimizer,
            options=options,
            mesh=self.mesh,
            shardings=self.shardings.params,
        )
        return jax.jit(
            self.traced(step),
            donate_argnums=0,
            in_shardings=(self.shardings, self.batch_sharding),
            out_shardings=(self.shardings, replicated(self.mesh)),
            compiler_options=self.compiler_options,
        )

    def jitted_eval_step(self) -> Callable:
        """Returns the compiled-on-first-call evaluation step; results are replicated."""
        step = make_eval_step(
            self.graph, self.task, normalization=self.config.model.normalization
        )
        params = self.shardings.params
        return jax.jit(
            self.traced(step),
            in_shardings=(params, self.shardings.mutable, self.batch_sharding),
            out_shardings=replicated(self.mesh),
            compiler_options=self.compiler_options,
        )

    def traced(self, step: Callable) -> Callable:
        """Returns a step that is traced for this platform and mesh."""

        @functools.wraps(step)
        def traced(*args):
            with tracing_for(self.platform), tracing_over(self.mesh):
                return step(*args)

        return traced


def prepare(
    config: ConfigDict, *, source: Source | None = None, **resolving: Any
) -> Experiment:
    """Checks a config against the hardware, the data and the model.

    Args:
        source: stands in for the training split; None opens it.
        resolving: of `resolve_config`: `workdir`, `sizes_from_run`, `continued`, `devices`
            and `platform`.

    Raises:
        UserError: whatever can be known to be wrong before anything is compiled.
    """
    if source is None:
        source = open_split(config.data, split=config.data.train_split)
    resolved = resolve_config(config, source=source, **resolving)
    config, mesh = resolved.config, resolved.mesh
    task = make_task(config, source.info)
    optimizer = make_optimizer(config.optimizer, steps=config.train.steps)
    graph, init, shapes = make_init(
        lambda rngs: model_of(config, source.info, rngs),
        optimizer,
        averaged=config.train.ema_decay > 0.0,
    )
    fills, report = match_state(resolved.weights, config.model, shapes)
    return Experiment(
        config=config,
        source=source,
        mesh=mesh,
        task=task,
        optimizer=optimizer,
        graph=graph,
        init=init,
        shapes=shapes,
        shardings=state_shardings(shapes, mesh, min_elements=config.mesh.fsdp_min_elements),
        fills=fills,
        weights_report=report,
        left_to_hardware=resolved.left_to_hardware,
        platform=resolved.platform,
    )


def make_task(config: ConfigDict, info: DatasetInfo) -> Task:
    """Returns the task of a resolved config.

    Raises:
        UserError: unknown, or the head gives the outputs of another one.
    """
    name, head = config.task.name, config.model.head
    made = TASKS.get(name)(config.task, info)
    read_by = HEADS.get(head).task
    if read_by != name:
        fitting = [entry for entry in HEADS.names() if HEADS.get(entry).task == name]
        raise UserError(
            f"config.model.head: {head!r} is for task {read_by!r}, config.task.name is "
            f"{name!r}. Heads for it: {', '.join(fitting)}."
        )
    return made


def model_of(config: ConfigDict, info: DatasetInfo, rngs: nnx.Rngs) -> nnx.Module:
    """Builds the model a resolved config and a data set ask for."""
    return build_model(
        config.model,
        num_classes=TASKS.get(config.task.name).num_classes(info),
        image_size=tuple(config.data.image_size),
        rngs=rngs,
    )
