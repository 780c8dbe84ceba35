import functools
import pickle
from concurrent.futures import ThreadPoolExecutor

from hybrid_jax.data.load_once import LoadOnce


def test_value_is_loaded_once_by_many_threads():
    calls = []
    lazy = LoadOnce(lambda: calls.append(0) or len(calls))
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: lazy.get(), range(64)))
    assert values == [1] * 64


def test_nothing_is_loaded_before_use():
    calls = []
    LoadOnce(lambda: calls.append(0))
    assert not calls


def test_pickle_leaves_the_value_behind():
    lazy = LoadOnce(functools.partial(bytes, 100_000))
    assert len(lazy.get()) == 100_000
    pickled = pickle.dumps(lazy)
    assert len(pickled) < 1000
    assert pickle.loads(pickled).get() == bytes(100_000)
