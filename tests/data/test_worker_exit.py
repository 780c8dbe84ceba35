"""Worker processes do not outlive the process they read for."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import multiprocessing, time
from data_examples import NumberedSource, data_config
from hybrid_jax.data.pipeline import train_batches
if __name__ == "__main__":
    data = data_config(workers=2)
    stream = train_batches(
        NumberedSource(20), data=data, batch_size=8, seed=0, start_step=0
    )
    next(iter(stream))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(10_000)
"""


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie, which nobody has asked for its status."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "reads.py"
    script.write_text(SCRIPT)
    folders = os.pathsep.join([*sys.path, str(pathlib.Path(__file__).parent)])
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": folders},
    ) as parent:
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(map(is_running, workers))
        parent.kill()
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in workers if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
