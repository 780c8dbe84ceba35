"""Large pages of memory for the arrays of a command."""

import contextlib
import os
import pathlib
import re
import sys

_TUNABLE = "glibc.malloc.hugetlb"
_MARK = "large_pages"
_FIRST_GLIBC = (2, 35)  # that knows it
_DEVICES = pathlib.Path("/dev")
_ACCELERATORS = ("nvidiactl", "accel[0-9]*", "vfio/[0-9]*", "kfd")
_ON_REQUEST = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_large_pages() -> None:
    """Starts `python -m hybrid_jax.main` once more, so that its arrays lie in large pages.

    On CPUs, XLA allocates the memory of a program anew in each step. Linux hands it out in
    pages of 4 KiB, each when it is first touched, which took an eighth of a training step
    of R26 + S/32. The C library asks for pages of 2 MiB if a variable says so when the
    process starts. The process keeps its number, its arguments and its files.

    Nothing happens with a GPU or TPU; where Linux gives large pages never or always; with
    a C library other than glibc 2.35 or newer; where `GLIBC_TUNABLES` names them already;
    and in a process that is more than this command, such as a notebook or a debugger.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    # The mark outlives a variable that the system drops, so that this happens once.
    if _TUNABLE in tunables or _MARK in sys._xoptions:
        return
    if not (_is_this_command() and _given_on_request()) or _has_accelerator():
        return
    if _glibc_version() < _FIRST_GLIBC:
        return
    changed = os.environ | {"GLIBC_TUNABLES": f"{tunables}:{_TUNABLE}=1".lstrip(":")}
    words = [sys.executable, "-X", _MARK, *sys.orig_argv[1:]]
    with contextlib.suppress(OSError):  # slower then, and no more
        os.execve(sys.executable, words, changed)


def _is_this_command() -> bool:
    """Returns whether Python was started with this module, and with nothing around it."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word in ("-X", "-W"):
            next(words, None)
        elif word == "-m":
            return next(words, None) == "hybrid_jax.main"
        elif not word.startswith("-"):
            return False
    return False


def _has_accelerator() -> bool:
    """Returns whether a GPU or a TPU is there, where arrays lie in memory of its own."""
    return any(list(_DEVICES.glob(name)) for name in _ACCELERATORS)


def _given_on_request() -> bool:
    try:
        return "[madvise]" in _ON_REQUEST.read_text("utf-8")
    except OSError:  # not Linux, or a kernel without large pages
        return False


def _glibc_version() -> tuple[int, ...]:
    """Returns such as (2, 36); () without glibc."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ()
    return tuple(int(number) for number in re.findall(r"\d+", name))
