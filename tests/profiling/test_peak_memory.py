"""Describing a large model takes little memory.

That no array is made for it, `test_profile.py` shows by every pytest on a small model.
"""

import re
import sys

import pytest
from small_run import ROOT, run_well

# Runs the command and, at its end, prints the most memory it ever held, in bytes. What
# the kernel counts for a child begins with what its parent held when it was started,
# here all of pytest; of the two numbers of Linux, VmHWM alone begins anew.
MEASURED = """
import atexit, pathlib, re, resource, runpy, sys

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

atexit.register(lambda: print("peak", peak(), flush=True))
runpy.run_module("hybrid_jax.main", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_command_describes_a_third_of_a_billion_parameters_in_little_memory(tmp_path):
    words = [sys.executable, "-c", MEASURED, "--mode=profile"]
    words.append(f"--config={ROOT / 'configs/r50_vit_l32.py'}:size=224")
    printed = run_well(words, cwd=tmp_path).stdout
    assert "fusion  sequential (stride=32)\nresnet  r50\nvit     l\n" in printed
    assert "head    linear, 10 classes\nimages  224 x 224 px, float32\n" in printed
    assert re.search(r"^vit +304,\d{3},\d{3} +[\d,.]+ +\d+\.\d{3}$", printed, re.M)
    assert re.search(r"^total +327,980,106 +1,251\.1 +19\.41\d$", printed, re.M)
    assert "24 attentions of 50 queries to 50 keys" in printed
    # Parameters alone would take 1.3 GB, with their training state 5 GB.
    assert 1e8 < int(re.search(r"^peak (\d+)$", printed, re.M)[1]) < 8e8
    assert not list(tmp_path.iterdir())  # no workdir
