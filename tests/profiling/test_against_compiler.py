"""The estimate for TPUs against what their compiler needed, as `docs/profiling.md` has it.

The figures are GiB of arguments and temporary buffers of one v5e chip, by
`benchmarks/topology_table.py` with jax 0.10.2 and libtpu 0.0.42.1, one compilation each.
"""

import importlib.util
import pathlib

import pytest

from hybrid_jax.profiling.profile import describe

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
FSDP = {"mesh.data": 1, "mesh.fsdp": -1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "argument", "changes", "devices", "compiled"),
    [
        ("r26_vit_b16", "size=224,batch=1024", FSDP, 8, 10.05),
        ("r26_vit_b16", "size=224,batch=16384", FSDP, 256, 5.61),
        ("r26_vit_s32", "size=224,batch=1024", {}, 8, 4.12),
        ("r26_vit_s32", "size=224,batch=16384", {}, 256, 2.84),
        ("r50_vit_l32", "size=384,batch=256", FSDP, 8, 9.27),
        ("r50_vit_l32", "size=384,batch=4096", FSDP, 256, 4.84),
        ("r_vit_ti16", "size=224,batch=1024", {}, 8, 0.98),
        ("resnet50", "size=224,batch=512", {}, 8, 3.03),
        ("r26_vit_s16", "fusion=conformer,size=224,batch=256", {}, 8, 2.57),
        ("voc_r26_vit_s_fcos", "", {"data.image_size": 512}, 8, 4.01),
        ("ade20k_r26_vit_s_fpn", "", {}, 8, 1.87),  # two images a chip
        ("shapes_detection", "shapes,batch=64", {}, 8, 0.0357),
    ],
)
def test_estimate_is_within_15_per_cent(name, argument, changes, devices, compiled):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(argument)
    with config.ignore_type():
        config.update_from_flattened_dict(changes)
    found = describe(config, platform="tpu", devices=devices).memory.total / 2**30
    assert 0.85 < found / compiled < 1.15, f"{found:.2f} GiB"
