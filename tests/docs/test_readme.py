"""The README stays a landing page, and what it lists is what there is."""

import re

import documents
import pytest

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS

README = documents.PAGES["README.md"]


def section(title: str) -> str:
    """Returns the text below a heading of the README."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.M | re.S)[1]


def test_readme_is_at_most_160_lines():
    assert len(README.splitlines()) <= 160


def test_table_of_fusions_is_the_registry():
    rows = [line for line in section("Fusions").splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == list(FUSIONS.names()), (
        "give each fusion one row of the table in README.md, below 'Fusions'"
    )


def test_number_of_fusions_is_right():
    count = f"{len(FUSIONS.names())} fusions × 3 tasks"
    assert count in README, f"write {count!r} in README.md"


def test_every_head_is_named():
    named = set(re.findall(r"`(\w+)`", section("Tasks and heads")))
    missing = set(HEADS.names()) - named
    assert not missing, f"name {missing} in README.md, below 'Tasks and heads'"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", documents.PAGES[page])
    missing = [link for link in links if not (documents.ROOT / link).exists()]
    assert links
    assert not missing


def test_page_of_benchmarks_has_the_marks_that_scripts_write_between():
    sources = [path.read_text() for path in documents.ROOT.glob("benchmarks/*.py")]
    names = re.findall(r'write_table\([\w.]+, "([^"]+)"', "".join(sources))
    page = documents.PAGES["docs/benchmarks.md"]
    assert names
    for name in names:
        assert re.search(f"<!-- {name} -->.*<!-- end of {name} -->", page, re.S), name
