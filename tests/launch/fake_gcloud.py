"""A gcloud of two hosts and a bucket, all folders of this machine.

Hosts are the folders host0 and host1 of $FAKE_CLOUD, the bucket is its folder gs, and the
file `state` holds the state of the queued resource; without it there is none. Where there
is a file `doomed`, the resource is suspended after the next look into the bucket.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

CLOUD = pathlib.Path(os.environ["FAKE_CLOUD"])
STATE = CLOUD / "state"


def local(path: str) -> pathlib.Path:
    """Returns where a gs:// path lies, and any other path as it is."""
    return pathlib.Path(path.replace("gs://", f"{CLOUD}/gs/"))


def storage(verb: str, words: list[str]) -> int:
    """cp, cat and rm, as far as the scripts use them."""
    if verb == "cp":
        source, target = map(local, words)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not source.exists():
            return 1
        shutil.copyfile(source, target)
        return 0
    path = local(words[-1])
    if verb == "rm":
        shutil.rmtree(path, ignore_errors=True)
        return 0
    if (CLOUD / "doomed").exists():
        (CLOUD / "doomed").unlink()
        STATE.write_text("SUSPENDED")
    found = sorted(path.parent.glob(path.name))
    print("".join(one.read_text() for one in found), end="")
    return 0 if found else 1


def queued_resources(verb: str, words: list[str]) -> int:
    """create, describe, delete and ssh."""
    if verb == "create":
        STATE.write_text("ACTIVE")
    elif verb == "delete":
        for host in ("host0", "host1"):  # nothing runs on a machine that is gone
            subprocess.run(["flock", CLOUD / host / "hybrid_jax/lock", "true"], check=True)
        STATE.unlink()
    elif verb == "describe":
        if not STATE.exists():
            print("ERROR: NOT_FOUND: no such resource", file=sys.stderr)
            return 1
        print(STATE.read_text())
    elif verb == "ssh":
        (command,) = (w for w in words if w.startswith("--command="))
        for host in ("host0", "host1"):
            home = CLOUD / host
            log = home / "hybrid_jax/host.log"
            before = lines(log)
            subprocess.run(
                ["bash", "-c", command.removeprefix("--command=")],
                cwd=home,
                env=os.environ | {"HOME": str(home)},
                check=False,
            )
            # What was left in the background has the lock, or knows that it has not.
            while "on_host.sh" in command and lines(log) == before:
                time.sleep(0.01)
    return 0


def lines(log: pathlib.Path) -> int:
    """Returns how many lines a host's log has."""
    return len(log.read_text().splitlines()) if log.exists() else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    with open(os.environ["STUB_RECORD"], "a") as file:
        file.write(json.dumps(["gcloud", *words]) + "\n")
    if words[0] == "storage":
        sys.exit(storage(words[1], words[2:]))
    if words[:3] == ["compute", "tpus", "queued-resources"]:
        sys.exit(queued_resources(words[3], words[4:]))
