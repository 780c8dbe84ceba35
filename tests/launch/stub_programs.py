"""Programs that stand in for gcloud, kubectl and others: they record how they are called.

No cloud is reached. `fake_gcloud.py` plays a little of one; all other programs do nothing.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
TIMEOUT = 60  # seconds; a script takes well under one
_RECORDER = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["STUB_RECORD"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if not sys.stdin.isatty() and sys.argv[1:2] == ["apply"]:
    open(os.environ["STUB_RECORD"] + ".stdin", "w").write(sys.stdin.read())
"""


class Stubs:
    """A folder of stub programs, in front of all others on the path.

    Attributes:
        folder: where the programs are.
        environment: what a script under test runs with.
        launch: the folder of the scripts.
    """

    def __init__(self, folder: pathlib.Path, *programs: str, launch=LAUNCH):
        self.launch = launch
        self.folder = folder / "programs"
        self.folder.mkdir()
        self.record = folder / "record"
        self.environment = os.environ | {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "STUB_RECORD": str(self.record),
            "HJ_POLL_SECONDS": "0.1",
            "TMPDIR": str(folder),
        }
        for program in programs:
            self.add(program, _RECORDER)

    def add(self, name: str, text: str) -> pathlib.Path:
        """Writes an executable file and returns its path."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, script: str, *words: str, **options) -> subprocess.CompletedProcess:
        """Runs a launch script to its end."""
        options.setdefault("env", self.environment)
        return subprocess.run(
            ["bash", str(self.launch / script), *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            **options,
        )

    def run_well(self, script: str, *words: str, **options) -> subprocess.CompletedProcess:
        """Runs a launch script that must succeed."""
        done = self.run(script, *words, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def calls(self, *first: str) -> list[list[str]]:
        """Returns the recorded calls that begin with `first`, oldest first."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        calls = map(json.loads, lines)
        return [call for call in calls if call[: len(first)] == list(first)]

    def stdin(self) -> str:
        """Returns what the last `apply` read."""
        return pathlib.Path(f"{self.record}.stdin").read_text()


def wait_until(reached: Callable[[], bool]) -> None:
    """Returns as soon as `reached()`; fails if that never happens."""
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < deadline, "never reached"
        time.sleep(0.01)
