"""A command on CPUs starts once more where that gives its arrays large pages."""

import os
import runpy
import sys

import pytest

from hybrid_jax.command_line import large_pages
from hybrid_jax.command_line.large_pages import restart_with_large_pages

COMMAND = ["python", "-X", "dev", "-m", "hybrid_jax.main", "--config=tiny"]


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Calls of `os.execv` on a system that gives large pages on request."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    monkeypatch.setattr(sys, "orig_argv", COMMAND)
    monkeypatch.setattr(large_pages, "_DEVICES", tmp_path)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    on_request(monkeypatch, tmp_path, "always [madvise] never")
    return calls


def on_request(monkeypatch, tmp_path, text):
    (tmp_path / "enabled").write_text(text)
    monkeypatch.setattr(large_pages, "_ON_REQUEST", tmp_path / "enabled")


def test_the_command_starts_again_with_its_words(started):
    restart_with_large_pages()
    ((program, words, environment),) = started
    assert program == words[0] == sys.executable
    assert words[1:] == ["-X", "large_pages", *COMMAND[1:]]
    assert environment == os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@pytest.mark.parametrize("dropped", [True, False])
def test_it_starts_again_once(started, monkeypatch, dropped):
    restart_with_large_pages()
    ((_, words, environment),) = started
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "_xoptions", {"large_pages": True} if dropped else {})
    if not dropped:
        monkeypatch.setenv("GLIBC_TUNABLES", environment["GLIBC_TUNABLES"])
    restart_with_large_pages()
    assert len(started) == 1


def test_other_tunables_are_kept(started, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    restart_with_large_pages()
    assert started[0][2]["GLIBC_TUNABLES"] == (
        "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"
    )


def test_a_start_that_fails_costs_nothing_but_time(started, monkeypatch):
    def execve(*call):
        raise OSError("no such program")

    monkeypatch.setattr(os, "execve", execve)
    restart_with_large_pages()
    assert "GLIBC_TUNABLES" not in os.environ


def test_it_is_the_first_that_the_command_does(monkeypatch):
    def restart():
        raise InterruptedError("restarted")

    monkeypatch.setattr(large_pages, "restart_with_large_pages", restart)
    with pytest.raises(InterruptedError, match="restarted"):
        runpy.run_module("hybrid_jax.main", run_name="__main__")


@pytest.mark.parametrize("device", ["nvidiactl", "accel0", "vfio/0"])
def test_accelerators_have_memory_of_their_own(started, tmp_path, device):
    (tmp_path / device).parent.mkdir(exist_ok=True)
    (tmp_path / device).touch()
    restart_with_large_pages()
    assert not started


def test_a_user_can_say_no(started, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    restart_with_large_pages()
    assert not started


@pytest.mark.parametrize("text", ["[always] madvise never", "always madvise [never]"])
def test_nothing_happens_where_the_system_decides(started, monkeypatch, tmp_path, text):
    on_request(monkeypatch, tmp_path, text)
    restart_with_large_pages()
    assert not started


def test_nothing_happens_on_other_systems(started, monkeypatch, tmp_path):
    monkeypatch.setattr(large_pages, "_ON_REQUEST", tmp_path / "missing")
    restart_with_large_pages()
    assert not started


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "ipykernel_launcher"],
        ["-m", "pdb", "-m", "hybrid_jax.main"],
        ["-W", "ignore", "/bin/coverage", "run", "-m", "hybrid_jax.main"],
        ["-m"],
    ],
)
def test_a_process_that_is_more_than_the_command_goes_on(started, monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", ["python", *words])
    restart_with_large_pages()
    assert not started


@pytest.mark.parametrize("version", ["glibc 2.34", None, ValueError])
def test_the_c_library_must_know_it(started, monkeypatch, version):
    def confstr(name):
        if version is ValueError:
            raise version
        return version

    monkeypatch.setattr(os, "confstr", confstr)
    restart_with_large_pages()
    assert not started
