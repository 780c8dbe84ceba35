"""Speed on one GPU or TPU: images/s, MFU, compile time, memory; and timm beside it.

    python benchmarks/accelerator.py table --trace --budget 280 --out bench
    python benchmarks/accelerator.py paired --budget 180 --out bench  # needs timm, torch
    python benchmarks/accelerator.py table --tiny                     # on any machine

`table` measures named models in training and inference, then what single choices cost
(`accelerator_cases.py` lists all). `paired` takes turns with timm under torch.compile in
one run. Every figure is printed as soon as it is known and kept in a JSON file in `--out`.
`--budget` is when nothing more is begun; what is in progress then takes a minute or two.
"""

import argparse
import os
import pathlib


def main() -> None:
    options = _options()
    if options.what == "work":
        _work(*options.words)
        return
    common = dict(
        tiny=options.tiny,
        words=options.only,
        budget=options.budget,
        seconds=options.seconds,
    )
    out = pathlib.Path(options.out)
    if options.what == "paired":
        from accelerator_paired import paired

        paired(out, **common)
    else:
        from accelerator_table import table

        _keep_programs()
        table(out, trace=options.trace, **common)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["table", "paired", "work"])
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help="a small model, anywhere")
    parser.add_argument("--trace", action="store_true", help="table: also the kernels")
    parser.add_argument("--only", nargs="+", help="words that the names of cases hold")
    parser.add_argument("--out", default="bench", help="folder for the JSON files")
    parser.add_argument("--budget", type=float, default=280.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=3.0, help="timed per program")
    return parser.parse_args()


def _work(name: str, model: str, px: str, batch: str) -> None:
    from accelerator_cases import Case
    from accelerator_workers import work

    if name == "ours":
        _keep_programs()
    work(name, Case(model, int(px), int(batch), "both"))


def _keep_programs() -> None:
    """Keeps compiled programs where `hybrid_jax.main` does, if HJ_CACHE says where."""
    import jax

    if os.environ.get("HJ_CACHE"):
        jax.config.update("jax_compilation_cache_dir", os.environ["HJ_CACHE"])


if __name__ == "__main__":
    main()
