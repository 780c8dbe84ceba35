"""The library's steps and timm's, for `accelerator.py paired`, each in its own process."""

import sys
import time
from collections.abc import Callable

from accelerator_cases import Case

Run = Callable[[int], None]
"""Runs that many steps and waits for the last."""

TIMM_NAMES = {
    ("r26_vit_s32", 224): "vit_small_r26_s32_224",
    ("r50_vit_b16", 224): "vit_base_r50_s16_224",
    ("r50_vit_l32", 384): "vit_large_r50_s32_384",
    ("vit_b16", 384): "vit_base_patch16_384",
    ("tiny", 64): "vit_tiny_patch16_224",  # no model of timm's is like `tiny`
}


def ours(case: Case) -> dict[str, Run]:
    """Returns the library's training and inference, compiled."""
    import dataclasses

    import jax
    from accelerator_program import Program

    def run_of(kind: str) -> Run:
        program = Program(dataclasses.replace(case, kind=kind))
        program.compile()
        call = program.ready()

        def run(count: int) -> None:
            for _ in range(count):
                last = call()
            jax.block_until_ready(last)

        return run

    return {kind: run_of(kind) for kind in ("train", "infer")}


def timm(case: Case) -> dict[str, Run]:
    """Returns timm's model under torch.compile, in its fastest form.

    Channels last, bfloat16 by autocast over float32 parameters, fused AdamW and the same
    clipping of gradients as ours. On a CPU nothing is compiled: it only shows that all
    runs.
    """
    import timm as timm_library
    import torch

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    model = timm_library.create_model(
        TIMM_NAMES[case.model, case.px], img_size=case.px, num_classes=1000
    )
    model = model.to(device, memory_format=torch.channels_last)
    forward = torch.compile(model) if on_gpu else model
    images = torch.randn(case.batch, 3, case.px, case.px, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(case.batch, device=device) % 1000
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, weight_decay=0.05, fused=on_gpu
    )

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def train(count: int) -> None:
        model.train()
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(forward(images), labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        wait()

    def infer(count: int) -> None:
        model.eval()
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            for _ in range(count):
                forward(images)
        wait()

    return dict(train=train, infer=infer)


WORKERS = dict(timm=timm, ours=ours)  # the first to be asked is the first to fail


def work(name: str, case: Case) -> None:
    """Answers each line `train N` or `infer N` on stdin with `took SECONDS`."""
    runs = WORKERS[name](case)
    for line in sys.stdin:
        kind, count = line.split()
        started = time.perf_counter()
        runs[kind](int(count))
        print("took", time.perf_counter() - started, flush=True)
