"""Words after the colon that would change nothing in a study."""

import sys

import pytest
from absl.testing import flagsaver

from hybrid_jax import main
from hybrid_jax.config_files import named
from hybrid_jax.errors import UserError
from hybrid_jax.studies.overruled_words import refuse_overruled


def refused(name, argument):
    """Returns what is said of an argument of a study in `configs/studies`."""
    with pytest.raises(UserError) as error:
        refuse_overruled(named(f"studies/{name}:{argument}"), argument)
    return str(error.value)


def test_word_of_what_is_tried_is_refused():
    assert refused("compare", "digits,lr=0.1") == (
        "config argument: lr= would change nothing, since this study tries "
        "optimizer.learning_rate = 0.0003, 0.001, 0.003. Leave lr= out, or say what is "
        'tried with --config.study.grid.optimizer.learning_rate="(...)".'
    )


def test_seed_is_refused_since_a_study_has_several():
    said = refused("compare", "digits,seed=5")
    assert "seed= would change nothing, since this study has the seeds 0, 1, 2." in said


def test_word_of_what_every_variant_sets_is_refused():
    said = refused("tokens_cifar", "cifar10,fusion=resnet")
    assert "fusion= would change nothing" in said
    assert "has a model.fusion of its own: sequential. Leave fusion= out." in said


def test_word_of_an_experiment_that_is_named_is_refused():
    assert "lr= would" in refused("dense_halves", "shapes_detection:batch=8,lr=0.1")


def test_words_that_reach_the_runs_are_taken():
    argument = "digits,size=32,batch=8,steps=10,fusions=resnet+bifusion"
    refuse_overruled(named(f"studies/compare:{argument}"), argument)


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
def test_command_refuses_before_it_begins(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["--mode=study", "--config=studies/norms_cifar:cifar10,lr=0.1"]
    monkeypatch.setattr(sys, "argv", ["main.py", *words])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert capfd.readouterr().err.startswith("error: config argument: lr= would change")
    assert not list(tmp_path.iterdir())
