"""Attention of CPUs: the axis of heads is moved before that of tokens once."""

import jax
import jax.numpy as jnp

from hybrid_jax.array_types import AttentionBias, Keys, Queries


def attention(
    query: Queries, key: Keys, value: Keys, *, bias: AttentionBias | None
) -> Queries:
    """Returns the attention of every query to every key; arguments as in `dot_product`.

    With the heads behind the tokens, XLA copies tokens and weights, (N, M) per head, for
    most of the six products of attention and its gradient. That takes longer than the
    products themselves. The query is scaled in its own dtype, as by `stored_weights`.
    """
    query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    logits = jnp.einsum("bhnd,bhmd->bhnm", query, key, preferred_element_type=jnp.float32)
    if bias is not None:
        logits = logits + bias.astype(jnp.float32)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.swapaxes(jnp.einsum("bhnm,bhmd->bhnd", weights, value), 1, 2)
