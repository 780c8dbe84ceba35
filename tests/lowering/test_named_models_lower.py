"""Every named model has steps for GPUs and TPUs, and its blocks are fused on a GPU."""

import pytest
from lowered_steps import TARGETS, check, lowered, named_experiment

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.hybrid import part_specs
from hybrid_jax.specs import MODELS


@pytest.mark.slow
@pytest.mark.parametrize("platform", TARGETS)
@pytest.mark.parametrize("size", [224, 384])
@pytest.mark.parametrize("name", MODELS)
def test_named_model_lowers(name, size, platform):
    experiment = named_experiment(name, size=size)
    steps = lowered(experiment, platform)
    check(steps, platform)
    if platform == "gpu":
        model = experiment.config.model
        has_blocks = "vit" in FUSIONS.get(model.fusion).parts
        blocks = part_specs(model)[1].depth if has_blocks else 0
        assert steps.train.fused_attention() == (blocks, blocks)
