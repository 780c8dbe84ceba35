"""`--mode=report`: what runs came to, as pages made of their workdirs alone."""

from collections.abc import Sequence

import jax
from etils import epath

from hybrid_jax.config import changed
from hybrid_jax.errors import UserError
from hybrid_jax.train.checkpoints.scored_run import scored_run
from hybrid_jax.train.checkpoints.workdir import saved_config, write_whole
from hybrid_jax.train.parallel.distributed import is_main_process
from hybrid_jax.train.report_page.comparison import page_of_runs
from hybrid_jax.train.report_page.page import PAGE_FILE, write_page
from hybrid_jax.train.report_page.run_files import config_fault, read_run
from hybrid_jax.train.reporting.findings_file import FINDINGS_FILE, write_findings
from hybrid_jax.train.reporting.heartbeat import Heartbeat, print_above_bars
from hybrid_jax.train.told_evaluation import told_evaluations


def report(workdirs: Sequence[str], *, output: str | None = None) -> list[epath.Path]:
    """Writes the page of each run and, of several runs, one page that compares them.

    What the page shows of single predictions is in `findings.json`. Where a run has none,
    one evaluation of its best checkpoint makes it; where that cannot be done, as without
    the data, one line says why and the page does without.

    A run named twice counts once. Among several runs, one whose `config.json` is damaged
    is left out, and a line says so.

    Args:
        workdirs: of runs, finished or not.
        output: the file of one run, or of the comparison; `report.html` in the workdir,
            `comparison.html` in the first one, if None.

    Returns:
        The files, the comparison last.

    Raises:
        UserError: no workdir, or one without a run; or `output` is a folder; or no run has
            a `config.json` that can be read.
    """
    if not workdirs or not all(workdirs):
        raise UserError("--mode=report: give --workdir=PATH, or several: --workdir=A,B.")
    paths = _whole_runs([epath.Path(each).expanduser().absolute() for each in workdirs])
    for path in paths:
        read_run(path)  # a mistyped name is told before anything is computed
    target = None if output is None else epath.Path(output).expanduser().absolute()
    if target is not None and target.is_dir():
        raise UserError(
            f"--output: expected a file for the page, such as {target / PAGE_FILE}, got "
            f"the folder {target}."
        )
    notes = [_missing_findings(path) for path in paths]
    if _is_another_process():
        return []
    alone = len(paths) == 1
    pages = [
        write_page(path, output=target if alone else None, notes=[note] if note else [])
        for path, note in zip(paths, notes, strict=True)
    ]
    if not alone:
        pages.append(target or paths[0] / "comparison.html")
        write_whole(pages[-1], page_of_runs([read_run(path) for path in paths]))
    for page in pages:
        print(f"report: {page}", flush=True)
    return pages


def _whole_runs(paths: Sequence[epath.Path]) -> list[epath.Path]:
    """Returns the workdirs, each once, whose config is not damaged; tells of the others."""
    faults = {path: config_fault(path) for path in paths}
    whole = [path for path, fault in faults.items() if not fault]
    if not whole:
        raise UserError(
            f"--workdir: {'; '.join(faults.values())}. It tells what the run was. Put it "
            f"back from a copy, or remove it to see the curves alone."
        )
    if not _is_another_process():
        for fault in filter(None, faults.values()):
            print(f"note: {fault}; this run is left out", flush=True)
    return whole


def _is_another_process() -> bool:
    """Whether the main process does the work; asks no accelerator, which a run may have."""
    return jax.distributed.is_initialized() and not is_main_process()


def _missing_findings(workdir: epath.Path) -> str:
    """Makes `findings.json` where there is none; returns why it could not, or ""."""
    if (workdir / FINDINGS_FILE).exists():
        return ""
    try:
        _evaluate(workdir)
    except Exception as error:  # noqa: BLE001 - the page has much to show without
        reason = " ".join(str(error).split()) or type(error).__name__
        note = f"no evaluation for the report of {workdir.name}: {reason}"
        if not _is_another_process():
            print(f"note: {note}", flush=True)
        return f"{note[0].upper()}{note[1:]}"
    return ""


def _evaluate(workdir: epath.Path) -> None:
    """Scores the best checkpoint of a run on its first split and writes the findings."""
    config, count = saved_config(workdir), jax.device_count()
    # The run may have had more devices.
    here = {"mesh.data": count, "mesh.fsdp": 1, "mesh.tensor": 1}
    here |= {"train.batch_size": count, "train.accumulate": 1}
    here |= {"eval.batch_size": -(-config.eval.batch_size // count) * count}
    here |= {"eval.split": config.eval.split.partition(",")[0], "log.report_page": True}
    with Heartbeat(say=print_above_bars) as heartbeat:
        heartbeat.doing("opening the data and restoring the checkpoint")
        experiment, state, sources = scored_run(changed(config, here), workdir)
        heartbeat.doing(None)
        [(split, source)] = sources.items()
        make = getattr(experiment.task, "findings", None)
        findings = make(source) if make is not None and is_main_process() else None
        watchers = () if findings is None else (findings,)
        told_evaluations(experiment, state, sources, heartbeat=heartbeat, watchers=watchers)
    if is_main_process():
        write_findings(
            workdir,
            experiment,
            source=source,
            findings=findings,
            step=int(state.step),
            split=split,
        )
