"""Large pages of memory for the arrays of a command that computes on CPUs."""

import itertools
import os
import pathlib
import re
import sys

_TUNABLE = "glibc.malloc.hugetlb"
_FIRST_GLIBC = (2, 35)  # that knows it
_ON_REQUEST = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_large_pages() -> None:
    """Starts `python -m hybrid_jax.main` once more, so that its arrays lie in large pages.

    On CPUs, XLA allocates the memory of a program anew in each step. Linux hands it out in
    pages of 4 KiB, each when it is first touched: an eighth of the time of a training step
    of R26 + S/32. The C library asks for pages of 2 MiB if a variable says so when the
    process starts. The process keeps its number, its arguments and its files.

    Nothing happens where Linux gives no large pages on request, or all by itself; with a C
    library other than glibc 2.35 or newer; where `GLIBC_TUNABLES` has a word on it; and in
    a process that is not this command alone, such as a notebook's.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if _TUNABLE in tunables or not (_is_this_command() and _given_on_request()):
        return
    if _glibc_version() < _FIRST_GLIBC:
        return
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:{_TUNABLE}=1".lstrip(":")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_this_command() -> bool:
    return ("-m", "hybrid_jax.main") in itertools.pairwise(sys.orig_argv)


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
