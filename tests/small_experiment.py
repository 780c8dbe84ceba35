"""An experiment of 40,000 parameters, for tests of everything around the model."""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults


def get_config() -> ConfigDict:
    """Returns a ResNet of one block before a ViT of two, on 16x16 digits."""
    config = defaults("tiny")
    with config.unlocked():
        config.model.fusion_options = ConfigDict(dict(sequential=dict(stride=4)))
    config.model.resnet_options.update(blocks=(1,), width=32)
    config.model.vit_options.update(width=32, depth=2, num_heads=2, mlp_dim=64)
    config.data.image_size = 16
    config.data.threads = 1
    config.train.batch_size = 8
    config.eval.batch_size = 64  # few batches an evaluation
    config.log.update(every=1, tensorboard=False, report_page=False)
    return config
