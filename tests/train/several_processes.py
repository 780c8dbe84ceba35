"""One run as several processes of a few pretend devices each, on this machine."""

import dataclasses
import pathlib
import socket

from forked_process import ForkedProcess
from small_run import TIMEOUT, environment


@dataclasses.dataclass(frozen=True)
class Ended:
    """What became of one process."""

    status: int
    printed: str


def start_several(
    words: list[str],
    output: pathlib.Path,
    *,
    count: int = 2,
    devices: int = 1,
    **variables: str,
) -> list[ForkedProcess]:
    """Starts one command `count` times, in forks; process 1 prints to `output1`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    variables |= {"HJ_COORDINATOR": address, "HJ_NUM_PROCESSES": str(count)}
    processes = []
    for index in range(count):
        with open(output / f"output{index}", "w") as file:
            processes.append(
                ForkedProcess(
                    words,
                    env=environment(devices=devices, **variables, HJ_PROCESS_ID=str(index)),
                    stdout=file,
                    stderr=file,
                )
            )
    return processes


def ended(processes: list[ForkedProcess], output: pathlib.Path) -> list[Ended]:
    """Waits for all of them; one that hangs is killed and fails the test."""
    try:
        statuses = [process.wait(TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    texts = [(output / f"output{index}").read_text() for index in range(len(processes))]
    return [Ended(*pair) for pair in zip(statuses, texts, strict=True)]


def ended_well(processes: list[ForkedProcess], output: pathlib.Path) -> list[str]:
    """Waits for processes that must succeed and returns what they printed."""
    every = ended(processes, output)
    assert {one.status for one in every} == {0}, "\n".join(one.printed for one in every)
    return [one.printed for one in every]
