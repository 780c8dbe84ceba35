"""All that the README tells people to type, run: commands in order, and its Python.

In the default suite models are tiny and forks of one process run them; with `-m slow` each
command is a process of its own, with larger models, and one step is trained.
"""

import json
import sys

import documents
import forked_commands
import pytest
import readme_steps
import small_run
from readme_steps import STEPS

SECONDS_AT_MOST = 1800  # of a command that hangs
# `load_pretrained` would download: its arguments are checked, and a new model returned.
BEFORE = f"""
import functools, inspect
import hybrid_jax
from hybrid_jax.pretrained.load import load_pretrained
from hybrid_jax.pretrained.published import PUBLISHED

hybrid_jax.create_model = functools.partial(
    hybrid_jax.create_model, **{readme_steps.TINY_MODEL}
)

def stub(source, **options):
    inspect.signature(load_pretrained).bind(source, **options)
    assert source.removeprefix("hf://") in str(PUBLISHED), source
    return hybrid_jax.create_model("r26_vit_b16", num_classes=10), "a report"

hybrid_jax.load_pretrained = stub
"""
AFTER = """
assert logits.shape == (2, 10)
assert sorted(features.maps) == [4, 8] and features.pooled.shape == (2, 32)
assert [len(answer.labels) for answer in answers] == [5, 5], answers
"""


def test_table_has_every_command_of_the_readme_and_no_other():
    assert readme_steps.commands() == list(STEPS)


def test_readme_runs_at_a_tiny_size(tmp_path):
    data = readme_steps.make_folder(tmp_path)
    (python,) = documents.blocks(documents.PAGES["README.md"], "python")
    steps = [
        dict(words=readme_steps.words(command, (step.changes or {}) | step.tiny, data=data))
        for command, step in STEPS.items()
        if step.tiny is not None
    ]
    steps.append(dict(python=python + AFTER, before=BEFORE))
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    run = [sys.executable, forked_commands.__file__, "steps.json"]
    done = small_run.run_well(run, cwd=tmp_path)
    assert done.stdout.count("$ python") == len(steps)
    workdir = tmp_path / "runs" / "r26_vit_b16"
    assert (workdir / "report.html").exists()
    assert (
        len([*workdir.glob("predictions/*.png"), *workdir.glob("predictions/*.jpg")]) == 2
    )
    assert (workdir / "explanations" / "explanation.json").exists()
    assert "--config=r26_vit_b16" in done.stdout  # of --help
    assert "a report" in done.stdout


@pytest.mark.slow
def test_readme_runs_at_its_own_size(tmp_path):
    data = readme_steps.make_folder(tmp_path)
    for command, step in STEPS.items():
        if step.changes is None and step.tiny is None:
            continue
        for asked in filter(None, (step.needs, command)):
            words = readme_steps.words(asked, step.changes or {}, data=data)
            done = small_run.run_well(
                [sys.executable, *words[1:]], cwd=tmp_path, timeout=SECONDS_AT_MOST
            )
            print(asked, "\n", done.stdout[-300:])
    runs = {path.name for path in (tmp_path / "runs").iterdir()}
    assert {"r26_vit_b16", "shapes_detection"} < runs
    assert len(runs) == 4
