"""One compiled training step or inference step of the library, on one device."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from accelerator_cases import FOLDED, Case, experiment_of, substituted
from accelerator_flops import flops_per_image
from accelerator_state import random_state
from jax.sharding import SingleDeviceSharding

from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.models.layers.folding import fold
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.train.state import merge_model, split_model

_CLASSES = 1000


class Thousand:
    """A split with the classes of ImageNet; no example of it is ever read."""

    info = DatasetInfo(
        num_classes=_CLASSES, class_names=tuple(str(i) for i in range(_CLASSES))
    )

    def __len__(self) -> int:
        return 1_281_167


class Program:
    """A case, traced in the constructor; `compile` may run in another thread.

    Args:
        case: a model, its size and what is done with it.
        device: that inference is compiled for; the first one if None.

    Attributes:
        case: what it is of.
        trace_seconds: time it took to trace and lower.
        compile_seconds: time `compile` took; less where JAX's cache holds the program.
        flops: of the model, for one image.
    """

    def __init__(self, case: Case, *, device: jax.Device | None = None):
        self.case = case
        self._device = device
        self._experiment = experiment_of(case, source=Thousand())
        started = time.perf_counter()
        with substituted(case.variant):
            self._lowered = self._lower()
        self.trace_seconds = time.perf_counter() - started
        self.compile_seconds = float("nan")
        self.flops = flops_per_image(self._experiment, kind=case.kind)

    def _lower(self):
        experiment, shapes = self._experiment, self._experiment.shapes
        batch = jax.eval_shape(self._batch)
        if self.case.kind == "train":
            return experiment.jitted_train_step().lower(shapes, batch)
        policy = experiment.config.model.normalization
        params, mutable = jax.eval_shape(self._prepared, shapes.params, shapes.mutable)

        def infer(params, mutable, image):
            image = normalize_image(image, policy=policy)
            return merge_model(self._graph, params, mutable)(image).logits

        place = SingleDeviceSharding(self._device or jax.devices()[0])
        jitted = jax.jit(
            experiment.traced(infer),
            in_shardings=place,
            out_shardings=place,
            compiler_options=experiment.compiler_options,
        )
        return jitted.lower(params, mutable, batch["image"])

    def _prepared(self, params: dict, mutable: dict) -> tuple[dict, dict]:
        """Returns the state that inference takes, and keeps the graph that goes with it."""
        model = merge_model(self._experiment.graph, params, mutable)
        if self.case.variant == FOLDED:
            fold(model)
        self._graph, params, mutable = split_model(model)
        return params, mutable

    def _batch(self) -> dict[str, jax.Array]:
        rows, px = self.case.batch, self.case.px
        shape = (rows, px, px, 3)
        return dict(
            image=jax.random.randint(jax.random.key(0), shape, 0, 256, jnp.uint8),
            label=jnp.arange(rows, dtype=jnp.int32) % _CLASSES,
            mask=jnp.ones(rows, bool),
        )

    def compile(self) -> None:
        """Compiles the program for the device."""
        started = time.perf_counter()
        self._compiled = self._lowered.compile()
        self.compile_seconds = time.perf_counter() - started

    def ready(self) -> Callable[[], Any]:
        """Returns a function that starts one step and returns something to wait for.

        Parameters are random; those of a training step change from call to call.
        """
        batch = jax.jit(self._batch)()
        state = random_state(self._experiment.shapes, self._experiment.shardings)
        compiled = self._compiled
        if self.case.kind == "infer":
            params, mutable = jax.jit(self._prepared)(state.params, state.mutable)
            del state
            return lambda: compiled(params, mutable, batch["image"])

        def train():
            nonlocal state
            state, scalars = compiled(state, batch)
            return scalars["loss"]

        return train

    def memory_bytes(self) -> int:
        """Returns what the compiler plans for arguments, results and all between them."""
        found = self._compiled.memory_analysis()
        return (
            found.argument_size_in_bytes
            + found.output_size_in_bytes
            - found.alias_size_in_bytes
            + found.temp_size_in_bytes
        )

    def text(self) -> str:
        """Returns the compiled program in XLA's own language."""
        return self._compiled.as_text()
