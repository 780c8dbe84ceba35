"""What each mode of the command line calls."""

import functools
from collections.abc import Callable
from typing import Any

from hybrid_jax.command_line import flag_list as given


def chosen_mode() -> Callable[[Any, str], Any]:
    """Returns what does the work; imports nothing that another mode needs."""
    match given.MODE.value:
        case "train":
            from hybrid_jax.train.loop import train as run
        case "check":
            from hybrid_jax.checking.check import check

            return functools.partial(check, output=given.OUTPUT.value)
        case "evaluate":
            from hybrid_jax.evaluate import evaluate

            return functools.partial(evaluate, output=given.OUTPUT.value)
        case "robustness":
            from hybrid_jax.robustness.measure import measure_robustness

            under = dict(suites=given.SUITES.value, corruptions=given.CORRUPTIONS.value)
            under |= dict(severities=given.SEVERITIES.value)
            baselines = given.BASELINE.value
            return functools.partial(measure_robustness, baselines=baselines, **under)
        case "predict":
            from hybrid_jax.predicting.predict_run import predict_run

            options = dict(output=given.OUTPUT.value, format=given.FORMAT.value or "json")
            return functools.partial(predict_run, inputs=given.INPUT.value, **options)
        case "explain":
            from hybrid_jax.explaining.explain_run import explain_run

            options = dict(inputs=given.INPUT.value, output=given.OUTPUT.value)
            return functools.partial(explain_run, **options)
        case "profile" if given.TOPOLOGY.value:
            from hybrid_jax.profiling.topology import profile_on

            return functools.partial(profile_on, topology=given.TOPOLOGY.value)
        case "profile":
            from hybrid_jax.profiling.profile import profile as run
        case "export":
            from hybrid_jax.exporting.export_run import export_run

            return functools.partial(
                export_run,
                format=given.FORMAT.value or "safetensors",
                program=given.PROGRAM.value,
                output=given.OUTPUT.value,
            )
        case "pack":
            from hybrid_jax.packing.pack import pack

            options = dict(output=given.OUTPUT.value, max_side=given.MAX_SIDE.value)
            return functools.partial(pack, **options)
        case "config":
            from hybrid_jax.train.reporting.show_config import show_config as run
        case "study":
            from hybrid_jax.studies.study import study as run
        case "report":
            from hybrid_jax.report import report

            output = given.OUTPUT.value
            return lambda _, workdirs: report(workdirs.split(","), output=output)
    return run
