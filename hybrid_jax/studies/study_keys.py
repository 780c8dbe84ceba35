"""Every key of the branch `study` and its default, once."""

from typing import Any


def study_keys() -> dict[str, Any]:
    """Returns the keys that a study file may set, and the command line after it."""
    return dict(
        baseline="",  # the variant that the others are compared with; the first without one
        # Variant -> what it is compared with instead, as {"vit_half": "resnet_half"}.
        baselines={},
        seeds=(0, 1, 2),  # of the chosen setting; the first is the one of all trials
        score="auto",  # what is compared, higher is better; "auto": the task's own
        # Scored once, at the end; `eval.split` is what settings are chosen on.
        test_split="test",
        # Name -> changes of the experiment, as {"eval.image_size": 48}: more scores of the
        # final runs, each beside that of the test split. None of them decides anything.
        evaluations={},
        # Suites of `--mode=robustness`, as ("rotation", "noise"): final runs are scored
        # under them on the test split.
        suites=(),
        # Whether final runs are scored by where in the images of the test split they look:
        # `--mode=explain` without images. The data need boxes.
        localization=False,
        # "params", "macs", "time" (of a training step, measured before anything else runs)
        # or "none": what variants have alike.
        matched="params",
        tolerance=0.10,  # share by which a variant may differ from the baseline in it
        jobs=1,  # runs at a time, each on its share of this process's cores
        # "2/3" begins with the second third of the runs; for several machines.
        shard="1/1",
        plan_only=False,  # print the plan and stop
        probe=False,  # train each variant for 20 steps first, and tell the expected time
        retry_failed=False,  # run again what has failed; what has diverged stays
    )
