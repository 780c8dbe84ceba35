"""`--mode=report` of workdirs that are damaged, or named twice."""

import pytest
from fake_workdir import fake_workdir

from hybrid_jax.errors import UserError
from hybrid_jax.report import report


@pytest.fixture
def whole(tmp_path):
    return fake_workdir(tmp_path / "whole")


@pytest.fixture(params=["", '{"seed": 1', "[1]", None], ids=repr)
def damaged(request, tmp_path):
    """A run whose config is empty, cut, no object, or no text at all."""
    path = fake_workdir(tmp_path / "damaged")
    content = b"\xff\xfe\x00" if request.param is None else request.param.encode()
    (path / "config.json").write_bytes(content)
    return path


def test_damaged_config_of_the_only_run_is_an_error(damaged):
    with pytest.raises(UserError, match="damaged/config.json is damaged: .*from a copy"):
        report([str(damaged)])
    assert not (damaged / "report.html").exists()


def test_run_with_a_damaged_config_is_left_out_among_others(whole, damaged, capsys):
    assert report([str(damaged), str(whole)]) == [whole / "report.html"]
    note, page = capsys.readouterr().out.splitlines()
    assert note.startswith(f"note: {damaged}/config.json is damaged: ")
    assert note.endswith("; this run is left out")
    assert page == f"report: {whole / 'report.html'}"


def test_all_runs_damaged_is_an_error(damaged, tmp_path):
    other = fake_workdir(tmp_path / "other")
    (other / "config.json").write_text("")
    with pytest.raises(UserError, match=r"damaged/config.json .*; .*other/config.json "):
        report([str(damaged), str(other)])


def test_run_named_twice_counts_once(whole, tmp_path, capsys):
    other = fake_workdir(tmp_path / "other", seed=1)
    assert report([str(whole), f"{whole}/"]) == [whole / "report.html"]
    pages = report([str(whole), str(other), str(whole)])
    assert [page.name for page in pages] == [
        "report.html",
        "report.html",
        "comparison.html",
    ]
    assert "2 runs" in pages[-1].read_text()


def test_run_without_a_config_has_its_curves(whole):
    (whole / "config.json").unlink()
    report([str(whole)])
    assert "Curves" in (whole / "report.html").read_text()
