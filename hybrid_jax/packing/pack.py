"""`--mode=pack`: any data as a few large files with random access, for `records:`."""

import concurrent.futures
import dataclasses
import json
import os
import sys
import time
from typing import Any

from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from hybrid_jax.config.splits_read import splits_read
from hybrid_jax.contracts import DatasetInfo, Source
from hybrid_jax.data.checks.unused_bits import refuse_unused_bits
from hybrid_jax.data.formats.record_folder import FINISHED, FORMAT, PackedSplit, Shard
from hybrid_jax.data.sources import open_split
from hybrid_jax.errors import BadAnnotationError, BadImageError, UserError
from hybrid_jax.packing.listing import listing_of
from hybrid_jax.packing.packed_example import Packer
from hybrid_jax.packing.shard_plan import claim_folder, examples_per_shard, ranges
from hybrid_jax.packing.write_shard import write_shard, written_shard
from hybrid_jax.train.parallel.distributed import is_main_process

# What changes examples on their way from the source. What is done about bad ones may
# change in between, as their messages advise.
_SETTINGS = ("name", "ignore_label", "label_map", "reduce_zero_label")


def pack(
    config: ConfigDict, workdir: str, *, output: str | None, max_side: int | None = None
) -> dict[str, int]:
    """Writes every split as shards of ArrayRecord with a `dataset.json`.

    Files of images are packed byte by byte, so a run on the packed copy sees the same
    pixels. Annotations are packed as training would see them: checked, ids of masks
    mapped. A packing that was interrupted goes on at the shard it was at.

    Args:
        config: of the run that the data is for.
        workdir: not used.
        output: folder or bucket path.
        max_side: px of the longer side; larger images are made smaller. None for none.

    Returns:
        Split -> examples that were packed.

    Raises:
        UserError: no output, one that holds another packing, or what `open_split` raises.
        BadImageError, BadAnnotationError: of an example that the config does not skip.
    """
    del workdir
    if not output:
        raise UserError(
            "--mode=pack: expected --output=PATH, a folder or bucket, got none."
        )
    if max_side is not None and max_side < 1:
        raise UserError(f"--max_side: expected px, one or more, got {max_side}.")
    if not is_main_process():
        return {}
    folder = epath.Path(output).expanduser()
    packers = {
        split: _packer(source, config.data, max_side=max_side)
        for split, source in _splits(config).items()
    }
    settings = _settings(config.data, packers, output=output, max_side=max_side)
    per_shard = claim_folder(
        folder,
        settings,
        plan=lambda: {split: examples_per_shard(p) for split, p in packers.items()},
    )
    for left in folder.glob("*.part"):  # by a packing that was killed
        left.unlink()
    packed = _written(folder, packers, config, per_shard=per_shard)
    content = dict(
        format=FORMAT,
        packed_from=settings,
        splits={split: of_split.to_json() for split, of_split in packed.items()},
    )
    arriving = folder / f"{FINISHED}.tmp"
    arriving.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    arriving.replace(folder / FINISHED)
    print(f"read it with config.data.name=records:{folder}", flush=True)
    return {s: sum(shard.examples for shard in p.shards) for s, p in packed.items()}


def _settings(
    data: ConfigDict, packers: dict[str, Packer], *, output: str, max_side: int | None
) -> dict[str, Any]:
    """Returns what the packed files depend on."""
    sources = {split: packer.source for split, packer in packers.items()}
    return {key: _plain(data[key]) for key in _SETTINGS} | {
        "max_side": max_side,
        "gray_range": _plain(data.gray_range) or None,
        "splits": {split: len(source) for split, source in sources.items()},
        "classes": _classes(sources[data.train_split].info),
        "listing": listing_of(data.name, sources.values(), output=output),
    }


def _splits(config: ConfigDict) -> dict[str, Source]:
    """Returns the splits that a run reads, and validation and test if they are there."""
    sources = {s: open_split(config.data, split=s) for s in splits_read(config)}
    refuse_unused_bits(sources[config.data.train_split], config.data)
    for split in ("validation", "test"):
        if split not in sources:
            try:
                sources[split] = open_split(config.data, split=split)
            except UserError as error:
                print(f"no {split} split is packed: {error}", flush=True)
    return sources


def _packer(source: Source, data: ConfigDict, *, max_side: int | None) -> Packer:
    choices = {
        BadImageError: data.on_bad_image,
        BadAnnotationError: data.on_bad_annotation,
    }
    return Packer(
        source=source,
        skip=tuple(error for error, choice in choices.items() if choice == "skip"),
        data=data,
        max_side=max_side,
    )


def _written(
    folder: epath.Path,
    packers: dict[str, Packer],
    config: ConfigDict,
    *,
    per_shard: dict[str, int],
) -> dict[str, PackedSplit]:
    """Writes the shards that are not there yet."""
    threads = config.data.threads or min(16, os.cpu_count() or 1)
    packed = {}
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for split, packer in packers.items():
            total = len(packer.source)
            bar = tqdm(
                total=total,
                desc=f"packing {split}",
                leave=False,
                disable=not (config.log.progress and sys.stderr.isatty()),
            )
            parts = ranges(total, per_shard=per_shard[split])
            shards, new, started = [], 0, time.perf_counter()
            for number, (start, stop) in enumerate(parts):
                path = folder / f"{split}-{number:05d}-of-{len(parts):05d}.array_record"
                if path.exists():
                    shards.append(written_shard(path))
                    bar.update(stop - start)
                    continue
                span = dict(start=start, stop=stop)
                shards.append(
                    write_shard(path, packer, **span, pool=pool, wrote=bar.update)
                )
                new += stop - start
            bar.close()
            _say(split, shards, of=total, new=new, seconds=time.perf_counter() - started)
            packed[split] = PackedSplit(_info(packer), tuple(shards))
    return packed


def _info(packer: Packer) -> DatasetInfo:
    """Returns that of the source; what was odd about it was said when it was packed."""
    info = packer.source.info
    if packer.max_side is not None and info.largest_hw is not None:
        largest = tuple(min(side, packer.max_side) for side in info.largest_hw)
        info = dataclasses.replace(info, largest_hw=largest)
    return dataclasses.replace(info, notes=())


def _classes(info: DatasetInfo) -> list[list[str]]:
    names = (info.class_names, info.box_names, info.segmentation_names)
    return [list(of_kind) for of_kind in names]


def _say(split: str, shards: list[Shard], *, of: int, new: int, seconds: float) -> None:
    examples = sum(shard.examples for shard in shards)
    size = sum(shard.size_bytes for shard in shards)
    left_out = f", {of - examples:,} left out" if examples < of else ""
    there = f", {of - new:,} packed before, as the data was then" if new < of else ""
    print(
        f"{split}: {examples:,} examples{left_out}{there}; {len(shards)} files, "
        f"{size / 1e6:,.1f} MB; {new / max(seconds, 1e-9):,.0f} images/s",
        flush=True,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
