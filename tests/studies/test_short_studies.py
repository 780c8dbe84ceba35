"""One short run of each kind of the named studies, from the command line to the table."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from small_run import ROOT, environment, run_well

SHORT = """
from hybrid_jax.config_files import named


def get_config(argument=""):
    config = named(argument)
    config.unlock()
    config.train.update(steps=2, batch_size=8)
    config.eval.every = config.checkpoint.every = 2
    config.log.report_page = False
    study = config.study
    study.variants = {{name: study.variants[name] for name in {keep}}}
    study.baselines = {{n: b for n, b in study.baselines.items() if n in {keep}}}
    study.update(seeds=(0,), baseline={keep}[0])
    study.grid.optimizer.learning_rate = (1e-3,)
    return config
"""
MAIN = [sys.executable, "-m", "hybrid_jax.main"]


def carry_out(folder, name, *, keep):
    file = folder / "short.py"
    file.write_text(SHORT.format(keep=keep))
    words = [f"--config={file}:{name}", f"--workdir={folder / 'study'}"]
    run_well([*MAIN, "--mode=study", *words], env=environment(), cwd=ROOT)
    found = json.loads((folder / "study" / "study.json").read_text())
    assert set(found["variants"]) == set(keep)
    for variant in found["variants"].values():
        assert variant["outcomes"]["final"] == {"finished": 1}
        assert variant["mean"] is not None
    return {
        run["variant"]: folder / "study" / "runs" / run["name"] for run in found["runs"]
    }


@pytest.mark.slow  # two trainings and two evaluations
def test_amounts_of_data(tmp_path):
    keep = ("resnet_2", "vit_2")
    runs = carry_out(tmp_path, "studies/data_amounts_cifar:digits", keep=keep)
    output = (runs["vit_2"] / "output.txt").read_text()
    assert "30 of 1,444 training examples are used" in output
    table = (tmp_path / "study" / "study.md").read_text()
    assert "less resnet_2" in table


@pytest.mark.slow  # a donor, its export, two trainings and two evaluations
@pytest.mark.parametrize(("half", "form"), [("resnet", "safetensors"), ("vit", "npz")])
def test_grafts(tmp_path, half, form):
    donor = tmp_path / "donor"
    words = [f"--config=cifar_small:digits,steps=2,fusion={half}", f"--workdir={donor}"]
    run_well([*MAIN, *words], env=environment(), cwd=ROOT)
    export = ["--mode=export", f"--format={form}"]
    run_well([*MAIN, *words, *export], env=environment(), cwd=ROOT)
    runs = carry_out(
        tmp_path,
        f"studies/grafting_cifar:half={half},donor={donor},digits",
        keep=("scratch", "frozen"),
    )
    outputs = {name: (run / "output.txt").read_text() for name, run in runs.items()}
    assert "loaded" not in outputs["scratch"]
    lines = outputs["frozen"].splitlines()
    [loaded] = [line for line in lines if line.startswith(f"{half} ")]
    assert " arrays " in loaded


@pytest.mark.slow  # two trainings, and two evaluations of 1,000 images of each
def test_views(tmp_path):
    keep = ("resnet", "vit")
    runs = carry_out(tmp_path, "studies/localization_shapes", keep=keep)
    found = json.loads((tmp_path / "study" / "study.json").read_text())
    own = dict(resnet="resnet", vit="transformer")
    for name, variant in found["variants"].items():
        views = variant["localization"]
        assert list(views["of"]) == [own[name]]
        assert 0.1 < views["uniform"] < 0.7
        file = runs[name] / "localization_test.json"
        [(view, row)] = json.loads(file.read_text())["views"].items()
        assert views["scores"][f"energy_{view}"]["mean"] == row["energy_in_boxes"]
        assert views["scores"][f"pointing_{view}"]["mean"] == row["pointing_game"]


@pytest.mark.slow  # two trainings and two evaluations of 1,000 images each
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_boxes_and_masks(tmp_path, task):
    keep = ("resnet", "conformer")
    carry_out(tmp_path, f"studies/dense_halves:shapes_{task}", keep=keep)


@pytest.mark.slow  # two trainings and two evaluations
def test_fusions_are_compared_on_a_folder(tmp_path):
    photos = tmp_path / "photos"
    for number, name in enumerate(("cat", "dog")):
        (photos / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.full((40, 50, 3), 100 * number + i, np.uint8)
            Image.fromarray(pixels).save(photos / name / f"{i}.png")
    words = f"studies/compare:folder={photos},fusions=resnet+late_concat+conformer"
    carry_out(tmp_path, words, keep=("resnet", "late_concat"))
    assert (tmp_path / "study" / "plots" / "score_by_macs.svg").exists()
