"""A trained run whose model is explained, and its images as the model gets them."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from hybrid_jax.contracts import Example
from hybrid_jax.data.transforms.recipe import evaluation_recipe
from hybrid_jax.data.transforms.sample import Sample, sample_of
from hybrid_jax.errors import UserError
from hybrid_jax.explaining.explain import explain
from hybrid_jax.explaining.explanation import Explanation
from hybrid_jax.models.hybrid import Hybrid
from hybrid_jax.ops.normalize_image import normalize_image
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.state import TrainState, merge_model

_BACKGROUND = "background"  # a class of masks that nobody asks about


@dataclasses.dataclass(frozen=True)
class ExplainedRun:
    """A restored run on one device.

    Attributes:
        model: as it was trained, on this process's first device.
        step: of the checkpoint.
        task: name of the task.
        targets: of the task.
        names: of the classes.
        data: the resolved `config.data` of evaluation.
        normalization: policy of the images.
    """

    model: Hybrid
    step: int
    task: str
    targets: tuple[str, ...]
    names: tuple[str, ...]
    data: ConfigDict
    normalization: str

    @classmethod
    def of(cls, experiment: Experiment, state: TrainState) -> "ExplainedRun":
        """Returns what `restored_run` gives, ready to be explained.

        Raises:
            UserError: several processes.
        """
        if jax.process_count() > 1:
            raise UserError(
                "--mode=explain: expected one process, got "
                f"{jax.process_count()}. Start it without launch/."
            )
        arrays = (state.eval_params, state.mutable)
        arrays = jax.device_put(arrays, jax.local_devices()[0])
        info, task = experiment.source.info, experiment.config.task.name
        names = dict(detection=info.box_names, segmentation=info.segmentation_names)
        return cls(
            model=merge_model(experiment.graph, *arrays),
            step=int(state.step),
            task=task,
            targets=tuple(experiment.task.targets),
            names=names.get(task, info.class_names),
            data=experiment.eval_data,
            normalization=experiment.config.model.normalization,
        )

    def sample(self, example: Example, *, with_boxes: bool = False) -> Sample:
        """Returns an example as evaluation sees it.

        Args:
            example: of a source.
            with_boxes: whether its boxes move along, although the task needs none.
        """
        targets = (*self.targets, *(("boxes",) if with_boxes else ()))
        sample = sample_of(example, targets)
        for transform in evaluation_recipe(self.data, targets=self.targets):
            sample = transform(sample, None)
        return sample.with_boxes_cut()

    def explain(
        self, samples: Sequence[Sample], *, classes: np.ndarray | None = None
    ) -> Explanation:
        """Returns the explanation of a batch of samples.

        Args:
            classes: (B,); None for the predicted ones.
        """
        images = np.stack([sample.image for sample in samples])
        content = None
        if self.targets != ("label",):
            content = np.array([sample.content_yxyx_px for sample in samples], np.int32)
        return explain(
            self.model,
            normalize_image(jax.numpy.asarray(images), policy=self.normalization),
            classes=classes,
            content_yxyx_px=content,
            leave_out=[k for k, name in enumerate(self.names) if name == _BACKGROUND],
        )
