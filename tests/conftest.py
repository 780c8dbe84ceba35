"""Eight pretend devices and a compilation cache, set before JAX is imported."""

import os
import pathlib
import tempfile

import pytest
from quick_compile import xla_flags

_flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} {xla_flags(devices=8)}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A command that starts itself again would import JAX again, see `fork_server.py`.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")

# A second run of the suite compiles nothing: HJ_CACHE moves the cache, "" turns it off.
_user_cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
_cache = os.environ.get("HJ_CACHE", str(_user_cache / "hybrid_jax" / "compilation"))
if _cache:
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _cache)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# What is known of data sets that tests write is of no use to anybody else.
os.environ["HJ_MASK_IDS"] = tempfile.mkdtemp(prefix="mask-ids-")

_MUCH_MEMORY = 2 << 30
_forget = []  # what empties the memories of one file of tests


def pytest_configure():
    """Begins before any module of the library is imported."""
    import border_checks
    import quick_tracing

    quick_tracing.collect_garbage_rarely()
    border_checks.install()


def pytest_collection_finish():
    """Begins when every module is imported, whose objects stay."""
    import quick_tracing

    quick_tracing.give_tracers_a_short_answer()
    quick_tracing.share_contexts()
    quick_tracing.keep_what_is_imported()
    _forget.extend([quick_tracing.remember_models(), quick_tracing.remember_steps()])


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs of one file hardly serve the next, and grow to gigabytes."""
    yield
    import jax
    import quick_tracing

    for forget in _forget:
        forget()
    if quick_tracing.resident_bytes() > _MUCH_MEMORY:
        jax.clear_caches()


@pytest.fixture(scope="module")
def one_device():
    """Lays every run of a file over one device, see `few_devices.py`."""
    from few_devices import runs_on

    with runs_on(1):
        yield
