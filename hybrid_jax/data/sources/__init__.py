"""Where examples come from: `open_source("digits", split="train")`.

A source is one file in this package with one function registered under the word before
the colon of `data.name`; it gets the text after the colon and the split.
"""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from hybrid_jax.contracts import Source
from hybrid_jax.data.checks.checked_source import CheckedSource
from hybrid_jax.data.checks.first_look import faults_note, first_look, refuse_mostly_wrong
from hybrid_jax.data.checks.source_checks import check_class_names
from hybrid_jax.data.example_share import ExampleShare
from hybrid_jax.data.formats.classes.class_names import one_class_note
from hybrid_jax.data.mapped_masks import MappedMasks
from hybrid_jax.data.reading import reading_as
from hybrid_jax.errors import UserError
from hybrid_jax.registry import Registry

SOURCES = Registry("data source", package="hybrid_jax.data.sources")

_ANYWHERE = ("records", "tfds", "hf_dataset")  # kinds that say themselves what they lack
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def open_source(name: str, *, split: str) -> Source:
    """Returns random access to one split of a data set.

    Args:
        name: `KIND` or `KIND:LOCATION`, e.g. "digits" or "folder:/data/birds".
        split: "train", "validation", "test", or another split the data set has.

    Raises:
        UserError: no such kind, data set, location or split.
    """
    kind, _, location = name.partition(":")
    opened = SOURCES.get(kind)
    _check_local(kind, location)
    return opened(location, split=split)


def open_split(data: ConfigDict, *, split: str) -> Source:
    """Returns one split as a config wants it: every example checked, ids of masks mapped.

    Args:
        data: the `data` branch of a config.
        split: as in `open_source`.

    Where faulty annotations are to be skipped, some examples are looked at (`first_look`).

    Raises:
        UserError: as `open_source`, ids of masks are to be mapped and there are none, or
            most of the boxes are faulty.
        BadAnnotationError: an example is known to have no usable annotation, and such are
            not to be skipped.
    """
    source = checked_split(data, split=split)
    is_dense = source.info.box_names or source.info.segmentation_names
    if is_dense and data.on_bad_annotation == "skip":
        with reading_as(data):
            look = first_look(source)
        refuse_mostly_wrong(look, name=data.name, split=split)
        if note := faults_note(look, split=split):
            notes = (*source.info.notes, note)
            source.info = dataclasses.replace(source.info, notes=notes)
    return source


def checked_split(data: ConfigDict, *, split: str) -> Source:
    """Returns the same as `open_split`, however many of its annotations are faulty."""
    with reading_as(data):
        source = open_source(data.name, split=split)
    if split == data.train_split and data.train_fraction < 1.0:
        source = ExampleShare(source, fraction=data.train_fraction)
    for key in ("reduce_zero_label", "ignore_label", "label_map"):
        if data[key] and not source.info.segmentation_names:
            raise UserError(
                f"config.data.{key}: expected {type(data[key])()!r}, because the data "
                f"{data.name!r} has no masks."
            )
        if data[key] and getattr(source, "packed_from", {}).get(key):
            raise UserError(
                f"config.data.{key}: expected {type(data[key])()!r}, because {data.name!r} "
                f"was packed with it, and so it would change the masks twice."
            )
    _check_gray_range(source, data)
    if data.ignore_label or data.label_map:
        source = MappedMasks(
            source, ignore_label=tuple(data.ignore_label), label_map=data.label_map
        )
    check_class_names(data.name, info=source.info)
    checked = CheckedSource(
        source,
        skip=data.on_bad_annotation == "skip",
        called=f"data {data.name!r}, {split}",
        reduce_zero_label=data.reduce_zero_label,
    )
    if note := one_class_note(checked.info.segmentation_names):
        notes = (*checked.info.notes, note)
        checked.info = dataclasses.replace(checked.info, notes=notes)
    return checked


def _check_gray_range(source: Source, data: ConfigDict) -> None:
    """Raises `UserError` if packed images would be seen otherwise than when packed."""
    packed = getattr(source, "packed_from", {}).get("gray_range")
    if packed and tuple(packed) != tuple(data.gray_range):
        raise UserError(
            f"config.data.gray_range: expected {tuple(packed)}, with which {data.name!r} "
            f"was packed, got {tuple(data.gray_range)}: its files are the original ones."
        )


def _check_local(kind: str, location: str) -> None:
    """Raises `UserError` for a location that is not a folder or file on this machine."""
    if kind in _ANYWHERE:
        return
    for place in location.split(","):
        if "://" in place:
            raise UserError(
                f"data {kind + ':' + location!r}: {place.strip()} is not on this machine, "
                f"and {kind}: reads folders alone, since millions of small files are slow "
                f"elsewhere. Copy the data here; to train from a bucket, pack it with "
                f"--mode=pack --output=gs://..., and read it with records=gs://..."
            )
        path = pathlib.Path(place.strip()).expanduser()
        if path.name.lower().endswith(_ARCHIVES) and path.is_file():
            raise UserError(
                f"data {kind + ':' + location!r}: {path} is an archive. Unpack it, and "
                f"name the folder."
            )
