"""The curves of a run, or of several over one another."""

from collections.abc import Sequence

from hybrid_jax.train.report_page.line_chart import Series, line_chart
from hybrid_jax.train.report_page.markup import Html, element
from hybrid_jax.train.report_page.run_files import RunFiles

_NO_SCORES = ("loss", "count", "skipped", "dropped", "vanished", "faulty", "cut_off")
# Of small, medium and large objects: twelve lines are too many.
_OF_SIZES = ("APs", "APm", "APl", "ARs", "ARm", "ARl")


def curves_of_run(run: RunFiles) -> Html:
    """Returns loss, scores, learning rate, gradient norms and speed over steps."""
    keys = run.keys("train")
    losses = [key for key in keys if key == "loss" or key.startswith("loss_")]
    norms = [key for key in keys if key.startswith("grad_norm")]
    charts = [
        line_chart(
            "Loss",
            [_series(run, "loss", split="train", name="training")]
            + [_series(run, "loss", split=split, name=split) for split in run.splits]
            + [_series(run, key, split="train", name=_words(key)) for key in losses[1:]],
            x_label="step",
            may_be_log=True,
        ),
        *(_scores(run, split) for split in run.splits),
        line_chart(
            "Learning rate",
            [_series(run, "learning_rate", split="train", name="learning rate")],
            x_label="step",
        ),
        line_chart(
            "Gradient norm",
            [_series(run, key, split="train", name=_words(key) or "all") for key in norms],
            x_label="step",
            may_be_log=True,
            note="before clipping",
        ),
        line_chart(
            "Speed",
            [_series(run, "images_per_second", split="train", name="images/s")],
            x_label="step",
            note="images per second",
        ),
        line_chart(
            "Waiting for data",
            [_series(run, "data_wait", split="train", name="share of time")],
            x_label="step",
            note="share of the time",
        ),
    ]
    return element("div", *filter(None, charts), class_="charts")


def curves_of_runs(runs: Sequence[RunFiles], names: Sequence[str]) -> Html:
    """Returns main score, losses and speed of runs over one another.

    Args:
        runs: to be compared.
        names: of the runs, each once.
    """
    split_of = [run.splits[0] if run.splits else "" for run in runs]
    score = runs[0].main_score
    wanted = [
        (score, "the main score, on validation", split_of),
        ("loss", "on validation", split_of),
        ("loss", "in training", ["train"] * len(runs)),
        ("images_per_second", "in training", ["train"] * len(runs)),
        ("learning_rate", "", ["train"] * len(runs)),
    ]
    charts = [
        line_chart(
            _words(key).capitalize() if key != score else score,
            [
                _series(run, key, split=split, name=name)
                for run, name, split in zip(runs, names, splits, strict=True)
            ],
            x_label="step",
            may_be_log=key == "loss",
            note=note,
        )
        for key, note, splits in wanted
    ]
    return element("div", *filter(None, charts), class_="charts")


def precision_chart(curves: Sequence[Sequence]) -> Html:
    """Returns precision over recall at IoU 0.5, of all classes and of single ones."""
    series = [
        Series(name, list(zip(recalls, precisions, strict=True)))
        for name, recalls, precisions in curves
    ]
    return line_chart(
        "Precision by recall", series, x_label="recall", y_range=(0.0, 1.0), note="IoU 0.5"
    )


def _scores(run: RunFiles, split: str) -> Html:
    keys = [key for key in run.keys(split) if key not in (*_NO_SCORES, *_OF_SIZES)]
    first = run.main_score
    keys = sorted(keys, key=lambda key: key != first)  # the main one in front
    series = [_series(run, key, split=split, name=key) for key in keys]
    return line_chart(f"Scores on {split}", series, x_label="step")


def _series(run: RunFiles, key: str, *, split: str, name: str) -> Series:
    return Series(name, run.points(key, split=split))


def _words(key: str) -> str:
    """Returns what a key is about: the branch of a norm, the term of a loss."""
    for prefix in ("grad_norm_", "grad_norm", "loss_"):
        if key.startswith(prefix):
            return key.removeprefix(prefix).replace("_", " ")
    return key.replace("_", " ")
