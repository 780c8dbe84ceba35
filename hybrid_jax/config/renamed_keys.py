"""Config keys of earlier versions and what they are called now."""

RENAMED_KEYS = {
    "model.normalisation": "model.normalization",
    "data.colour_jitter": "data.color_jitter",
    "task.detection.centre_radius": "task.detection.center_radius",
}
"""Old key to new key, both in the same branch; read from `config.json` of older runs."""
