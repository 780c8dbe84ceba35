"""Images with edges, colors, gray parts and fine detail, without a file."""

import numpy as np
from scipy.ndimage import gaussian_filter


def sample_images(count, hw):
    """Returns (count, H, W, 3) float32 of whole numbers from 0 to 255."""
    random = np.random.default_rng(0)
    coarse = gaussian_filter(random.uniform(size=(count, *hw, 3)), (0, 3, 3, 0.4))
    coarse = (coarse - coarse.min()) / (coarse.max() - coarse.min())
    image = 255 * coarse + random.normal(scale=8.0, size=coarse.shape)
    image[:, : hw[0] // 4] = image[:, : hw[0] // 4].mean(-1, keepdims=True)  # gray
    image[:, -3:, -5:] = 0.0
    image[:, -6:-3, -5:] = 255.0
    return np.float32(np.clip(np.round(image), 0, 255))
