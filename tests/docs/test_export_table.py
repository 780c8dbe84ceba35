"""The table of exported pairs is made of what the test prints, and names what there is."""

import re

import documents
import export_table

from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS

LOG = """collected 144 items
tests/exporting/test_every_pair_exports.py vit linear any 0.0e+00
.vit dpt one 1.4e-06
.resnet linear any 1.2e-11
. 3 passed in 2.1 s
"""


def test_table_has_every_pair_of_the_log():
    assert export_table.table(LOG).splitlines() == [
        "| fusion | `dpt` | `linear` |",
        "|---|---|---|",
        "| `resnet` | – | 1.2e-11 |",
        "| `vit` | 1.4e-6 * | 0 |",
    ]


def test_table_is_written_between_its_marks(tmp_path, monkeypatch):
    page, log = tmp_path / "export.md", tmp_path / "log"
    page.write_text(
        "above\n<!-- exported pairs -->\nold\n<!-- end of exported pairs -->\nbelow"
    )
    log.write_text(LOG)
    monkeypatch.setattr(export_table, "PAGE", page)
    export_table.main(str(log))
    written = page.read_text()
    assert written.startswith("above\n<!-- exported pairs -->\n\n| fusion | `dpt`")
    assert written.endswith("| 1.4e-6 * | 0 |\n\n<!-- end of exported pairs -->\nbelow")


def test_page_names_fusions_and_heads_that_there_are_and_no_large_difference():
    page = documents.PAGES["docs/export.md"]
    begin, end = export_table._MARKS
    head, _, *rows = page.partition(begin)[2].partition(end)[0].strip().splitlines()
    named = re.findall(r"`(\w+)`", head)
    assert set(named) <= set(HEADS.names())
    assert len(rows) >= 18
    for row in rows:
        name, *cells = row.strip("| ").split(" | ")
        assert name.strip("`") in FUSIONS.names()
        assert len(cells) == len(named)
        for cell in cells:
            assert float(cell.replace("–", "0").strip("* ")) <= 1e-5
