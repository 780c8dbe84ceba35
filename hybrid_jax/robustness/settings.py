"""What decides the scores of a pass, and what two runs must share to be compared."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

import hybrid_jax
from hybrid_jax.config import to_json
from hybrid_jax.errors import UserError
from hybrid_jax.robustness.corruptions.levels import table_side
from hybrid_jax.robustness.passes import Pass
from hybrid_jax.robustness.results.record import FILE, Record, read_record
from hybrid_jax.train.checkpoints.workdir import flat
from hybrid_jax.train.experiment import Experiment
from hybrid_jax.train.state import TrainState

# How data is read, not what is read.
_DO_NOT_MATTER = ("data.workers", "data.threads", "data.prefetch", "data.max_pixels")
_SHARED = ("task.name", "data.name", "split", "count", "levels_px")


def settings_of(
    experiment: Experiment, state: TrainState, *, split: str, count: int
) -> dict[str, Any]:
    """Returns what decides the scores, as plain values by name.

    Args:
        experiment: the restored run.
        state: its state; the weights are told by the sum of their magnitudes, to six
            digits, so that another run of the same config and length is noticed.
        split: that is scored.
        count: examples of it.
    """
    tree = json.loads(to_json(experiment.config))
    keys = flat({branch: tree[branch] for branch in ("data", "task", "model")})
    size = tuple(experiment.eval_data.image_size)
    return dict(
        step=int(state.step),
        weights=f"{float(_magnitude(state.eval_params)):.6g}",
        version=hybrid_jax.__version__,
        split=split,
        count=count,
        image_size=list(size),
        levels_px=table_side(size),
        **{key: value for key, value in keys.items() if key not in _DO_NOT_MATTER},
    )


@jax.jit
def _magnitude(params: dict) -> jax.Array:
    leaves = jax.tree.leaves(params)
    return jnp.stack([jnp.sum(jnp.abs(x.astype(jnp.float32))) for x in leaves]).sum()


def baseline_record(baseline: str) -> Record:
    """Returns what was measured for another run, in the workdir `baseline`.

    Raises:
        UserError: nothing, or the file is damaged.
    """
    path = epath.Path(baseline).expanduser().absolute()
    record = read_record(path)
    if record is None:
        raise UserError(
            f"--baseline: there is no {path / FILE}. Measure that run first: "
            f"--mode=robustness with its --config and --workdir={baseline}."
        )
    return record


def check_baseline(
    record: Record, *, name: str, settings: Mapping[str, Any], passes: Sequence[Pass]
) -> None:
    """Checks that another run was measured in the same way.

    Args:
        record: what was measured for it.
        name: its workdir, for messages.
        settings: of the run that is compared with it.
        passes: that both need.

    Raises:
        UserError: it was measured on something else, or under fewer passes.
    """
    for key in _SHARED:
        if settings[key] != record.settings.get(key):
            raise UserError(
                f"--baseline: {name} was measured with "
                f"{key}={record.settings.get(key)!r}, this run with {settings[key]!r}. "
                f"Measure it again in the same way."
            )
    missing = record.missing(passes)
    if missing:
        suite, line, strength = missing[0]
        raise UserError(
            f"--baseline: {name} lacks {len(missing)} of {len(passes)} passes, such as "
            f"{line} at {strength:g} of the suite {suite}. Measure it with the same "
            f"--suites, --corruptions and --severities."
        )
