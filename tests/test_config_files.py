"""Experiments by name, in a checkout and in a wheel."""

import os
import subprocess
import sys
import zipfile

import pytest
from small_run import ROOT

from hybrid_jax.config_files import first_lines, folder, with_files


def test_every_config_has_a_name_and_a_line():
    lines = first_lines()
    assert set(lines) == {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert all(lines.values())


@pytest.mark.parametrize("words", ["", ":digits", ":folder=/a/b.py,size=32"])
def test_a_name_becomes_the_file(words):
    path = f"{folder() / 'tiny.py'}{words}"
    assert with_files(["main", f"--config=tiny{words}"]) == ["main", f"--config={path}"]
    assert with_files(["main", "--config", f"tiny{words}"]) == ["main", "--config", path]


def test_a_study_has_a_name_in_its_folder():
    path = folder() / "studies" / "every_fusion.py"
    assert with_files(["--config=studies/every_fusion:shapes"]) == [
        f"--config={path}:shapes"
    ]


@pytest.mark.parametrize("config", ["configs/tiny.py", "tiny.py:digits", "a/tiny", "tine"])
def test_what_is_no_name_stays(config):
    assert with_files(["main", f"--config={config}"]) == ["main", f"--config={config}"]


def test_a_file_here_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").touch()
    assert with_files(["--config=tiny"]) == ["--config=tiny"]


def test_a_folder_here_does_not_hide_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert with_files(["--config=tiny"]) == [f"--config={folder() / 'tiny.py'}"]


def test_a_value_of_another_flag_stays():
    assert with_files(["main", "--workdir", "tiny"]) == ["main", "--workdir", "tiny"]
    assert with_files(["main", "--config"]) == ["main", "--config"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    texts = ["setup.py", "pyproject.toml", "README.md", "LICENSE"]
    source.mkdir()
    for name in (*texts, "hybrid_jax", "configs"):
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", place, source]
    subprocess.run(command, check=True)
    (file,) = place.glob("*.whl")
    zipfile.ZipFile(file).extractall(place / "unpacked")
    return place / "unpacked"


def in_empty_folder(tmp_path, wheel, *words):
    environment = dict(os.environ, PYTHONPATH=str(wheel), PYTHONSAFEPATH="1")
    return subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )


def files_in(folder):
    """Returns the paths of all Python files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*.py")}


def test_wheel_carries_the_configs_and_its_types(tmp_path, wheel):
    code = "from hybrid_jax import config_files; print(config_files.folder())"
    done = in_empty_folder(tmp_path, wheel, "-c", code)
    assert done.stdout.strip() == str(wheel / "hybrid_jax" / "configs"), done.stderr
    assert files_in(wheel / "hybrid_jax" / "configs") == files_in(ROOT / "configs")
    assert (wheel / "hybrid_jax" / "py.typed").exists()


@pytest.mark.slow
def test_wheel_trains_and_predicts_in_an_empty_folder(tmp_path, wheel):
    main = ("-m", "hybrid_jax.main", "--config=tiny", "--config.train.steps=2")
    done = in_empty_folder(tmp_path, wheel, *main)
    assert done.returncode == 0, done.stderr
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    done = in_empty_folder(tmp_path, wheel, *main, "--mode=predict", "--input=photo.png")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs" / "tiny" / "predictions").iterdir())
