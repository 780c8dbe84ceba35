"""All that the README tells people to type, run: commands in order, and its Python.

In the default suite models are tiny, with `-m slow` larger, and one step is trained.
"""

import functools
import inspect
import sys

import documents
import pytest
import readme_steps
import small_run
from readme_steps import STEPS

import hybrid_jax
from hybrid_jax.pretrained.files.published import PUBLISHED
from hybrid_jax.pretrained.load import load_pretrained

SECONDS_AT_MOST = 1800  # of a command that hangs
AFTER = """
assert logits.shape == (2, 10)
assert sorted(features.maps) == [4, 8] and features.pooled.shape == (2, 32)
assert [len(answer.labels) for answer in answers] == [5, 5], answers
"""


def test_table_has_every_command_of_the_readme_and_no_other():
    assert readme_steps.commands() == list(STEPS)


@pytest.fixture
def tiny_api(monkeypatch):
    """Makes the model of the README's Python tiny, and downloads nothing.

    The arguments of `load_pretrained` are checked, and a new model returned.
    """
    create = functools.partial(hybrid_jax.create_model, **readme_steps.TINY_MODEL)

    def stub(source, **options):
        inspect.signature(load_pretrained).bind(source, **options)
        assert source.removeprefix("hf://") in str(PUBLISHED), source
        return create("r26_vit_b16", num_classes=10), "a report"

    monkeypatch.setattr(hybrid_jax, "create_model", create)
    monkeypatch.setattr(hybrid_jax, "load_pretrained", stub)


def test_readme_runs_at_a_tiny_size(tmp_path, tiny_api, monkeypatch, capsys):
    data = readme_steps.make_folder(tmp_path)
    said = ""
    for command, step in STEPS.items():
        if step.tiny is None:
            continue
        changes = (step.changes or {}) | step.tiny
        words = readme_steps.words(command, changes, data=data)
        said += small_run.run_well([sys.executable, *words[1:]], cwd=tmp_path).stdout
    workdir = tmp_path / "runs" / "r26_vit_b16"
    assert (workdir / "report.html").exists()
    assert (
        len([*workdir.glob("predictions/*.png"), *workdir.glob("predictions/*.jpg")]) == 2
    )
    assert (workdir / "explanations" / "explanation.json").exists()
    assert "--config=r26_vit_b16" in said  # of --help
    (python,) = documents.blocks(documents.PAGES["README.md"], "python")
    monkeypatch.chdir(tmp_path)
    exec(python + AFTER, {})
    assert "a report" in capsys.readouterr().out


@pytest.mark.slow
def test_readme_runs_at_its_own_size(tmp_path):
    data = readme_steps.make_folder(tmp_path)
    for command, step in STEPS.items():
        if step.changes is None and step.tiny is None:
            continue
        for asked in filter(None, (step.needs, command)):
            words = readme_steps.words(asked, step.changes or {}, data=data)
            done = small_run.run_well(
                [sys.executable, *words[1:]],
                cwd=tmp_path,
                timeout=SECONDS_AT_MOST,
                forked=False,
            )
            print(asked, "\n", done.stdout[-300:])
    runs = {path.name for path in (tmp_path / "runs").iterdir()}
    assert {"r26_vit_b16", "shapes_detection"} < runs
    assert len(runs) == 4
