"""Stands in for the command line in studies: instant runs with scores known beforehand.

Hundreds are started, so that little is imported: `pathlib` and `hashlib` take longer than
all the rest.
"""

import contextlib
import json
import math
import os
import random
import sys
import time


def noise(*parts) -> float:
    """Returns a number from a normal distribution that depends on `parts` alone."""
    return random.Random(repr(parts)).gauss(0.0, 1.0)


def scores_of(experiment: dict, split: str) -> dict[str, float]:
    """Returns a score with an effect of the fusion, one of the seed, and noise."""
    rate, seed = experiment["optimizer"]["learning_rate"], experiment["seed"]
    fusion = experiment["model"]["fusion"]
    effect = {"sequential": 0.02}.get(fusion, 0.0)  # the planted two points
    best = 0.0 if rate == 1e-3 else -0.1
    shared = 0.05 * noise("seed", seed)
    share = experiment["data"]["train_fraction"]
    own = 0.003 * noise(fusion, rate, seed, split)
    own -= 0.1 * (1 - share)
    return dict(top1=0.7 + effect + best + shared + own, count=100)


def views_of(experiment: dict) -> dict[str, dict]:
    """Returns the views that a fusion has, with two points for `sequential`."""
    fusion, seed = experiment["model"]["fusion"], experiment["seed"]
    base = 0.4 + 0.02 * (fusion == "sequential") + 0.05 * noise("view", seed)
    kinds = dict(
        resnet="Grad-CAM, stage3", transformer="attention rollout", fused="mean of both"
    )
    only = dict(resnet="resnet", vit="transformer").get(fusion)
    return {
        view: dict(
            of=kind,
            energy_in_boxes=base + 0.001 * noise(fusion, view, seed),
            pointing_game=2 * base + 0.001 * noise("pointed", fusion, seed),
        )
        for view, kind in kinds.items()
        if only in (None, view)
    }


def write(path: str, content: object) -> None:
    """Writes a file of JSON."""
    with open(path, "w") as file:
        json.dump(content, file)


def ended(runs: str) -> int:
    """Returns the number of runs below the folder `runs` that have a result."""
    return sum(os.path.exists(f"{folder.path}/result.json") for folder in os.scandir(runs))


def wait_for_gate(runs: str) -> None:
    """Waits for the file `STUB_GATE`, if three other runs have ended."""
    gate = os.environ.get("STUB_GATE", "")
    while gate and not os.path.exists(gate) and ended(runs) >= 3:
        time.sleep(0.01)


def main() -> None:
    words = sys.argv[1:]
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    workdir = flags["workdir"]
    with open(flags["config"].partition(":")[2]) as file:
        experiment = json.load(file)
    scoring = flags.get("mode") in ("evaluate", "robustness", "explain")
    split = experiment["eval"]["split"] if scoring else ""
    with open(f"{workdir}/starts{split}.txt", "a") as file:
        file.write(f"{os.getpid()}\n")
    with contextlib.ExitStack() as alone:
        try:
            os.close(os.open(f"{workdir}/running", os.O_CREAT | os.O_EXCL))
            alone.callback(os.remove, f"{workdir}/running")
        except FileExistsError:
            open(f"{workdir}/overlap", "w").close()
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        wait_for_gate(os.path.dirname(workdir))
    if experiment["model"]["fusion"] == "conformer" and not split:
        sys.exit("error: training stopped: step 3 is not finite (learning rate 0.1)")
    if experiment["model"]["fusion"] == "bifusion" and not split:
        sys.exit("error: no memory")
    if suites := flags.get("suites"):
        found = dict(clean=scores_of(experiment, split), suites={})
        for name in suites.split(","):
            passes = [dict(top1=scores_of(experiment, name)["top1"] + x) for x in (-1, 1)]
            bad, _, seeds = os.environ.get("STUB_NAN", "").partition(" ")
            if name == bad and experiment["seed"] < int(seeds):
                passes[0]["top1"] = math.nan
            found["suites"][name] = dict(lines=dict(one=dict(scores=passes)))
        write(f"{workdir}/robustness.json", found)
        return
    if flags.get("mode") == "explain":
        found = dict(examples=90, uniform=0.25, views=views_of(experiment))
        write(f"{workdir}/localization_{split}.json", found)
        return
    if split:
        scores = dict(step=1, split=split, **scores_of(experiment, split))
        write(flags["output"], scores)
        return
    scores = scores_of(experiment, "validation")
    fast, _, number = os.environ.get("STUB_SPEED", "").partition(" ")
    speed = float(number) if experiment["model"]["fusion"] == fast else 100.0
    report = dict(
        scores=scores,
        best=dict(step=1, score=scores["top1"]),
        batch_size=8,
        images_per_second=speed,
        seconds_to_start=1.0,
        seconds_first_step=2.0,
    )
    write(f"{workdir}/report.json", report)


if __name__ == "__main__":
    main()
