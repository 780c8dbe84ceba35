import itertools
import multiprocessing
import threading

import numpy as np
import pytest
from data_examples import NumberedSource, data_config, truncate, write_class_folders
from dense_examples import ListedSource, example

from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.pipeline import eval_batches, train_batches
from hybrid_jax.data.sources import open_source
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError


def _train(source, *, count: int, data=None, batch_size=8, **options):
    """Returns `count` training batches as a list."""
    options = dict(seed=0, start_step=0) | options
    if data is None:
        data = data_config(crop="random_resized", randaugment_layers=1)
    stream = train_batches(source, data=data, batch_size=batch_size, **options)
    batches = list(itertools.islice(stream, count))
    stream.close()
    return batches


def _evaluate(source, *, data=None, batch_size=8, **options):
    """Returns all evaluation batches as a list."""
    data = data_config() if data is None else data
    stream = eval_batches(source, data=data, batch_size=batch_size, **options)
    batches = list(stream)
    stream.close()
    return batches


def _assert_same(a, b):
    assert len(a) == len(b)
    for first, second in zip(a, b, strict=True):
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def _labels(batches) -> list[int]:
    return np.concatenate([batch["label"] for batch in batches]).tolist()


def _rejoined(per_process):
    """Puts the rows of the processes together again."""
    return [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*per_process, strict=True)
    ]


def test_train_batch_has_the_types_of_the_contract():
    (batch,) = _train(NumberedSource(20), count=1)
    types = {key: (array.shape, array.dtype.name) for key, array in batch.items()}
    assert types == {
        "image": ((8, 12, 16, 3), "uint8"),
        "label": ((8,), "int32"),
        "mask": ((8,), "bool"),
        "skipped": ((8,), "int32"),
    }
    assert batch["mask"].all()
    assert not batch["skipped"].any()


@pytest.mark.parametrize("batch_size", [8, 64])  # one piece of rows, and two
def test_batches_do_not_depend_on_the_number_of_processes(batch_size):
    source = NumberedSource(50)
    one = _train(source, count=3, batch_size=batch_size)
    for process_count in (2, 4):
        parts = [
            _train(
                source,
                count=3,
                batch_size=batch_size,
                process_index=index,
                process_count=process_count,
            )
            for index in range(process_count)
        ]
        assert len(parts[0][0]["label"]) == batch_size // process_count
        _assert_same(_rejoined(parts), one)


def test_start_step_continues_where_another_run_stopped():
    source = NumberedSource(20)
    _assert_same(_train(source, count=4, start_step=3), _train(source, count=7)[3:])


def test_batches_do_not_depend_on_the_number_of_threads():
    source = NumberedSource(50)
    changes = dict(crop="random_resized", color_jitter=0.3)
    one, four = (
        _train(source, count=5, data=data_config(threads=threads, **changes))
        for threads in (1, 4)
    )
    _assert_same(one, four)


@pytest.fixture(scope="module")
def in_workers():
    """Batches of two workers, and the processes while they are read and once closed."""
    data = data_config(crop="random_resized", workers=2)
    options = dict(data=data, batch_size=64, seed=0, start_step=0)
    stream = train_batches(NumberedSource(50), **options)
    batches = list(itertools.islice(stream, 5))
    during = multiprocessing.active_children()
    stream.close()
    return batches, during, multiprocessing.active_children()


def test_batches_do_not_depend_on_the_number_of_workers(in_workers):
    data = data_config(crop="random_resized", workers=0)
    none = _train(NumberedSource(50), count=5, batch_size=64, data=data)
    _assert_same(none, in_workers[0])


def test_close_ends_the_worker_processes(in_workers):
    _, during, after = in_workers
    assert len(during) == 2
    assert not after


def test_other_seed_gives_another_order_and_other_crops():
    source = NumberedSource(50)
    a, b = (_train(source, count=2, seed=seed) for seed in (0, 1))
    assert _labels(a) != _labels(b)


def test_every_epoch_is_whole_and_shuffled_anew():
    labels = _labels(_train(NumberedSource(24), count=6))
    first, second = labels[:24], labels[24:]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    assert first != list(range(24))


def test_same_image_is_augmented_anew_every_epoch():
    source = open_source("digits", split="validation")
    data = data_config(crop="random_resized", image_size=(8, 8))
    batches = _train(source, count=2, batch_size=177, data=data)
    sums = [sorted(image.sum(dtype=int) for image in batch["image"]) for batch in batches]
    assert sums[0] != sums[1]


def test_batch_may_be_larger_than_the_data_set():
    labels = _labels(_train(NumberedSource(3), count=2, batch_size=8))
    assert sorted(labels[:15]) == sorted([0, 1, 2] * 5)


def test_batch_must_be_shared_equally():
    for stream in (train_batches, eval_batches):
        options = dict(seed=0, start_step=0) if stream is train_batches else {}
        with pytest.raises(UserError, match="batch size 8 .* by 3 .* multiple of 3"):
            stream(
                NumberedSource(5),
                data=data_config(),
                batch_size=8,
                process_count=3,
                **options,
            )


