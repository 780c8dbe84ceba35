"""What a finished run came to, for people and for tables: `report.json`."""

import json
import resource
import sys
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict


def write_report(
    workdir: epath.Path,
    config: ConfigDict,
    *,
    scores: Mapping[str, float],
    best: tuple[int, float] | None,
    facts: Mapping[str, Any],
) -> None:
    """Writes `report.json`: what was run, on what, and what came out.

    Args:
        workdir: of the run.
        config: resolved.
        scores: of the last evaluation.
        best: step and score of the best checkpoint.
        facts: measured along the way: times, speed, images skipped.
    """
    device = jax.devices()[0]
    report = dict(
        model=config.model.to_dict(),
        data=config.data.name,
        image_size=list(config.data.image_size),
        batch_size=config.train.batch_size,
        steps=config.train.steps,
        seed=config.seed,
        device=f"{jax.device_count()} x {device.device_kind}",
        jax=jax.__version__,
        split=config.eval.split,
        scores=dict(scores),
        best=dict(step=best[0], score=best[1]) if best else None,
        peak_host_gib=round(_peak_host_bytes() / 2**30, 2),
        peak_device_gib=_peak_device_gib(device),
        **facts,
    )
    (workdir / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def _peak_host_bytes() -> int:
    """Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peak_device_gib(
    device: jax.Device,  # pyright: ignore[reportInvalidTypeForm]
) -> float | None:
    """None where the runtime does not count, as on CPUs."""
    stats = device.memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else round(peak / 2**30, 2)
