"""JPEG compression: what it loses, without the coding of bits."""

import jax
import jax.numpy as jnp
import numpy as np

# ITU-T T.81, annex K.1.
_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
# RGB to Y, Cb, Cr of JFIF, and back, in units of 2^-16 as in libjpeg.
_TO_YCC = np.array(
    [[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], np.int32
)
_TO_RGB = np.array([[0, 91881], [-22554, -46802], [116130, 0]], np.int32)
_HALF = 1 << 15
_EXACT = jax.lax.Precision.HIGHEST


def jpeg_compression(image: jax.Array, key: jax.Array, *, level: int) -> jax.Array:
    """Compresses (H, W, 3) with quality `level` and half the resolution of color.

    As libjpeg does: tables scaled by the quality, values rounded to bytes in between,
    smooth enlargement of the colors. Its cosine transform is in integers, this one is not,
    so that a coefficient near a half may be rounded otherwise. Nothing is random.
    """
    del key
    height, width = image.shape[:2]
    image = jnp.pad(image, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    ycc = jnp.round(image).astype(jnp.int32) @ _TO_YCC.T
    ycc = (ycc + np.array([_HALF, 257 * _HALF - 1, 257 * _HALF - 1])) >> 16
    ycc = ycc.astype(jnp.float32)
    luma = _through_blocks(ycc[..., 0], _table(_LUMA, quality=level))
    chroma = []
    for channel in (ycc[..., 1], ycc[..., 2]):
        quarters = channel.reshape(channel.shape[0] // 2, 2, -1, 2).sum((1, 3))
        # libjpeg rounds halves down and up in turns.
        bias = 1.0 + jnp.arange(quarters.shape[1]) % 2
        small = jnp.floor((quarters + bias) / 4)
        small = _through_blocks(small, _table(_CHROMA, quality=level))
        small = small[: -(-height // 2), : -(-width // 2)]
        chroma.append(_doubled(small)[:height, :width] - 128.0)
    chroma = jnp.stack(chroma, -1).astype(jnp.int32)
    rgb = luma[:height, :width, None] + ((chroma @ _TO_RGB.T + _HALF) >> 16)
    return jnp.clip(rgb, 0.0, 255.0)


def _table(words: str, *, quality: int) -> np.ndarray:
    """Returns the quantization (8, 8) for a quality of 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = np.array(words.split(), int).reshape(8, 8)
    return np.clip((table * scale + 50) // 100, 1, 255).astype(np.float32)


def _through_blocks(channel: jax.Array, table: np.ndarray) -> jax.Array:
    """Quantizes the cosine transform of each block of 8 x 8 and returns bytes again."""
    place = np.arange(8)
    cosine = np.cos((2 * place + 1) * place[:, None] * np.pi / 16) / 2
    cosine[0] /= np.sqrt(2)
    cosine = cosine.astype(np.float32)
    height, width = channel.shape
    blocks = channel.reshape(height // 8, 8, width // 8, 8) - 128.0
    forward = jnp.einsum("ui,aibj,vj->aubv", cosine, blocks, cosine, precision=_EXACT)
    table = table[None, :, None, :]
    steps = forward / table
    # Halves away from zero; they are frequent, and a product is not exactly a half.
    quantized = jnp.sign(steps) * jnp.floor(jnp.abs(steps) + 0.5001) * table
    back = jnp.einsum("ui,aubv,vj->aibj", cosine, quantized, cosine, precision=_EXACT)
    return jnp.clip(jnp.round(back + 128.0), 0.0, 255.0).reshape(height, width)


def _doubled(channel: jax.Array) -> jax.Array:
    """Doubles (h, w): weights of 3/4 and 1/4 of the two nearest, the edge repeated."""
    padded = jnp.pad(channel, 1, mode="edge")
    middle = 3.0 * padded[1:-1]
    rows = jnp.stack([middle + padded[:-2], middle + padded[2:]], 1)
    rows = rows.reshape(-1, padded.shape[1])
    middle = 3.0 * rows[:, 1:-1]
    # libjpeg rounds with 8/16 at even columns and 7/16 at odd ones.
    even = jnp.floor((middle + rows[:, :-2] + 8.0) / 16)
    odd = jnp.floor((middle + rows[:, 2:] + 7.0) / 16)
    return jnp.stack([even, odd], -1).reshape(rows.shape[0], -1)
