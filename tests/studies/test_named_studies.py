"""The studies in `configs/studies/`."""

import sys

import pytest
from absl import flags
from ml_collections import config_flags

from hybrid_jax.config_files import folder, named, study_lines
from hybrid_jax.models.hybrid import list_fusions
from hybrid_jax.studies.planning.matching import check_matched
from hybrid_jax.studies.planning.plan import trials
from hybrid_jax.studies.planning.sizes import size_of, sizes_of
from hybrid_jax.studies.settings import study_of


@pytest.mark.parametrize("name", study_lines())
def test_study_is_well_formed(name):
    study = study_of(named(name))
    assert len(study.seeds) >= 3
    assert len(study.settings[study.baseline]) >= 3
    for variant, settings in study.settings.items():
        fusion = study.experiment(variant, settings[0], seed=0).model.fusion
        assert fusion in list_fusions()


@pytest.mark.slow  # traces about 60 models
@pytest.mark.parametrize(
    "name", [*study_lines(), "studies/dense_halves:shapes_segmentation"]
)
def test_variants_are_matched(name):
    study = study_of(named(name))
    check_matched(study, sizes_of(study, size_of), size_of)


def test_every_fusion_is_every_fusion():
    assert set(study_of(named("studies/every_fusion")).variants) == set(list_fusions())


def test_wirings_are_every_fusion_and_keep_their_names():
    study = study_of(named("studies/wirings_cifar"))
    assert set(study.variants) == set(list_fusions())
    # Runs that were made under these names would have to be made again.
    firsts = {run.variant: run.name for run in trials(study)[: len(study.variants)]}
    expected = ("resnet-beb5288860", "vit-9d503e7c01", "conformer-ec9f0c3758")
    assert [firsts[name.rpartition("-")[0]] for name in expected] == [*expected]


def test_amounts_are_compared_with_the_resnet_on_as_much_data():
    study = study_of(named("studies/data_amounts_cifar"))
    share = "data.train_fraction"
    assert len(study.variants) == 20
    for name, baseline in study.baselines.items():
        assert study.variants[baseline]["model.fusion"] == "resnet"
        assert study.variants[baseline][share] == study.variants[name][share]
    # Runs on all data are not made again in the workdir of the wirings.
    others = {run.name for run in trials(study_of(named("studies/wirings_cifar")))}
    on_all = {run.name for run in trials(study) if run.experiment.data.train_fraction == 1}
    assert len(on_all) == 15
    assert on_all < others


def test_grafts_differ_from_scratch_by_the_half_that_is_given():
    words = "half=vit,donor=/x/run,folder=/data/photos"
    study = study_of(named(f"studies/grafting_cifar:{words}"))
    assert study.base["data"]["name"] == "folder:/data/photos"
    file = {"model.pretrained_vit": "/x/run/export/model.npz"}
    assert study.variants["grafted"] == file
    assert study.variants["frozen"] == file | {"optimizer.branch.vit": 0.0}
    assert study.variants["scratch"] == {}
    assert study.variants["scratch_twice"] == {"train.steps": 2400}


def test_nested_argument_reaches_the_experiment():
    study = study_of(named("studies/dense_halves:bccd_fcos:voc=/data/x,seed=3"))
    assert study.base["data"]["name"] == "voc:/data/x"
    assert study.base["task"]["name"] == "detection"
    assert study.variants["resnet"]["model.resnet_options.blocks"] == (2, 2, 2)


def test_runs_on_shapes_are_short_unless_words_say_otherwise():
    short = study_of(named("studies/dense_halves")).base["train"]
    assert (short["steps"], short["epochs"], short["batch_size"]) == (400, None, 16)
    words = "studies/dense_halves:shapes_segmentation:shapes"
    assert study_of(named(f"{words},steps=2000")).base["train"]["steps"] == 2000
    assert study_of(named(f"{words},batch=48")).base["train"]["batch_size"] == 48


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("studies/localization_shapes:shapes", (32, 400, None)),
        ("studies/halves_accelerator:digits", (256, None, 100.0)),
        ("studies/every_fusion:shapes", (16, 800, None)),
    ],
)
def test_words_of_the_length_of_runs_are_not_overruled(name, usual):
    def length(words=""):
        train = study_of(named(name + words)).base["train"]
        return train["batch_size"], train["steps"], train["epochs"]

    assert length() == usual
    assert length(",batch=48") == (48, *usual[1:])
    assert length(",steps=70") == (usual[0], 70, None)
    assert length(",epochs=3") == (usual[0], None, 3.0)


def test_norms_see_as_many_images_unless_words_say_otherwise():
    def length(words=""):
        train = study_of(named(f"studies/norms_cifar:shapes{words}")).base["train"]
        return train["batch_size"], train["steps"], train["epochs"]

    assert length(",batch=64") == (64, 600, None)
    assert length(",steps=70")[1:] == (70, None)
    assert length(",epochs=3")[1:] == (None, 3.0)


def test_scratch_is_twice_as_long_also_in_epochs():
    study = study_of(named("studies/grafting_cifar:folder=/data/photos,epochs=3"))
    assert study.variants["scratch_twice"] == {"train.epochs": 6.0}


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
def test_fewer_rates_and_seeds_are_given_as_the_page_says(monkeypatch):
    page = (folder().parent / "docs" / "studies.md").read_text()
    words = [
        '--config.study.grid.optimizer.learning_rate="(1e-3,)"',
        '--config.study.seeds="(0,)"',
    ]
    assert all(f"`{word}`" in page for word in words)
    path = folder() / "studies" / "compare.py"
    argv = ["main", f"--config={path}:digits", *(word.replace('"', "") for word in words)]
    monkeypatch.setattr(sys, "argv", argv)  # where the overrides are looked for
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(argv)
    study = study_of(values.config)
    assert study.seeds == (0,)
    for settings in study.settings.values():
        assert settings == ({"optimizer.learning_rate": 1e-3},)
