"""`--mode=predict`: what a trained model says about any images."""

import collections
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from hybrid_jax.config import changed
from hybrid_jax.contracts import Task
from hybrid_jax.data.formats.decode import read_image
from hybrid_jax.data.input_images import InputImages
from hybrid_jax.data.pipeline import eval_batches
from hybrid_jax.data.reading import reading_as
from hybrid_jax.errors import UserError
from hybrid_jax.tasks.drawing import SHOWN_SCORE, palette
from hybrid_jax.tasks.json_predictions import own_pixels
from hybrid_jax.train.checkpoints.recorded_source import recorded_source
from hybrid_jax.train.checkpoints.restore import restored_run
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.inference_run import inference_run
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.parallel.sharding import replicated
from hybrid_jax.train.prefetch import DevicePrefetch
from hybrid_jax.train.state import TrainState
from hybrid_jax.train.step import make_eval_step

# Batches the devices may be behind; each keeps its predictions, which can be large.
_IN_FLIGHT = 2
_SPOKEN = 20  # more images are not told one by one on the terminal
_FILES = frozenset(("drawn", "segmentation"))  # keys of an answer that name its files
# What `Task.to_json` lists, and the number of each entry.
_NUMBER_OF = dict(labels="probability", boxes="score", classes="share")


def predict(
    config: ConfigDict,
    workdir: str,
    *,
    inputs: Sequence[str],
    output: str | None = None,
) -> list[dict[str, Any]]:
    """Restores a checkpoint and writes what it predicts for images.

    In the output directory there will be one PNG for each image with the prediction drawn
    over it; for segmentation another one, `<image>_classes.png`, whose pixels are class
    ids (and whose palette has the same colors); and `predictions.json`, all in numbers.
    Boxes scoring under `drawing.SHOWN_SCORE` are in the numbers and not drawn.

    What an earlier call has drawn there of the same images is replaced, under whatever
    names its `predictions.json` lists; all other files are left as they are.

    Classes have the names of the workdir's `dataset.json`. The data the model was trained
    on need not be on this machine; where it is, its classes must be the same still.

    Args:
        config: of the training run; `eval.restore` chooses "best" or "last".
        workdir: of the training run.
        inputs: files, folders and patterns, see `InputImages`.
        output: directory; `<workdir>/predictions` if None.

    Returns:
        What `predictions.json` has for each image, in the order of the inputs.

    Raises:
        UserError: no checkpoint, another model's, other classes, or no images; after all
            others are done, if some images cannot be read.
    """
    with reading_as(config.data):
        return _predicted(config, workdir, inputs=inputs, output=output)


def _predicted(
    config: ConfigDict, workdir: str, *, inputs: Sequence[str], output: str | None
) -> list[dict[str, Any]]:
    path = epath.Path(workdir).expanduser().absolute()
    folder = pathlib.Path(output or pathlib.Path(path) / "predictions").expanduser()
    images = InputImages(inputs, leave_out=folder)
    wanted = {
        "data.on_bad_image": "skip",
        "data.workers": 0,  # threads, so that `images` can say what was wrong
        "task.segmentation.canvas": None,  # as large as the images
    }
    config = changed(config, wanted)
    source = recorded_source(config, path, largest_hw=images.info.largest_hw)
    experiment, state = inference_run(*restored_run(config, path, source=source))
    progress = experiment.config.log.progress
    written = _Written(images, folder, experiment.task, progress=progress)
    for rows in _predictions(experiment, state, images):
        written.add(rows)
    return written.close(step=int(state.step), task=experiment.config.task.name)


def _predictions(
    experiment: Experiment, state: TrainState, images: InputImages
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the predictions of one batch after another, on the host."""
    mesh, data = experiment.mesh, experiment.eval_data
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    fitting = -(-len(images) // shares) * shares  # few images make a small batch
    batches = DevicePrefetch(
        eval_batches(
            images,
            data=data,
            targets=experiment.task.targets,
            batch_size=min(experiment.config.eval.batch_size, fitting),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
        sharding=experiment.batch_sharding,
        size=data.prefetch,
    )
    step = _jitted_step(experiment)
    waiting: collections.deque = collections.deque()
    try:
        for batch, _ in batches:
            waiting.append(step(state.params, state.mutable, batch))
            if len(waiting) > _IN_FLIGHT:
                yield jax.device_get(waiting.popleft())
        while waiting:
            yield jax.device_get(waiting.popleft())
    finally:
        batches.close()


def _jitted_step(experiment: Experiment) -> Callable:
    """Returns the evaluation step without its sums, which the compiler then leaves out."""
    policy = experiment.config.model.normalization
    step = experiment.traced(
        make_eval_step(experiment.graph, experiment.task, normalization=policy)
    )
    shardings = experiment.shardings
    return jax.jit(
        lambda *arguments: step(*arguments)[1],
        in_shardings=(shardings.params, shardings.mutable, experiment.batch_sharding),
        out_shardings=replicated(experiment.mesh),
        compiler_options=experiment.compiler_options,
    )


class _Written:
    """What is left in the output directory, by the main process alone."""

    def __init__(
        self, images: InputImages, folder: pathlib.Path, task: Task, *, progress: bool
    ):
        self._images, self._folder, self._task = images, folder, task
        self._answers: dict[int, dict[str, Any]] = {}
        self._unread: list[int] = []
        self._drawn, self._classes = _file_names(images.names)
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
        names = [a[kind] for a in self._answers.values() for kind in _FILES if kind in a]
        made = {str((self._folder / name).resolve()).lower() for name in names}
        originals = {path.resolve() for path in self._images.paths}
        of_others = 0
        for image, path in _earlier(self._folder):
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


def _file_names(images: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns two files for each image, the drawing and the classes; no name twice."""
    taken: set[str] = set()

    def new(name: str, ending: str) -> str:
        stem = str(pathlib.PurePath(name).with_suffix(""))
        number, found = 1, f"{stem}{ending}.png"
        while found.lower() in taken:  # some file systems do not tell A from a
            number += 1
            found = f"{stem}_{number}{ending}.png"
        taken.add(found.lower())
        return found

    return [new(name, "") for name in images], [new(name, "_classes") for name in images]


def _earlier(folder: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Returns (image, file made of it) as the `predictions.json` of a folder lists them.

    Only files below the folder that are still there; none if it is not our JSON.
    """
    root = folder.resolve()
    try:
        images = json.loads((root / "predictions.json").read_text())["images"]
        listed = [
            (row["image"], row[kind]) for row in images for kind in _FILES & row.keys()
        ]
        found = [(pathlib.Path(i).resolve(), (root / name).resolve()) for i, name in listed]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return [
        (image, path)
        for image, path in found
        if path.suffix == ".png" and root in path.parents and path.is_file()
    ]


def _in_words(answer: Mapping[str, Any]) -> str:
    """Returns the first five of what was found, with their numbers in per cent."""
    kind = next(kind for kind in _NUMBER_OF if kind in answer)
    rows = answer[kind]
    words = [f"{row['name']} {100 * row[_NUMBER_OF[kind]]:.0f} %" for row in rows[:5]]
    more = [f"{len(rows) - 5} more"] if len(rows) > 5 else []
    return ", ".join(words + more) or "nothing"
