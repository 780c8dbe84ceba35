"""Where the heads of an attention layer look, and a ViT through all of its blocks."""

from collections.abc import Sequence

import jax

from hybrid_jax.explaining.explanation import CellMap
from hybrid_jax.explaining.methods.rollout import rollout
from hybrid_jax.explaining.observed_model import AttentionRecord, joined
from hybrid_jax.explaining.token_layout import Layout, Layouts


def distinct_names(records: Sequence[AttentionRecord]) -> list[str]:
    """Returns the paths as text, with #2, #3, ... for further calls of the same layer."""
    names: list[str] = []
    for record in records:
        path, number = joined(record.path), 1
        name = path
        while name in names:
            number += 1
            name = f"{path}#{number}"
        names.append(name)
    return names


def heads_on_image(
    weights: jax.Array, layouts: Layouts, *, has_cls: bool
) -> CellMap | None:
    """Returns what every head reads of each cell, (B, heads, h, w).

    That is the attention of the class token where it is among the queries, else the mean
    over all queries, or over those that are cells. None if the keys are no cells.

    Args:
        weights: (B, heads, N, M).
        layouts: of the fusion.
        has_cls: whether the first token of a prefix is a class token that is read.
    """
    keys, queries = layouts.of(weights.shape[-1]), layouts.of(weights.shape[-2])
    if keys is None:
        return None
    prefix = 0 if queries is None else queries.prefix
    # Windows leave the prefix to a call of its own.
    alone = queries is None and weights.shape[-2] == keys.prefix
    if has_cls and (prefix or alone):
        row = weights[:, :, 0]
    else:
        row = weights[:, :, prefix:].mean(2)
    return CellMap(keys.shares_to_map(row), min(keys.strides))


def rollout_on_image(
    blocks: Sequence[jax.Array],
    layouts: Sequence[Layout],
    *,
    probe: jax.Array | None,
    has_cls: bool,
) -> CellMap:
    """Returns the rollout of a ViT over the cells of its first block, (B, h, w).

    It is read where the model reads its tokens: at the class token, by the attention of
    the pooling, or as the mean of the patch tokens. Each sums to at most 1.

    Args:
        blocks: weights of every block, (B, heads, N, N).
        layouts: of the tokens of every block.
        probe: weights of attention pooling (B, heads, 1, N without prefix), or None.
        has_cls: whether the first token is a class token that is read.
    """
    bridges = [
        None if before.count == after.count else before.coarser(after)
        for before, after in zip((layouts[0], *layouts[:-1]), layouts, strict=True)
    ]
    total = rollout(blocks, bridges=bridges)
    patches = total[:, layouts[-1].prefix :]
    if probe is not None:
        row = (probe.mean(1) @ patches)[:, 0]
    elif has_cls:
        row = total[:, 0]
    else:
        row = patches.mean(1)
    return CellMap(layouts[0].shares_to_map(row), min(layouts[0].strides))