def test_empty_split_is_refused():
    with pytest.raises(UserError, match="no examples"):
        _train(NumberedSource(0), count=1)
    with pytest.raises(UserError, match="no examples"):
        _evaluate(NumberedSource(0))


@pytest.mark.parametrize("length", [1, 8, 9, 31])
@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_evaluation_sees_each_example_once_in_order(length, process_count):
    source = NumberedSource(length)
    parts = [
        _evaluate(source, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    assert {len(batches) for batches in parts} == {-(-length // 8)}
    batches = _rejoined(parts)
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.tolist() == [True] * length + [False] * (-length % 8)
    assert np.array(_labels(batches))[mask].tolist() == list(range(length))
    images = np.concatenate([batch["image"] for batch in batches])
    assert not images[~mask].any()
    assert images[mask][:, 0, 0, 0].tolist() == list(range(length))


def test_evaluation_in_workers_is_the_same():
    source = NumberedSource(70)
    none, two = (
        _evaluate(source, batch_size=64, data=data_config(workers=workers))
        for workers in (0, 2)
    )
    _assert_same(none, two)


@pytest.fixture
def folder_with_torn_image(tmp_path):
    write_class_folders(tmp_path, {"train/cat": 12, "val/cat": 1})
    truncate(tmp_path / "train/cat/005.png")
    return open_source(f"folder:{tmp_path}", split="train")


def test_torn_image_stops_training_and_is_named(folder_with_torn_image):
    data = data_config(on_bad_image="raise")
    with pytest.raises(UserError, match="train/cat/005.png' cannot be read"):
        _train(folder_with_torn_image, count=2, batch_size=12, data=data)


def test_torn_image_is_replaced_and_counted(folder_with_torn_image):
    data = data_config(on_bad_image="skip")
    (batch,) = _train(folder_with_torn_image, count=1, batch_size=12, data=data)
    assert batch["skipped"].sum() == 1
    row = int(np.argmax(batch["skipped"]))
    blue = batch["image"][:, 0, 0, 2]
    # Image i is 255 - i blue; 6 stands in for 5, so it is there twice.
    assert blue[row] == 255 - 6
    assert sorted(255 - blue) == [0, 1, 2, 3, 4, 6, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("workers", [0, 1])
def test_torn_image_stops_evaluation_and_is_named(folder_with_torn_image, workers):
    data = data_config(on_bad_image="raise", workers=workers)
    with pytest.raises(UserError, match="train/cat/005.png' cannot be read"):
        _evaluate(folder_with_torn_image, data=data)


def test_torn_image_is_masked_in_evaluation(folder_with_torn_image):
    batches = _evaluate(folder_with_torn_image, data=data_config(on_bad_image="skip"))
    mask, skipped = (
        np.concatenate([b[key] for b in batches]).tolist() for key in ("mask", "skipped")
    )
    assert mask == [i != 5 for i in range(12)] + [False] * 4
    assert skipped == [int(i == 5) for i in range(16)]


def test_data_set_of_torn_images_ends_with_an_error():
    source = NumberedSource(4, bad=(0, 1, 2, 3))
    with pytest.raises(UserError, match="none of the 4 examples can be read"):
        _train(source, count=1, data=data_config(on_bad_image="skip"))


class _Broken(ListedSource):
    """The last of four examples raises."""

    def __init__(self, error):
        super().__init__([example() for _ in range(4)])
        self.error = error

    def __getitem__(self, index):
        if index == 3:
            raise self.error
        return super().__getitem__(index)


_FLAGS = {"on_bad_image": BadImageError, "on_bad_annotation": BadAnnotationError}


@pytest.mark.parametrize("flag", _FLAGS)
def test_each_flag_skips_and_counts_errors_of_its_own_kind_alone(flag):
    options = dict(data=data_config(**{flag: "skip"}), targets=("boxes",), batch_size=4)
    for other, error in _FLAGS.items():
        source = CheckedSource(_Broken(error("broken")), skip=flag == "on_bad_annotation")
        if other != flag:
            with pytest.raises(error, match="broken"):
                _train(source, count=1, **options)
            with pytest.raises(error, match="broken"):
                _evaluate(source, **options)
            continue
        (batch,) = _train(source, count=1, **options)
        assert batch["mask"].all()
        assert sorted(batch["skipped"]) == [0, 0, 0, 1]
        (batch,) = _evaluate(source, **options)
        assert batch["mask"].tolist() == [True, True, True, False]
        assert batch["skipped"].tolist() == [0, 0, 0, 1]


def test_close_ends_the_threads():
    before = set(threading.enumerate())
    stream = train_batches(
        NumberedSource(20),
        data=data_config(threads=3),
        batch_size=8,
        seed=0,
        start_step=0,
    )
    next(iter(stream))
    started = set(threading.enumerate()) - before
    assert started
    stream.close()
    for thread in started:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in started)
