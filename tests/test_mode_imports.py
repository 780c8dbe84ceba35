"""A mode of the command line imports what it needs, and not what others need."""

import sys

from small_run import run_well

MODULES = {
    "train": "train.loop",
    "evaluate": "evaluate",
    "robustness": "robustness.measure",
    "predict": "predicting.predict_run",
    "explain": "explaining.explain_run",
    "profile": "profiling.profile",
    "export": "exporting.export_run",
    "config": "train.reporting.show_config",
}


# JAX is imported once; each mode is chosen in a process that forks from there.
CHOSEN = """
import os, sys
import jax
from absl import flags
from hybrid_jax.command_line.modes import chosen_mode
for mode in sys.argv[1:]:
    if os.fork() == 0:
        flags.FLAGS(["main", f"--mode={mode}"])
        chosen_mode()
        print(mode, *sys.modules, flush=True)
        os._exit(0)
    os.wait()
"""


def test_mode_imports_nothing_that_another_one_needs():
    chosen = ["profile", "export", "config"]
    printed = run_well([sys.executable, "-c", CHOSEN, *chosen]).stdout.splitlines()
    assert len(printed) == len(chosen)
    for mode, loaded in zip(chosen, map(str.split, printed), strict=True):
        assert loaded[0] == mode
        found = {f"hybrid_jax.{module}" for module in MODULES.values()} & {*loaded}
        assert found == {f"hybrid_jax.{MODULES[mode]}"}
        assert not {*loaded} & {"tensorboardX", "torch"}
