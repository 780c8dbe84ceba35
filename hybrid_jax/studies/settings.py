"""A study as its config describes it, checked."""

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from hybrid_jax.config import resolve
from hybrid_jax.errors import UserError, nearest
from hybrid_jax.robustness.passes import passes_of
from hybrid_jax.studies.running.changed_experiment import changed_experiment
from hybrid_jax.tasks import TASKS
from hybrid_jax.train.checkpoints.workdir import flat

# Whatever these leave open, each machine would fill in its own way.
_SET = ("train.batch_size", "data.image_size")
# Name of the scoring under all suites, each of which is an evaluation of the report.
ROBUSTNESS = "robustness"
# Name of the scoring of where a model looks.
LOCALIZATION = "localization"
_MATCHED = ("params", "macs", "time", "none")
# What may differ between the training of a model and its scoring.
_EVALUATED = ("eval.", "task.", "model.vit_options.position_resize", "model.dtype")


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared, and how.

    Attributes:
        base: the experiment that all runs have in common, as plain values.
        variants: name -> dotted changes.
        settings: variant -> the dotted changes of each trial, equally many for all.
        baseline: name of a variant.
        baselines: variant -> the one that it is compared with; itself for a baseline.
        seeds: distinct; the first is the one of all trials.
        score: name of a score of which more is better.
        test_split: scored once, at the end.
        evaluations: name -> dotted changes; the first is that of the test split, by name.
        suites: of robustness; each is one more evaluation, the mean over its passes.
        localization: whether it is scored where final runs look, too.
        matched: "params", "macs", "time" (of a step, measured) or "none".
        tolerance: largest difference in it from the baseline, as a share.
        jobs: runs at a time.
        shard: (i, n), with i from 1 to n.
        plan_only: whether to stop after the plan.
        probe: whether to measure a few steps of each variant for it.
        retry_failed: whether failed runs are run again.
    """

    base: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, tuple[Mapping[str, Any], ...]]
    baseline: str
    baselines: Mapping[str, str]
    seeds: tuple[int, ...]
    score: str
    test_split: str
    evaluations: Mapping[str, Mapping[str, Any]]
    suites: tuple[str, ...]
    localization: bool
    matched: str
    tolerance: float
    jobs: int
    shard: tuple[int, int]
    plan_only: bool
    probe: bool
    retry_failed: bool

    @property
    def validation_split(self) -> str:
        """The split that settings and checkpoints are chosen on."""
        return self.base["eval"]["split"]

    def experiment(
        self, variant: str, setting: Mapping[str, Any], *, seed: int
    ) -> ConfigDict:
        """Returns the experiment of one run."""
        own = {
            "seed": seed,
            "checkpoint.best_metric": self.score,
            "log.progress": False,  # what a run prints goes to a file
        }
        changes = {**self.variants[variant], **setting, **own}
        where = f"config.study: variant {variant!r}"
        return changed_experiment(self.base, changes, where=where)


def study_of(config: ConfigDict) -> Study:
    """Reads the branch `study` of a config.

    Raises:
        UserError: what cannot be a fair comparison, or is no study at all.
    """
    base = config.to_dict()
    study = base.pop("study")
    variants = {name: _flat(changes) for name, changes in study["variants"].items()}
    _check(base, study, variants)
    # A ConfigDict knows no order but that of names.
    variants = {study["baseline"]: variants[study["baseline"]]} | variants
    study["baselines"] = _baselines(variants, study)
    score = study.pop("score")
    if score == "auto":
        score = TASKS.get(base["task"]["name"]).main_score
    grid, grids = _flat(study.pop("grid")), study.pop("grids")
    study["variants"] = variants
    study["seeds"] = tuple(study["seeds"])
    study["evaluations"] = _evaluations(base, study)
    study["suites"] = _suites(base, study)
    study["shard"] = _shard(study["shard"])
    return Study(
        base=base, settings=_settings(variants, grid, grids=grids), score=score, **study
    )


def _evaluations(
    base: Mapping[str, Any], study: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Returns the changes of each evaluation, that of the test split first."""
    test = study["test_split"]
    named = {name: _flat(changes) for name, changes in study["evaluations"].items()}
    if test in named:
        raise UserError(
            f"config.study.evaluations: {test!r} is the name of study.test_split, which "
            f"is always scored. Give this evaluation another name."
        )
    found = {test: {}} | named
    for name, changes in found.items():
        changes.setdefault("eval.split", test)
        _check_evaluation(base, changes, where=f"config.study.evaluations: {name!r}")
    return found


