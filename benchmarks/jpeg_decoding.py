"""Measures rows of batches a second and core: JPEGs whole and scaled, by either decoder.

    python benchmarks/jpeg_decoding.py --rounds 7

The ways are tried in turns and compared by CPU time of one thread, so that whoever else
uses the machine matters little. The photos are the two that come with scikit-learn, brought
to size and grained; rows are of 224 px. Without simplejpeg its ways are left out.
"""

import argparse
import io
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import PIL
from PIL import Image
from sklearn.datasets import load_sample_images

from hybrid_jax import config
from hybrid_jax.data.example_loader import ExampleLoader
from hybrid_jax.data.formats.decoding import fast_jpeg
from hybrid_jax.data.formats.decoding.decode import read_image

_SIZES = {(500, 400): 10, (4000, 3000): 1}  # width, height -> repetitions of a round
_GRAIN = 3.0  # gray levels
_WAYS = [("Pillow", False), ("Pillow", True), ("simplejpeg", False), ("simplejpeg", True)]


def main() -> None:
    """Prints a line for each size, recipe and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    ways = [way for way in _WAYS if way[0] == "Pillow" or fast_jpeg._simplejpeg()]
    print(f"Pillow {PIL.__version__}")
    for size, repetitions in _SIZES.items():
        source = _Photos(size)
        for recipe in ("decoding", "evaluation", "training"):
            actions = [_action(source, recipe, scaled=scaled) for _, scaled in ways]
            seconds = np.zeros((rounds, len(ways)))
            for row in seconds:
                for number, (decoder, _) in enumerate(ways):
                    row[number] = _seconds(actions[number], decoder, repetitions)
            for number, (decoder, scaled) in enumerate(ways):
                rate = 1 / np.median(seconds[:, number])
                gains = seconds[:, 0] / seconds[:, number]
                print(
                    f"{size[0]}x{size[1]} {recipe:10} {decoder:10} "
                    f"{'scaled' if scaled else 'whole':6} {rate:7.1f} images/s, "
                    f"{np.median(gains):.2f} times ({gains.min():.2f}-{gains.max():.2f})"
                )


class _Photos:
    """Two photos of a size in memory, decoded anew each time."""

    def __init__(self, size: tuple[int, int]):
        rng = np.random.default_rng(0)
        self._contents = []
        for photo in load_sample_images().images:
            resized = Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC)
            grain = rng.normal(0, _GRAIN, (size[1], size[0], 1))
            pixels = np.clip(np.asarray(resized) + grain, 0, 255).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=90)
            self._contents.append(file.getvalue())

    def __len__(self) -> int:
        return len(self._contents)

    def __getitem__(self, index: int) -> dict:
        return {"image": read_image(self._contents[index]), "label": 0}


def _action(source: _Photos, recipe: str, *, scaled: bool) -> Callable[[int], object]:
    data = config.defaults().data
    data.update(image_size=(224, 224), eval_crop=0.875, crop="random_resized")
    data.scaled_decoding = scaled
    loader = ExampleLoader(source, data=data, targets=("label",))
    rng = np.random.default_rng(0)
    if recipe == "decoding":
        return source.__getitem__
    if recipe == "training":
        return lambda index: loader.train(index, rng)
    return loader.evaluate


def _seconds(action: Callable[[int], object], decoder: str, repetitions: int) -> float:
    """Returns CPU seconds for an image."""
    found = fast_jpeg._simplejpeg() if decoder == "simplejpeg" else None
    with mock.patch.object(fast_jpeg, "_simplejpeg", return_value=found):
        start = time.process_time()
        for _ in range(repetitions):
            for index in range(2):
                action(index)
        return (time.process_time() - start) / (2 * repetitions)


if __name__ == "__main__":
    main()
