"""`accelerator.py table`: the library's own speed, and what single choices cost."""

import concurrent.futures
import gzip
import os
import pathlib

import jax
from accelerator_cases import Case, chosen, table_cases
from accelerator_flops import product_flops
from accelerator_kernels import top_kernels
from accelerator_program import Program
from accelerator_rows import Rows, seconds_since_start
from accelerator_timing import seconds_a_call

from hybrid_jax.chips import peak_flops

COLUMNS = (
    *("model", "px", "batch", "kind", "variant", "images_per_s", "step_ms", "spread_pct"),
    *("mfu_pct", "compile_s", "memory_gib"),
)
_GROUP = 8  # programs compiled together, then timed


def table(
    out: pathlib.Path,
    *,
    tiny: bool,
    words: list[str] | None,
    budget: float,
    seconds: float,
    trace: bool,
) -> None:
    """Measures all cases, those that matter most first, and prints a table.

    Args:
        out: folder for `table.json`.
        tiny: one small model, on any machine.
        words: that the names of cases hold, any of them; None for all.
        budget: seconds after which nothing more is begun.
        seconds: for the timing of each program.
        trace: whether to profile every case without a variant, and to keep its program.
    """
    rows = Rows(out / "table.json")
    device = jax.devices()[0]
    peak = peak_flops(device.device_kind)
    rows.add(
        device=device.device_kind,
        runtime=getattr(device.client, "platform_version", "").split("\n")[0],
        jax=jax.__version__,
        flags=os.environ.get("XLA_FLAGS", ""),
        peak_tflops=peak and peak / 1e12,
        product_tflops=round(product_flops(side=512 if tiny else 8192) / 1e12, 2),
    )
    cases = chosen(table_cases(tiny=tiny), words)
    for start in range(0, len(cases), _GROUP):
        if seconds_since_start() > budget:
            rows.add(out_of_time=[str(case) for case in cases[start:]])
            break
        for program in _compiled(cases[start : start + _GROUP], rows):
            try:
                _measure(program, rows, seconds=seconds, peak=peak)
                if trace and program.case.variant == "default":
                    rows.add(case=str(program.case), **top_kernels(program.ready()))
                    _keep_text(program, out)
            except Exception as error:  # out of memory, say: the others go on
                rows.failed(program.case, error)
    rows.print_table(*COLUMNS)


def _keep_text(program: Program, out: pathlib.Path) -> None:
    """Writes the compiled program, which says what its kernels compute."""
    case = program.case
    path = out / f"{case.model}_{case.px}_{case.kind}.hlo.txt.gz"
    path.write_bytes(gzip.compress(program.text().encode()))


def _compiled(cases: list[Case], rows: Rows) -> list[Program]:
    """Compiles in threads, which runs beside the tracing of the next case.

    All are compiled before one is timed: on GPUs the compiler times kernels on the device.
    """
    waiting = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for case in cases:
            try:
                program = Program(case)
            except Exception as error:  # a case that cannot be traced: the others go on
                rows.failed(case, error)
                continue
            waiting.append((program, pool.submit(program.compile)))
    done = []
    for program, future in waiting:
        error = future.exception()
        if error is None:
            done.append(program)
        else:
            rows.failed(program.case, error)
    return done


def _measure(program: Program, rows: Rows, *, seconds: float, peak: float | None) -> None:
    case = program.case
    step, spread = seconds_a_call(program.ready(), seconds=seconds)
    speed = case.batch / step
    rows.add(
        model=case.model,
        px=case.px,
        batch=case.batch,
        kind=case.kind,
        variant=case.variant,
        images_per_s=round(speed, 1),
        step_ms=round(1e3 * step, 2),
        spread_pct=round(100 * spread, 1),
        mfu_pct=round(100 * speed * program.flops / peak, 1) if peak else None,
        gflop_per_image=round(program.flops / 1e9, 2),
        trace_s=round(program.trace_seconds, 1),
        compile_s=round(program.compile_seconds, 1),
        memory_gib=round(program.memory_bytes() / 2**30, 2),
        fused_attention=program.text().count('custom_call_target="__cudnn$fmha'),
    )
