"""What is written in two places agrees, and the version in one."""

import pathlib
import re
import subprocess
import sys

import hybrid_jax

ROOT = pathlib.Path(__file__).parents[1]


def test_setup_reads_the_version_of_the_package():
    said = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split()[-1] == hybrid_jax.__version__


def test_changelog_has_a_dated_section_of_the_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(
        rf"^## {re.escape(hybrid_jax.__version__)} \(\d{{4}}-\d\d-\d\d\)$", text, re.M
    )
    assert text.index("## Unreleased") < text.index(f"## {hybrid_jax.__version__}")


def test_version_is_written_once():
    written = re.compile(rf"version.*\b{re.escape(hybrid_jax.__version__)}\b", re.I)
    files = [*ROOT.glob("*.py"), *ROOT.glob("*.toml"), *ROOT.glob("*.cff")]
    files += (ROOT / "hybrid_jax").rglob("*.py")
    assert [p.name for p in files if written.search(p.read_text())] == ["__init__.py"]


def test_ruff_before_a_commit_is_that_of_the_tests():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    pinned = re.search(r'"ruff==([\d.]+)"', (ROOT / "setup.py").read_text())[1]
    assert f"rev: v{pinned} " in hooks


def test_license_is_the_one_that_is_said():
    assert "Apache License" in (ROOT / "LICENSE").read_text().splitlines()[1]
    for name in ("setup.py", "CITATION.cff"):
        assert "Apache-2.0" in (ROOT / name).read_text()
