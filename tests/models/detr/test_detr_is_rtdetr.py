"""The head set up as RT-DETR's decoder, against transformers' own on the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parameters import names_and_leaves

from hybrid_jax.contracts import Features
from hybrid_jax.models.heads.detr import DETR

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: nothing to compare with"
)
torch = pytest.importorskip("torch", reason="torch is not installed")

CHANNELS = {8: 6, 16: 10}
HW = (64, 96)
D, LAYERS, K = 16, 3, 5
# Our module of a decoder layer -> transformers'.
IN_LAYER = {
    "self_attn.query": "self_attn.q_proj",
    "self_attn.key": "self_attn.k_proj",
    "self_attn.value": "self_attn.v_proj",
    "self_attn.out": "self_attn.o_proj",
    "add1.norm": "self_attn_layer_norm",
    "cross_attn.offsets": "encoder_attn.sampling_offsets",
    "cross_attn.weights": "encoder_attn.attention_weights",
    "cross_attn.value": "encoder_attn.value_proj",
    "cross_attn.out": "encoder_attn.output_proj",
    "add2.norm": "encoder_attn_layer_norm",
    "ffn.fc1": "mlp.fc1",
    "ffn.fc2": "mlp.fc2",
    "add3.norm": "final_layer_norm",
}
ELSEWHERE = {
    "selection.project": "enc_output.0",
    "selection.norm": "enc_output.1",
    "selection.head.logits": "enc_score_head",
    "decoder.position1": "decoder.query_pos_head.layers.0",
    "decoder.position2": "decoder.query_pos_head.layers.1",
}


def theirs():
    """A tiny RT-DETR whose weights all tell."""
    config = transformers.RTDetrConfig(
        backbone_config=transformers.RTDetrResNetConfig(
            embedding_size=4,
            hidden_sizes=[4, 4, 4, 4],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage3", "stage4"],
        ),
        encoder_in_channels=[4, 4],
        feat_strides=list(CHANNELS),
        encoder_hidden_dim=4,
        encoder_ffn_dim=4,
        encoder_attention_heads=2,
        encode_proj_layers=[1],
        d_model=D,
        num_queries=7,
        decoder_in_channels=list(CHANNELS.values()),
        decoder_ffn_dim=24,
        num_feature_levels=2,
        decoder_layers=LAYERS,
        decoder_attention_heads=4,
        num_labels=K,
        num_denoising=0,
        anchor_image_size=None,
    )
    model = transformers.RTDetrForObjectDetection(config).eval().model
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, array in model.state_dict().items():
            if "num_batches" not in name:
                noise = torch.randn(array.shape, generator=generator)
                fan = array[0].numel() ** 0.5 if array.ndim > 1 else 3.0
                array.copy_((1.0 if "var" in name else 0.0) + noise.abs() / fan)
                if "var" not in name:
                    array.copy_(noise / fan)
    return model


def module_names():
    """Our modules of linear maps and norms -> transformers'."""
    names = dict(ELSEWHERE)
    boxes = {"selection.head": "enc_bbox_head"}
    for i in range(LAYERS):
        names |= {
            f"decoder.layers.{i}.{a}": f"decoder.layers.{i}.{b}"
            for a, b in IN_LAYER.items()
        }
        names[f"decoder.heads.{i}.logits"] = f"decoder.class_embed.{i}"
        boxes[f"decoder.heads.{i}"] = f"decoder.bbox_embed.{i}"
    for a, b in boxes.items():
        names |= {f"{a}.box{n + 1}": f"{b}.layers.{n}" for n in range(3)}
    return names


def translated(state):
    """Their arrays under our names; a projection and its BatchNorm are one with a bias."""
    arrays = {}
    for a, b in module_names().items():
        weight = state[f"{b}.weight"]
        arrays[f"{a}.scale" if weight.ndim == 1 else f"{a}.kernel"] = weight.T
        arrays[f"{a}.bias"] = state[f"{b}.bias"]
    for i in range(len(CHANNELS)):
        p = {
            name: state[f"decoder_input_proj.{i}.1.{name}"]
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        factor = p["weight"] / np.sqrt(p["running_var"] + 1e-5)
        kernel = state[f"decoder_input_proj.{i}.0.weight"][:, :, 0, 0]
        arrays[f"memory.project.{i}.kernel"] = (kernel.T * factor)[None, None]
        arrays[f"memory.project.{i}.bias"] = p["bias"] - p["running_mean"] * factor
    return arrays


def test_selection_refinement_and_points_are_those_of_rtdetr():
    model = theirs()
    rng = np.random.default_rng(0)
    maps = {s: rng.normal(size=(2, HW[0] // s, HW[1] // s, c)) for s, c in CHANNELS.items()}
    maps = {s: x.astype(np.float32) for s, x in maps.items()}
    with torch.no_grad():
        expected = model(
            pixel_values=None,
            inputs_embeds=torch.zeros(2, 1),
            encoder_outputs=(
                [torch.from_numpy(x).permute(0, 3, 1, 2) for x in maps.values()],
            ),
        )
    options = dict(attention="deformable", query_selection=True, input_norm=False)
    sizes = dict(
        num_queries=7, hidden_dim=D, num_heads=4, mlp_dim=24, decoder_layers=LAYERS
    )
    head = nnx.eval_shape(
        lambda: DETR(
            CHANNELS,
            width=3,
            num_classes=K,
            dtype="float32",
            rngs=nnx.Rngs(params=0),
            strides=(8, 16),
            **options,
            **sizes,
        )
    )
    graph, state = nnx.split(head)
    arrays = translated({k: v.numpy() for k, v in model.state_dict().items()})
    assert set(arrays) == set(names_and_leaves(state))
    state = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(
            arrays[jax.tree_util.keystr(path, simple=True, separator=".")], leaf.dtype
        ),
        nnx.to_pure_dict(state),
    )

    @jax.jit
    def ours(state, maps):
        return nnx.merge(graph, state)(Features(maps=maps, pooled=jnp.zeros((2, 3))))

    outputs = ours(state, maps)
    close = dict(atol=1e-4)
    np.testing.assert_allclose(outputs.proposals.logits, expected.enc_topk_logits, **close)
    np.testing.assert_allclose(
        outputs.proposals.boxes_cxcywh, expected.enc_topk_bboxes, **close
    )
    for i, boxes in enumerate(outputs.layers):
        np.testing.assert_allclose(
            boxes.logits, expected.intermediate_logits[:, i], **close
        )
        np.testing.assert_allclose(
            boxes.boxes_cxcywh, expected.intermediate_reference_points[:, i], **close
        )
