"""Workdirs of runs that never were: the files alone, as a run leaves them."""

import base64
import io
import json

import numpy as np
from PIL import Image

from hybrid_jax.config import changed, defaults, to_json
from hybrid_jax.train.reporting.findings_file import FINDINGS_VERSION

NAMES = ["cat", "<script>alert('x')</script>", 'dog & "cow"']
STEPS = 40


def fake_workdir(path, *, seed=0, whole=True):
    """Writes the files of a classification run of 40 steps; returns `path`.

    Args:
        path: the workdir, which is made.
        seed: of its numbers.
        whole: False leaves out what only a finished run has.
    """
    path.mkdir(parents=True, exist_ok=True)
    changes = {"seed": seed, "train.steps": STEPS, "checkpoint.best_metric": "top1"}
    (path / "config.json").write_text(to_json(changed(defaults("tiny"), changes)))
    dataset = dict(
        task="classification",
        classes=dict(label=NAMES),
        train_examples=1234,
        validation_examples=30,
    )
    (path / "dataset.json").write_text(json.dumps(dataset))
    rows = "".join(json.dumps(row) + "\n" for row in _rows(np.random.default_rng(seed)))
    (path / "metrics.jsonl").write_text(rows)
    if whole:
        report = dict(steps=STEPS, device="1 x cpu", jax="0.10", peak_host_gib=1.5)
        (path / "report.json").write_text(json.dumps(report))
        (path / "findings.json").write_text(json.dumps(_findings()))
    return path


def _rows(random):
    for step in range(1, STEPS + 1):
        yield dict(
            step=step,
            split="train",
            loss=3.0 / step + 0.1 * random.random(),
            grad_norm=2.0,
            grad_norm_vit=1.5,
            learning_rate=1e-3 * step / STEPS,
            images_per_second=100.0 + step,
            seconds_per_step=0.5,
            data_wait=0.01,
        )
        if step % 20 == 0:
            top1 = 0.9 if step == 20 else 0.8
            yield dict(step=step, split="validation", loss=1.0, top1=top1, count=30)


def _findings():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "png")
    src = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    labels = [
        dict(name=name, label=n, probability=0.5 / (n + 1)) for n, name in enumerate(NAMES)
    ]
    case = dict(
        name="<img src=x onerror=alert(1)>",
        score=0.5,
        truth=NAMES[1],
        labels=labels,
        pictures=[dict(title="annotated", src=src)],
    )
    return dict(
        version=FINDINGS_VERSION,
        step=STEPS,
        split="validation",
        command="python -m hybrid_jax.main --config=a --workdir='</pre><script>1</script>'",
        cost=dict(parameters=dict(resnet=1000, vit=234), macs=5_000_000),
        table=dict(
            columns=["class", "images", "recall", "precision", "F1"],
            rows=[[name, 10, 0.5, None, 0.25] for name in NAMES],
        ),
        confusion=dict(
            names=NAMES, counts=[[9, 1, 0], [0, 10, 0], [5, 0, 5]], unit="images"
        ),
        confused=[[NAMES[2], NAMES[0], 5]],
        calibration=[[10, 0.25, 0.5], [0, 0.0, 0.0], [30, 0.8, 0.7]],
        best=[case],
        worst=[case],
        samples=[case],
    )
