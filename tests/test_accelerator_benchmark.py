"""The benchmark for accelerators runs on a CPU, so that it runs where time costs money."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_every_tiny_case_is_measured(tmp_path):
    command = [sys.executable, "benchmarks/accelerator.py", "table", "--tiny", "--trace"]
    command += ["--seconds=0.1", "--budget=3600", f"--out={tmp_path}"]
    subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
    )
    rows = json.loads((tmp_path / "table.json").read_text())
    assert not [row["failed"] for row in rows if "failed" in row]
    measured = {(row["kind"], row["variant"]) for row in rows if "images_per_s" in row}
    assert len(measured) == 13
