"""What `--mode=predict` leaves in its output directory."""

import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from hybrid_jax.contracts import Task
from hybrid_jax.data.formats.decoding.decode import read_image
from hybrid_jax.data.input_images import InputImages
from hybrid_jax.errors import UserError
from hybrid_jax.predicting.drawn_files import MADE_FILES, earlier_files, file_names
from hybrid_jax.predicting.tables import write_table
from hybrid_jax.tasks.drawing import SHOWN_SCORE, palette
from hybrid_jax.tasks.json_predictions import own_pixels
from hybrid_jax.train.parallel.distributed import is_main_process

_SPOKEN = 20  # more images are not told one by one on the terminal
# What `Task.to_json` lists, and the number of each entry.
_NUMBER_OF = dict(labels="probability", boxes="score", classes="share")


class WrittenPredictions:
    """What is left in the output directory, by the main process alone.

    Args:
        images: what is predicted for.
        folder: the output directory.
        task: that draws and names the predictions.
        format: "json", or "csv" or "jsonl" for that file too.
        progress: whether to show a bar where there is a terminal.

    Raises:
        UserError: a drawing would overwrite an input image.
    """

    def __init__(
        self,
        images: InputImages,
        folder: pathlib.Path,
        task: Task,
        *,
        format: str,
        progress: bool,
    ):
        self._images, self._folder, self._task = images, folder, task
        self._format = format
        self._answers: dict[int, dict[str, Any]] = {}
        self._unread: list[int] = []
        self._drawn, self._classes = file_names(images.names)
        originals = {path.resolve() for path in images.paths}
        targets = {(folder / name).resolve() for name in (*self._drawn, *self._classes)}
        if originals & targets:
            raise UserError(
                f"--output: {min(originals & targets)} is one of the input images and "
                f"would be overwritten. Choose another directory."
            )
        shown = progress and is_main_process() and sys.stderr.isatty()
        self._bar = tqdm(
            total=len(images), desc="predicting", leave=False, disable=not shown
        )

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Writes the images of one batch."""
        for row, index in enumerate(rows["index"].tolist()):
            if index >= len(self._images):
                continue
            if not rows["mask"][row]:
                self._unread.append(index)
            elif is_main_process():
                prediction = {name: value[row] for name, value in rows.items()}
                self._answers[index] = self._one(index, prediction)
            self._bar.update(1)

    def close(self, *, step: int, task: str) -> list[dict[str, Any]]:
        """Writes `predictions.json`, says where everything is and returns the answers.

        Raises:
            UserError: some images could not be read.
        """
        self._bar.close()
        every = [
            dict(image=str(path)) | self._answers.get(index, {})
            for index, path in enumerate(self._images.paths)
        ]
        for index in self._unread:
            every[index]["error"] = self._images.unreadable.get(index, "cannot be read")
        if is_main_process():
            told = json.dumps(dict(step=step, task=task, images=every), indent=1)
            self._folder.mkdir(parents=True, exist_ok=True)
            of_others = self._clear_earlier()
            (self._folder / "predictions.json").write_text(told + "\n")
            if self._format != "json":
                path = self._folder / f"predictions.{self._format}"
                write_table(every, path, task=task)
            if len(every) <= _SPOKEN:
                for index, answer in sorted(self._answers.items()):
                    print(f"{self._images.paths[index]}: {_in_words(answer)}")
            count = len(self._answers)
            noun = "image" if count == 1 else "images"
            print(f"step {step}: {count} {noun}, predictions in {self._folder}", flush=True)
            if of_others:
                print(f"note: files of other images are there from before: {of_others}")
            if task == "detection":
                print(f"boxes scoring under {SHOWN_SCORE} are listed and not drawn")
        if self._unread:
            named = self._unread[:_SPOKEN]
            lines = [f"    {every[i]['image']}: {every[i]['error']}" for i in named]
            raise UserError(
                f"{len(self._unread)} of {len(every)} images could not be read; all others "
                "are done (predictions.json lists both):\n" + "\n".join(lines)
            )
        return every

    def _clear_earlier(self) -> int:
        """Removes an earlier call's files of these images that this one has not replaced.

        Returns:
            How many files of other images are left from that call.
        """
        names = [
            a[kind] for a in self._answers.values() for kind in MADE_FILES if kind in a
        ]
        made = {str((self._folder / name).resolve()).lower() for name in names}
        originals = {path.resolve() for path in self._images.paths}
        of_others = 0
        for image, path in earlier_files(self._folder):
            if str(path).lower() in made or path in originals:
                continue
            if image in originals:
                path.unlink()
            else:
                of_others += 1
        return of_others

    def _one(self, index: int, prediction: dict[str, np.ndarray]) -> dict[str, Any]:
        """Writes the files of one image; returns what the numbers say of it."""
        image = read_image(self._images.paths[index])
        drawn = Image.fromarray(self._task.draw(image, prediction))
        answer = dict(drawn=self._saved(drawn, self._drawn[index]))
        if "segmentation" in prediction:
            classes = Image.fromarray(own_pixels(prediction))
            classes.putpalette(palette(255).tobytes() + bytes(3))
            answer["segmentation"] = self._saved(classes, self._classes[index])
        return answer | self._task.to_json(prediction)

    def _saved(self, picture: Image.Image, name: str) -> str:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        return name


def _in_words(answer: Mapping[str, Any]) -> str:
    """Returns the first five of what was found, with their numbers in per cent."""
    kind = next(kind for kind in _NUMBER_OF if kind in answer)
    rows = answer[kind]
    words = [f"{row['name']} {100 * row[_NUMBER_OF[kind]]:.0f} %" for row in rows[:5]]
    more = [f"{len(rows) - 5} more"] if len(rows) > 5 else []
    return ", ".join(words + more) or "nothing"
