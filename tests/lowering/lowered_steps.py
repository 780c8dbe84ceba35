"""Training and evaluation steps, lowered for accelerators that are not here.

JAX lowers for any platform from any other. What asks the hardware while a program is traced
is answered as an NVIDIA GPU of the Hopper generation would.
"""

import contextlib
import dataclasses
import functools

import jax
import numpy as np
import programs
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from hybrid_jax.config import defaults
from hybrid_jax.contracts import DatasetInfo
from hybrid_jax.data.blank_batch import blank_batch
from hybrid_jax.models.heads import HEADS
from hybrid_jax.ops.attention import cudnn
from hybrid_jax.train.experiment import prepare

TARGETS = dict(gpu="cuda", tpu="tpu")
# Multiples of nothing: strides 8, 16 and 32 all give odd numbers of cells, or nearly.
ODD_HW = (99, 133)
DEPTH = 1  # blocks of the small ViT: more are lowered alike
# Of layers that are alike a first and a last one are lowered.
_FEWER_LAYERS = dict(detr=dict(decoder_layers=2))
_ROWS = 8

# Files whose lines may be scatters. On GPUs floats are added by slow atomics; tables of
# integers with one row a query are small.
FLOATS = {"hybrid_jax/ops/attention/deformable.py"}  # gradient of a gather, learned places
INTEGERS = {
    "hybrid_jax/tasks/detection/matching.py",
    "hybrid_jax/tasks/detection/set_detection.py",
    "optax/assignment/_hungarian_algorithm.py",
}


@dataclasses.dataclass(frozen=True)
class Steps:
    """Both programs of one experiment on one platform.

    Attributes:
        evaluate: of the evaluation step.
        train: of the training step; None where it was not asked for.
        changed: leaves of the state that a training step gives back with another shape,
            dtype or weak type; the second step would be compiled again.
    """

    evaluate: programs.Program
    train: programs.Program | None = None
    changed: tuple[str, ...] = ()


class AnyData:
    """A split that has all kinds of targets; no example of it is ever read."""

    info = DatasetInfo(
        num_classes=7,
        class_names=tuple("abcdefg"),
        box_names=("cat", "dog", "owl"),
        segmentation_names=("sky", "sea", "sand", "rock"),
        largest_hw=(256, 256),
    )

    def __len__(self):
        return 100


def named_experiment(name, *, size):
    """Describes the training of a named model, with all its defaults."""
    return _experiment(defaults(name), image_size=size)


@functools.cache
def small_steps(fusion, head, platform, *, train=True, optimizer="adamw", **vit):
    """Returns the `Steps` of a fusion of small parts, under a head with its defaults.

    Args:
        train: whether the training step is lowered too.
        optimizer: one that does less to each parameter is lowered sooner.
        vit: further options of the ViT.
    """
    experiment = _small_experiment(fusion, head, optimizer, **vit)
    return lowered(experiment, platform, train=train)


@functools.lru_cache(maxsize=1)  # the platforms of one follow one another
def _small_experiment(fusion, head, optimizer, **vit):
    config = defaults("tiny")
    config.model.update(fusion=fusion, head=head)
    config.model.head_options.unlock().update(_FEWER_LAYERS)
    config.model.resnet_options.update(blocks=(1, 1, 1), width=32)
    small = dict(width=48, depth=DEPTH, num_heads=3, mlp_dim=80, drop_path=0.5)
    config.model.vit_options.update(small | vit)
    config.optimizer.name = optimizer
    config.task.name = HEADS.get(head).task
    return _experiment(config, image_size=ODD_HW)


def _experiment(config, *, image_size):
    with config.ignore_type():
        config.data.image_size = image_size
    config.train.update(steps=10, batch_size=_ROWS)
    devices = jax.devices()[:1]
    experiment = prepare(config, source=AnyData(), devices=devices, platform="gpu")
    assert experiment.config.model.dtype == "bfloat16"
    return experiment


def lowered(experiment, platform, *, train=True):
    """Returns the `Steps` of an experiment on "gpu" or "tpu"."""
    experiment = dataclasses.replace(experiment, platform=platform)
    data, shapes = experiment.config.data, experiment.shapes
    batch = blank_batch(data, targets=experiment.task.targets, batch_size=_ROWS)
    index = np.zeros(_ROWS, np.int32)
    evaluation = (shapes.params, shapes.mutable, batch | dict(index=index))
    with _hopper():
        evaluate, _ = _program(experiment.jitted_eval_step(), evaluation, platform)
        if not train:
            return Steps(evaluate)
        step = experiment.jitted_train_step()
        program, jaxpr = _program(step, (shapes, batch), platform)
        return Steps(evaluate, program, _changed(shapes, jaxpr))


def _program(step, arguments, platform):
    traced = step.trace(*arguments)
    lowered = traced.lower(lowering_platforms=(TARGETS[platform],))
    return programs.read(lowered), traced.jaxpr


def check(steps, platform):
    """Raises unless the steps are what an accelerator runs well."""
    assert not steps.changed, f"the second step compiles again: {steps.changed}"
    for name, program in dict(train=steps.train, evaluate=steps.evaluate).items():
        if program is None:
            continue
        assert not program.wide, f"{name}: values of 64 bits"
        unexpected = program.scatters - FLOATS - INTEGERS
        assert not unexpected, f"{name}: scatters from {unexpected}"
        forward, backward = program.fused_attention()
        assert not forward or platform == "gpu", "cuDNN's attention outside NVIDIA's GPUs"
        if name == "train":
            assert backward == forward, "attention is fused both ways or not at all"
            assert steps.evaluate.fused_attention() == (forward, 0)


def _changed(shapes, jaxpr):
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(shapes)
    ]
    kinds = (
        [(x.shape, x.dtype, x.weak_type) for x in avals[: len(names)]]
        for avals in (jaxpr.in_avals, jaxpr.out_avals)
    )
    pairs = zip(names, *kinds, strict=True)
    return tuple(name for name, before, after in pairs if before != after)


@contextlib.contextmanager
def _hopper():
    answers = {
        (cudnn, "has_flash_attention"): lambda: True,
        (fused_attention_stablehlo, "check_cudnn_version"): lambda: 91200,
        (fused_attention_stablehlo, "check_compute_capability"): lambda _: True,
        (fused_attention_stablehlo, "is_cuda_compute_capability_equal"): "9.0".__eq__,
    }
    with pytest.MonkeyPatch.context() as patch:
        for (place, name), answer in answers.items():
            patch.setattr(place, name, answer)
        yield