def _check_evaluation(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, where: str
) -> None:
    """Raises `UserError` over what would be found out after all training otherwise."""
    experiment = changed_experiment(base, changes, where=where)
    for key in changes:
        if not key.startswith(_EVALUATED):
            raise UserError(
                f"{where}: expected keys that a trained model can be scored with "
                f"({', '.join(_EVALUATED)}), got {key!r}."
            )
    split = changes["eval.split"]
    if not isinstance(split, str) or not split or "," in split:
        raise UserError(
            f"{where}: expected one split in eval.split, got {split!r}. Give each split an "
            f"evaluation of its own."
        )
    try:
        resolve(experiment, on_cpu=True)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _suites(base: Mapping[str, Any], study: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(study["suites"], str):
        raise UserError(
            f"config.study.suites: expected a list of names, got {study['suites']!r}."
        )
    suites = tuple(dict.fromkeys(study["suites"]))
    if suites:
        passes_of(suites, task=base["task"]["name"])
    for name in (LOCALIZATION, *((*suites, ROBUSTNESS) if suites else ())):
        if name in study["evaluations"]:
            raise UserError(
                f"config.study.evaluations: {name!r} is the name of "
                f"{'another score' if name == LOCALIZATION else 'a suite'}. Give this "
                f"evaluation another name."
            )
    return suites


def _baselines(variants: Mapping[str, Any], study: Mapping[str, Any]) -> dict[str, str]:
    """Returns what each variant is compared with; a baseline is compared with itself."""
    own = dict(study["baselines"])
    for name in (name for pair in own.items() for name in pair):
        if name not in variants:
            raise UserError(
                f"config.study.baselines: no variant {name!r}.{nearest(name, variants)}"
            )
    found = dict.fromkeys(variants, str(study["baseline"]))
    found |= {name: name for name in own.values()} | own
    for name, baseline in found.items():
        if found[baseline] != baseline:
            raise UserError(
                f"config.study.baselines: {name!r} is compared with {baseline!r}, so that "
                f"one cannot be compared with {found[baseline]!r}. Leave one of them out."
            )
    return found


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return flat(dict(values)) if values else {}


def _settings(
    variants: Mapping[str, Any], grid: dict[str, Any], *, grids: Mapping[str, Any]
) -> dict[str, tuple[dict[str, Any], ...]]:
    """Returns all combinations of each variant's grid."""
    for name in grids:
        if name not in variants:
            raise UserError(
                f"config.study.grids: no variant {name!r}.{nearest(name, variants)}"
            )
    settings = {}
    for name in variants:
        own = grid | _flat(grids.get(name, {}))
        rows = itertools.product(*own.values())
        settings[name] = tuple(dict(zip(own, row, strict=True)) for row in rows)
    counts = {name: len(trials) for name, trials in settings.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise UserError(
            f"config.study.grid: every variant needs as many trials as every other, and "
            f"one at least, got {counts}."
        )
    return settings


def _check(base: Mapping[str, Any], study: Mapping[str, Any], variants: Any) -> None:
    """Raises `UserError` over keys of a study that do not make one."""
    if study["baseline"] not in variants:
        raise UserError(
            f"config.study.baseline: no variant {study['baseline']!r}."
            f"{nearest(study['baseline'], variants)} Known: {', '.join(variants)}."
        )
    seeds = study["seeds"]
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"config.study.seeds: expected different seeds, got {seeds}.")
    if study["matched"] not in _MATCHED:
        raise UserError(
            f"config.study.matched: expected one of {', '.join(_MATCHED)}, got "
            f"{study['matched']!r}."
        )
    if not 0 < study["tolerance"] < 1 or study["jobs"] < 1:
        raise UserError(
            f"config.study: expected a tolerance in (0, 1) and jobs of 1 or more, got "
            f"tolerance={study['tolerance']}, jobs={study['jobs']}."
        )
    splits = [base["data"]["train_split"], base["eval"]["split"], study["test_split"]]
    if len(set(splits)) < 3 or any("," in split for split in splits):
        raise UserError(
            f"config.study: expected three different splits to train on, to choose on and "
            f"to score at the end, got data.train_split, eval.split and study.test_split "
            f"of {', '.join(map(repr, splits))}."
        )
    there = flat(dict(base))
    unset = [key for key in _SET if there.get(key) is None]
    if there.get("train.steps") is None and there.get("train.epochs") is None:
        unset.append("train.steps")
    if unset:
        raise UserError(
            f"config.study: the base experiment leaves {', '.join(unset)} to the hardware; "
            f"set it, so that the study is the same on every machine."
        )


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(
            f"config.study.shard: expected i/n with i from 1 to n, as 2/3, got {text!r}."
        )
    return int(found[1]), int(found[2])
