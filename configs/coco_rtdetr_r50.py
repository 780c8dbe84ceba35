"""RT-DETR (Zhao et al., 2023) of R50 on COCO 2017: hybrid encoder, query selection.

Command:  python -m hybrid_jax.main --config=configs/coco_rtdetr_r50.py
Hardware: eight accelerators of 16 GiB or more
Time:     not yet measured
Result:   not yet measured

COCO as TFDS has prepared it, or `:coco=(IMAGES,JSON)`, both with `{split}` in them.
640 px, 72 epochs, batch 64, denoising queries. Its authors report 53.1 AP with a ResNet
pretrained on ImageNet; from scratch sets of boxes need many times the schedule of a dense
head.
"""

from ml_collections import ConfigDict

from hybrid_jax.config import defaults
from hybrid_jax.config.recipes import select


def get_config(argument: str = "") -> ConfigDict:
    """Returns the experiment; `argument` as in `recipes.select`."""
    config = defaults("resnet50")
    config.model.update(fusion="rtdetr_encoder", head="detr", normalization="imagenet")
    config.model.resnet_options.update(root="deep", shortcut="pooled")
    # Of its one layer.
    config.model.vit_options.update(width=256, num_heads=8, mlp_dim=1024)
    config.task.name = "detection"
    # Sets of boxes are scored whole: what is improbable stands last and costs nothing.
    config.task.detection.update(max_detections=300, score_threshold=0.0)
    config.model.head_options.unlock().update(
        detr=dict(
            strides=(8, 16, 32),
            num_queries=300,
            attention="deformable",
            query_selection=True,
            num_denoising=200,
        )
    )
    config.optimizer.update(learning_rate=1e-4, weight_decay=1e-4, clip_norm=0.1)
    config.optimizer.branch.resnet = 0.1
    recipe = {
        "data.image_size": 640,
        "data.scale_jitter": (0.5, 2.0),
        "data.on_bad_annotation": "skip",  # two boxes of train2017 have no area
        "train.epochs": 72.0,
        "train.batch_size": 64,
        "train.ema_decay": 0.9999,
        "eval.every": 5000,
    }
    recipes = {"coco": recipe, "coco/2017": recipe}
    return select(config, argument, default="tfds=coco/2017", **recipes)
