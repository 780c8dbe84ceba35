"""Names and numbers of runs."""

import pytest
import stub_study

from hybrid_jax.studies.planning.plan import finals, number_of_runs, own_first, trials
from hybrid_jax.studies.results.choice import at_an_edge, choose
from hybrid_jax.studies.settings import study_of


def planned(**options):
    return study_of(stub_study.config(**options))


def names(study):
    return [run.name for run in trials(study)]


def test_names_are_those_of_the_day_they_were_made():
    # A name that changes makes every finished study run again.
    assert names(planned())[:3] == [
        "resnet-eee57c81bd",
        "late_concat-a8c83854b7",
        "sequential-f692fcf866",
    ]


def test_names_do_not_depend_on_what_else_is_planned():
    alone = planned(variants={"resnet": {"model.fusion": "resnet"}}, seeds=(0, 7), jobs=1)
    assert names(alone)[0] == names(planned())[0]


def test_names_tell_experiments_apart():
    study = planned()
    others = {"optimizer.learning_rate": 0.5}
    runs = trials(study) + finals(study, dict.fromkeys(study.variants, others))
    assert len({run.name for run in runs}) == len(runs)
    longer = stub_study.config()
    longer.train.steps = 11
    assert not set(names(study_of(longer))) & set(names(study))


def test_what_a_run_prints_is_no_part_of_its_name():
    config = stub_study.config()
    config.log.every = 7
    assert names(study_of(config)) == names(planned())


def test_experiments_have_variant_setting_and_seed():
    run = trials(planned(seeds=(5, 6)))[-1]
    experiment = run.experiment
    assert experiment.model.fusion == run.variant == "sequential"
    assert experiment.optimizer.learning_rate == 1e-2
    assert experiment.seed == 5
    assert experiment.checkpoint.best_metric == "top1"


def test_every_variant_has_as_many_trials_and_the_first_seed_is_one_of_them():
    study = planned()
    tried = trials(study)
    assert [run.variant for run in tried] == [*study.variants] * 2
    chosen = {name: settings[1] for name, settings in study.settings.items()}
    last = finals(study, chosen)
    assert {run.name for run in last[:3]} == {run.name for run in tried[3:]}
    both = {run.name for run in [*tried, *last]}
    assert len(both) == number_of_runs(study) == 18


def test_shards_begin_with_different_runs_and_have_all():
    runs = trials(planned())
    shards = [own_first(runs, (i, 3)) for i in (1, 2, 3)]
    firsts = [{run.name for run in shard[:2]} for shard in shards]
    assert len(set().union(*firsts)) == len(runs)
    assert all(len(shard) == len(runs) for shard in shards)


def test_choice_is_the_best_that_finished():
    runs = trials(planned())
    results = [dict(status="finished", score=0.5) for _ in runs]
    results[3] = dict(status="finished", score=0.6)
    results[1] = results[4] = dict(status="diverged", score=None)
    chosen = choose(runs, results)
    assert chosen[runs[0].variant] == runs[3].setting
    assert chosen[runs[1].variant] is None
    assert chosen[runs[2].variant] == runs[2].setting  # of equals, the first


@pytest.mark.parametrize(("rate", "edge"), [(1, True), (2, False), (3, True)])
def test_setting_at_the_end_of_its_grid_is_told(rate, edge):
    settings = [{"a.rate": value} for value in (3, 1, 2)]
    assert at_an_edge({"a.rate": rate}, settings) == (["a.rate"] if edge else [])


def test_only_setting_is_at_no_edge():
    assert at_an_edge({"a.rate": 1}, [{"a.rate": 1}]) == []
