"""Stands in for the command line in studies: instant runs with scores known beforehand."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import random
import sys
import time


def noise(*parts) -> float:
    """Returns a number from a normal distribution that depends on `parts` alone."""
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return random.Random(digest).gauss(0.0, 1.0)


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


def wait_for_gate(runs: pathlib.Path) -> None:
    """Waits for the file `STUB_GATE`, if three other runs have ended."""
    gate = os.environ.get("STUB_GATE", "")
    while gate and not os.path.exists(gate) and len(list(runs.glob("*/result.json"))) >= 3:
        time.sleep(0.01)


def main() -> None:
    words = sys.argv[1:]
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    workdir = pathlib.Path(flags["workdir"])
    experiment = json.loads(pathlib.Path(flags["config"].partition(":")[2]).read_text())
    scoring = flags.get("mode") in ("evaluate", "robustness", "explain")
    split = experiment["eval"]["split"] if scoring else ""
    with open(workdir / f"starts{split}.txt", "a") as file:
        file.write(f"{os.getpid()}\n")
    with contextlib.ExitStack() as alone:
        try:
            os.close(os.open(workdir / "running", os.O_CREAT | os.O_EXCL))
            alone.callback(os.remove, workdir / "running")
        except FileExistsError:
            (workdir / "overlap").touch()
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        wait_for_gate(workdir.parent)
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
        (workdir / "robustness.json").write_text(json.dumps(found))
        return
    if flags.get("mode") == "explain":
        found = dict(examples=90, uniform=0.25, views=views_of(experiment))
        (workdir / f"localization_{split}.json").write_text(json.dumps(found))
        return
    if split:
        scores = dict(step=1, split=split, **scores_of(experiment, split))
        pathlib.Path(flags["output"]).write_text(json.dumps(scores))
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
    (workdir / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
