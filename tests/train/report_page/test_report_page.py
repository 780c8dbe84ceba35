"""`report.html`: everything of a workdir, nothing of the network, no text as markup."""

import html.parser
import json
import re

import pytest
from etils import epath
from fake_workdir import NAMES, STEPS, fake_workdir

from hybrid_jax.errors import UserError
from hybrid_jax.train.report_page.comparison import page_of_runs
from hybrid_jax.train.report_page.page import write_page
from hybrid_jax.train.report_page.run_files import read_run
from hybrid_jax.train.report_page.run_names import breakable

VOID = {"meta", "img", "line", "rect", "polyline", "circle", "input", "wbr"}


class Elements(html.parser.HTMLParser):
    """Collects elements with their attributes, and sees that they are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def attributes(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def page_of(path):
    return write_page(epath.Path(path)).read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(fake_workdir(tmp_path_factory.mktemp("run") / "tiny"))


def test_page_has_every_part(page):
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == [
        *("Result", "Reproduce", "Curves", "Classes", "Mistakes"),
        *("Predictions", "Data", "Cost", "Configuration"),
    ]
    found = Elements(page)
    links = [attrs["href"] for attrs in found.attributes("a")]
    assert links == [f"#{title.lower()}" for title in titles]
    assert {attrs["id"] for attrs in found.attributes("section")} == {x[1:] for x in links}
    captions = re.findall("<figcaption>(.*?)<", page)
    expected = {"Loss", "Scores on validation", "Learning rate", "Gradient norm", "Speed"}
    assert expected | {"Confusion matrix", "Calibration"} <= set(captions)


def test_page_says_the_best_score_and_the_last_ones(page):
    assert "<strong>90.00 %</strong> top1 on validation, best of the run, step 20" in page
    assert "Step 40, validation: loss 1 · top1 80.00 % · count 30" in page


def test_page_needs_no_network_and_is_small(page):
    assert len(page.encode()) < 3_000_000
    for name, attrs in Elements(page).found:
        assert name not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "data", "action", "srcset"):
            assert attrs.get(key, "#").startswith(("#", "data:image/")), (name, attrs)
    assert "url(" not in page
    assert "@import" not in page


def test_names_that_are_markup_stay_text(page):
    found = Elements(page)
    scripts = found.attributes("script")
    charts = page.count('class="chart"')
    # One for each chart, which is JSON, and the page's own.
    assert scripts == [{"type": "application/json"}] * charts + [{}]
    assert not [a for _, attrs in found.found for a in attrs if a.startswith("on")]
    assert len(found.attributes("img")) == 3
    assert any(NAMES[1] in text for text in found.texts)
    assert NAMES[1] not in page


def test_data_of_charts_is_json_that_cannot_end_its_element(tmp_path):
    path = fake_workdir(tmp_path / "run")
    with open(path / "metrics.jsonl", "a") as file:
        row = {"step": STEPS, "split": "</script><b>", "loss": 1.0, "<!--<script>": 0.5}
        file.write(json.dumps(row) + "\n")
    page = page_of(path)
    assert not [a for a in Elements(page).attributes("script") if a.get("type") is None][1:]
    texts = re.findall(r'<script type="application/json">(.*?)</script>', page)
    names = [name for text in texts for name in json.loads(text)["names"]]
    assert "</script><b>" in names
    assert "<!--<script>" in names


def test_page_of_a_run_that_was_killed(tmp_path):
    path = fake_workdir(tmp_path / "run", whole=False)
    rows = (path / "metrics.jsonl").read_bytes()
    (path / "metrics.jsonl").write_bytes(rows[: len(rows) // 2] + b'{"step": 3\xff')
    page = page_of(path)
    Elements(page)
    assert "The run has not ended: it is at step" in page
    assert "There is no findings.json" in page
    assert "<figcaption>Loss" in page


def test_page_of_a_run_with_one_evaluation(tmp_path):
    path = fake_workdir(tmp_path / "run")
    rows = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(rows[:21]))
    page = page_of(path)
    Elements(page)
    assert "90.00 %" in page


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "dataset.json", "report.json", "config.json"]
)
@pytest.mark.parametrize(
    "damage",
    [
        None,
        "",
        "{",
        "[1]",
        '{"step": NaN, "split": 3}\n',
    ],
)
def test_page_of_a_workdir_with_a_missing_or_damaged_file(tmp_path, name, damage):
    path = fake_workdir(tmp_path / "run")
    (path / name).unlink()
    if damage is not None:
        (path / name).write_text(damage)
    Elements(page_of(path))


def test_rows_without_a_number_of_their_step_are_left_out(tmp_path):
    path = fake_workdir(tmp_path / "run")
    before = page_of(path)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": "9", "split": "train", "loss": 1.0}\n')
    assert page_of(path) == before


@pytest.mark.parametrize("found", ['{"table": []}', '{"version": 0, "best": 3}'])
def test_findings_of_another_version_are_left_out(tmp_path, found):
    path = fake_workdir(tmp_path / "run")
    (path / "findings.json").write_text(found)
    page = page_of(path)
    Elements(page)
    assert "There is no findings.json of this version" in page


def test_place_without_a_run_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="neither config.json nor metrics.jsonl"):
        page_of(tmp_path)
    assert not list(tmp_path.iterdir())


def test_keys_that_are_no_default_are_marked(page):
    (changed,) = re.findall(r'aria-label="Changed keys">(.*?)</table>', page, re.S)
    keys = re.findall(r'<th scope="row">(.*?)</th>', changed)
    assert "train.steps" in keys
    assert "log.every" not in keys
    (every,) = re.findall(r'aria-label="All keys">(.*?)</table>', page, re.S)
    assert "● train.steps" in every
    assert "● log.every" not in every
    assert "log.every" in every


def test_runs_are_compared(tmp_path):
    paths = [fake_workdir(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    rows = (paths[1] / "metrics.jsonl").read_text().replace('"top1": 0.9', '"top1": 0.75')
    (paths[1] / "metrics.jsonl").write_text(rows)
    page = page_of_runs([read_run(epath.Path(path)) for path in paths])
    Elements(page)
    (results,) = re.findall(r'aria-label="Results">(.*?)</table>', page, re.S)
    assert re.findall(r'class="main">(.*?)<', results) == ["90.00 %", "80.00 %"]
    (keys,) = re.findall(r'aria-label="Keys that differ">(.*?)</table>', page, re.S)
    assert re.findall(r'<th scope="row">(.*?)</th>', keys) == ["seed"]
    assert "<figcaption>top1" in page


def test_runs_with_long_names_are_told_apart(tmp_path):
    names = [f"r26-folder=birds,fusion=cross_attention,seed={n}" for n in range(2)]
    runs = [read_run(epath.Path(fake_workdir(tmp_path / name))) for name in names]
    page = page_of_runs(runs)
    Elements(page)
    (costs,) = re.findall(r'aria-label="Costs">(.*?)</table>', page, re.S)
    heads = re.findall(r'<th scope="col">(.*?)</th>', costs)
    assert heads == ["", "1: r26-fold…attention,seed=0", "2: r26-fold…attention,seed=1"]
    assert "facts" not in costs, "its head is not shown"
    (results,) = re.findall(r'aria-label="Results">(.*?)</table>', page, re.S)
    first, second = re.findall(r'<th scope="row">(.*?)</th>', results)
    assert re.sub("<.*?>", "", first) == f"1: {names[0]}"
    assert re.sub("<.*?>", "", second) == f"2: {names[1]}"


def test_long_names_are_broken_after_commas_and_slashes():
    assert breakable("a/<b>,,c") == (
        '<span class="piece">a/</span><wbr/><span class="piece">&lt;b&gt;,,</span>'
        '<wbr/><span class="piece">c</span>'
    )
    assert re.sub("<.*?>", "", breakable(",/a")) == ",/a"
    assert breakable("") == ""


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    paths = [fake_workdir(tmp_path / name / "run") for name in "ab"]
    page = page_of_runs([read_run(epath.Path(path)) for path in paths])
    assert "a/run, b/run" in re.sub("<.*?>", "", page)
