"""Config keys of earlier versions and what they are called now."""

RENAMED_KEYS = {
    "model.normalisation": "model.normalization",
    "data.colour_jitter": "data.color_jitter",
    "task.detection.centre_radius": "task.detection.center_radius",
    "model.vit_options.heads": "model.vit_options.num_heads",
    "model.vit_options.registers": "model.vit_options.num_register_tokens",
    "model.fusion_options.botnet.heads": "model.fusion_options.botnet.num_heads",
    "model.fusion_options.fpn_tokens.levels": "model.fusion_options.fpn_tokens.strides",
    "model.fusion_options.fpn_tokens.points": "model.fusion_options.fpn_tokens.num_points",
    "model.fusion_options.fpn_tokens.window": "model.fusion_options.fpn_tokens.window_size",
    "model.fusion_options.mobile_former.heads": (
        "model.fusion_options.mobile_former.num_heads"
    ),
    "model.fusion_options.mobile_former.tokens": (
        "model.fusion_options.mobile_former.num_tokens"
    ),
    "model.fusion_options.vit_adapter.interactions": (
        "model.fusion_options.vit_adapter.num_interactions"
    ),
    "model.fusion_options.vit_adapter.points": (
        "model.fusion_options.vit_adapter.num_points"
    ),
    "model.fusion_options.vit_comer.interactions": (
        "model.fusion_options.vit_comer.num_interactions"
    ),
    "model.fusion_options.vit_comer.points": "model.fusion_options.vit_comer.num_points",
    "model.head_options.detr.denoising": "model.head_options.detr.num_denoising",
    "model.head_options.detr.dim": "model.head_options.detr.hidden_dim",
    "model.head_options.detr.heads": "model.head_options.detr.num_heads",
    "model.head_options.detr.queries": "model.head_options.detr.num_queries",
    "model.head_options.detr.shares_of": "model.head_options.detr.normalized_by",
    "model.head_options.dpt.by_corners": "model.head_options.dpt.align_corners",
    "model.head_options.dpt.hidden": "model.head_options.dpt.hidden_dim",
    "model.head_options.dpt.normed": "model.head_options.dpt.residual_norm",
    "model.head_options.dpt.reassembled": "model.head_options.dpt.reassemble_channels",
    "model.head_options.fcos.convs": "model.head_options.fcos.num_convs",
    "model.head_options.fpn.hidden": "model.head_options.fpn.hidden_dim",
    "model.head_options.segmenter.heads": "model.head_options.segmenter.num_heads",
    "model.head_options.segmenter.hidden": "model.head_options.segmenter.hidden_dim",
    "model.head_options.transunet.steps": "model.head_options.transunet.decoder_channels",
}
"""Old key to new key, both in the same branch; read from `config.json` of older runs."""
