"""How well the views of each variant find objects, each view compared with its like.

A view is scored by `--mode=explain`: `energy_VIEW` is the share of its sum that lies inside
boxes, `pointing_VIEW` the share of images whose hottest pixel does.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_jax.studies.results.comparison import Outcome, compared
from hybrid_jax.studies.settings import LOCALIZATION, Study

UNIFORM = "uniform"  # the score of a uniform map: the share of an image that boxes cover
VIEWS = ("resnet", "transformer", "fused")
_MEASURES = {"energy": "energy_in_boxes", "pointing": "pointing_game"}
NAMES = tuple(f"{measure}_{view}" for measure in _MEASURES for view in VIEWS)


def view_scores(found: Mapping[str, Any]) -> dict[str, float]:
    """Returns `uniform`, and the scores of all views that a run has, by their name here.

    Args:
        found: of `localization_scores`.
    """
    scores = {
        f"{measure}_{view}": row[key]
        for measure, key in _MEASURES.items()
        for view, row in found["views"].items()
    }
    return {UNIFORM: found["uniform"]} | scores


def localized(study: Study, final: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Returns variant -> `uniform`, `of`, what its views are, and `scores` of its views.

    The score of a view has mean, deviation and difference, as that of an evaluation, and
    `baseline`, what it is compared with: the variant's baseline, or where that one has no
    such view, the variant with the fewest views that has it, the first of several. So the
    rollout of a hybrid is compared with that of a plain ViT, if there is one.

    Args:
        study: what is compared.
        final: runs of the chosen settings, with their scorings by `LOCALIZATION`.
    """
    known = _known(final)
    has = {
        name: {score for v, row in known if v == name for score in row["scores"]}
        for name in study.variants
    }
    result: dict[str, dict[str, Any]] = {
        name: dict(
            uniform=_uniform([row for v, row in known if v == name]),
            of=_kinds([row for v, row in known if v == name]),
            scores={},
        )
        for name in study.variants
    }
    for score in NAMES:
        owners = {name for name, own in has.items() if score in own}
        baselines = baselines_of_view(study, owners, has)
        rows = compared(score, baselines, [_only(score, outcome) for outcome in final])
        for name, row in rows.items():
            result[name]["scores"][score] = dict(row, baseline=baselines[name])
    return result


def _known(final: Sequence[Outcome]) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns (variant, scoring) of the runs whose views were scored."""
    return [
        (run.variant, scored[LOCALIZATION])
        for run, _, scored in final
        if scored.get(LOCALIZATION, {}).get("status") == "finished"
    ]


def _uniform(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the score of a uniform map; None without any. Seeds have the same images."""
    return rows[0]["scores"][UNIFORM] if rows else None


def _kinds(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns view -> what it is; where that differs between seeds, all that it is."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for view, kind in row["of"].items():
            if kind not in found.setdefault(view, []):
                found[view].append(kind)
    return {view: " or ".join(kinds) for view, kinds in found.items()}


def baselines_of_view(
    study: Study, owners: set[str], has: Mapping[str, set[str]]
) -> dict[str, str]:
    """Returns what each variant that has a score is compared with in it."""
    if not owners:
        return {}
    plainest = min(
        (name for name in study.variants if name in owners), key=lambda n: len(has[n])
    )
    return {
        name: study.baselines[name] if study.baselines[name] in owners else plainest
        for name in study.variants
        if name in owners
    }


def _only(score: str, outcome: Outcome) -> Outcome:
    """Returns an outcome with that one score of its views, if it has it, as a scoring."""
    run, trained, scored = outcome
    value = scored.get(LOCALIZATION, {}).get("scores", {}).get(score)
    if value is None:
        return run, trained, {}
    if not math.isfinite(value):
        return run, trained, {score: dict(status="diverged", score=None)}
    return run, trained, {score: dict(status="finished", score=value)}
