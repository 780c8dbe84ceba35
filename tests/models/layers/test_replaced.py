"""Variables that are replaced as a whole keep their values and ask for no sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hybrid_jax import create_model
from hybrid_jax.models.layers.replaced import Statistic, with_quick_counts


def drawn(rngs):
    return [jax.random.key_data(stream()) for stream in (rngs.params, rngs.dropout) * 3]


def test_streams_go_on_with_the_keys_of_flax():
    ours, theirs = (nnx.Rngs(params=3, dropout=5) for _ in range(2))
    np.testing.assert_array_equal(drawn(ours), drawn(theirs))
    assert with_quick_counts(ours) is ours
    np.testing.assert_array_equal(drawn(with_quick_counts(ours)), drawn(theirs))


def test_parts_of_a_statistic_can_be_set():
    statistic = Statistic(jnp.zeros(3))
    statistic[1] = 2.0
    np.testing.assert_array_equal(statistic[...], [0.0, 2.0, 0.0])
    assert isinstance(statistic, nnx.BatchStat)


def test_building_and_training_ask_no_tracer_for_its_sharding(monkeypatch):
    """JAX reads the program so far to say that there is none, each time."""

    def refuse(tracer):
        raise NotImplementedError("a tracer was asked for its sharding")

    def train(images):
        model = create_model("tiny", num_classes=3, resnet_options=dict(norm="batch"))
        return model(images, train=True).logits, nnx.state(model, nnx.BatchStat)

    images = jax.ShapeDtypeStruct((2, 32, 48, 3), jnp.float32)
    monkeypatch.setattr(jax.core.Tracer, "sharding", property(refuse))
    with pytest.raises(NotImplementedError):
        jax.eval_shape(lambda x: x.sharding, images)
    assert jax.eval_shape(train, images)[0].shape == (2, 3)
