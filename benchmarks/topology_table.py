"""What the TPU compiler says of training steps: memory, time, what travels.

    python benchmarks/topology_table.py                     # all, 1 to 5 minutes each
    python benchmarks/topology_table.py --only=r26_vit_b16,segmentation
    python benchmarks/topology_table.py --only=r26_vit_b16 --option=xla_some_flag=true
    python benchmarks/topology_table.py --programs=/tmp/programs    # keeps their texts

Needs the TPU compiler (pip install -e '.[tpu]') and no TPU. Prints a row for each step as
soon as it is compiled. Configs are those of the repository, with some keys changed.

GiB are arguments and temporary buffers of one chip. The estimate is that of --mode=profile;
"activations" compares the temporary buffers alone with the estimate less state and batch.
ms are the compiler's own cycles, without waiting for the network, and MFU is the model's
arithmetic at the chip's peak over them. Collectives are counted as often as they run.
"""

import collections
import pathlib
import time

from absl import app, flags
from configs_path import load
from ml_collections import ConfigDict

from hybrid_jax.chips import chip_of
from hybrid_jax.data.placeholder_source import train_split_or_placeholder
from hybrid_jax.profiling.ahead_of_time import OutOfMemory, lower_train_step, tpu_devices
from hybrid_jax.profiling.profile import describe
from hybrid_jax.programs.collectives import Collective, collectives
from hybrid_jax.programs.estimated_cycles import estimated_seconds
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.measuring.utilization import training_flops_per_image

_ONLY = flags.DEFINE_list("only", [], "Names of rows; none: all.")
_TOPOLOGY = flags.DEFINE_string("topology", None, "Chips for all rows, as v5e:4x4.")
_PROGRAMS = flags.DEFINE_string("programs", None, "Folder for the programs' texts.")
_OPTION = flags.DEFINE_multi_string("option", [], "NAME=VALUE for the compiler.")

_FSDP = {"mesh.data": 1, "mesh.fsdp": -1}
_V5E_8, _V5E_256 = "v5e:2x4", "v5e:16x16"


def _blocks(loop: str, remat: str) -> dict[str, str]:
    options = dict(block_loop=loop, remat=remat)
    return {f"model.vit_options.{name}": value for name, value in options.items()}


_B16 = ("r26_vit_b16", "size=224,batch=1024")
_L16 = ("vit_b16", "size=224,batch=256")

# row -> topology, config, argument, what is changed
STEPS = {
    "r26_vit_b16": (_V5E_8, "r26_vit_b16", "size=224,batch=1024", _FSDP),
    "r26_vit_s32": (_V5E_8, "r26_vit_s32", "size=224,batch=1024", {}),
    "r50_vit_l32": (_V5E_8, "r50_vit_l32", "size=384,batch=256", _FSDP),
    "shapes_detection": (_V5E_8, "shapes_detection", "shapes,batch=64", {}),
    "shapes_segmentation": (_V5E_8, "shapes_segmentation", "shapes,batch=64", {}),
    "r_vit_ti16": (_V5E_8, "r_vit_ti16", "size=224,batch=1024", {}),
    "resnet50": (_V5E_8, "resnet50", "size=224,batch=512", {}),
    "conformer": (_V5E_8, "r26_vit_s16", "fusion=conformer,size=224,batch=256", {}),
    "detection": (_V5E_8, "voc_r26_vit_s_fcos", "", {"data.image_size": 512}),
    "segmentation": (_V5E_8, "ade20k_r26_vit_s_fpn", "", {}),
    "r26_vit_b16 scan": (_V5E_8, *_B16, _FSDP | _blocks("scan", "none")),
    "r26_vit_b16 remat": (_V5E_8, *_B16, _FSDP | _blocks("unrolled", "full")),
    "r26_vit_b16 scan remat": (_V5E_8, *_B16, _FSDP | _blocks("scan", "full")),
    "vit_l16 remat": (_V5E_8, *_L16, {"model.vit": "l"} | _blocks("unrolled", "full")),
    "vit_l16 scan remat": (_V5E_8, *_L16, {"model.vit": "l"} | _blocks("scan", "full")),
    "detection on 256": (
        _V5E_256,
        "voc_r26_vit_s_fcos",
        "",
        {"data.image_size": 512, "train.batch_size": 2048},
    ),
    "segmentation on 256": (
        _V5E_256,
        "ade20k_r26_vit_s_fpn",
        "",
        {"train.batch_size": 512},
    ),
    "r26_vit_b16 on 256": (_V5E_256, "r26_vit_b16", "size=224,batch=16384", _FSDP),
    "r26_vit_s32 on 256": (_V5E_256, "r26_vit_s32", "size=224,batch=16384", {}),
    "r50_vit_l32 on 256": (_V5E_256, "r50_vit_l32", "size=384,batch=4096", _FSDP),
}
_HEAD = (
    "step", "chips", "images a chip", "compiling, CPU s", "GiB", "estimate, GiB", "ratio",
    "activations", "ms", "MFU at most", "collectives", "MiB received",
)  # fmt: skip


def config_of(name: str, argument: str, changes: dict) -> ConfigDict:
    """Returns a config of the repository with some keys changed."""
    config = load(name).get_config(argument)
    with config.ignore_type():
        config.update_from_flattened_dict(changes)
    return config


def main(argv: list[str]) -> None:
    del argv
    options = dict(option.split("=", 1) for option in _OPTION.value)
    print(f"| {' | '.join(_HEAD)} |\n|---|{'---:|' * (len(_HEAD) - 1)}", flush=True)
    for row in _ONLY.value or STEPS:
        topology, *config = STEPS[row]
        topology = _TOPOLOGY.value or topology
        cells, text = measured(config_of(*config), topology, options)
        print(f"| {' | '.join((row, topology, *cells))} |", flush=True)
        if _PROGRAMS.value and text:
            folder = pathlib.Path(_PROGRAMS.value)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{row.replace(' ', '_')}.txt").write_text(text)


def measured(
    config: ConfigDict, topology: str, options: dict[str, str]
) -> tuple[tuple[str, ...], str]:
    """Compiles a step; returns its row after the first two cells, and the program."""
    devices = tpu_devices(topology)
    found = describe(config, platform="tpu", devices=len(devices))
    memory = found.memory
    source, _ = train_split_or_placeholder(config.data)
    experiment = prepare(config, source=source, devices=devices, continued=True)
    lowered, begin = lower_train_step(experiment), time.process_time()
    try:
        program = lowered.compile(compiler_options=options or None)
    except Exception as error:  # the compiler's message is the row
        if "RESOURCE_EXHAUSTED" not in str(error) and not isinstance(error, OutOfMemory):
            raise
        return (str(found.images_per_device), str(error).splitlines()[0]), ""
    spent = time.process_time() - begin
    needed, text = program.memory_analysis(), program.as_text()
    assert needed is not None
    assert text is not None
    compiled = needed.argument_size_in_bytes + needed.temp_size_in_bytes
    state = memory.parameters + memory.optimizer + memory.average + memory.batch
    seconds = estimated_seconds(text) or float("nan")
    chip = chip_of(devices[0].device_kind)
    assert chip is not None
    flops = training_flops_per_image(found.total_macs) * found.images_per_device
    sent = collectives(text)
    cells = (
        str(found.images_per_device),
        f"{spent:.0f}",
        f"{compiled / 2**30:.2f}",
        f"{memory.total / 2**30:.2f}",
        f"{memory.total / compiled:.2f}",
        f"{(memory.total - state) / needed.temp_size_in_bytes:.2f}",
        f"{1e3 * seconds:.1f}",
        f"{flops / chip.flops / seconds:.0%}",
        counted(sent),
        f"{sum(one.received_bytes for one in sent) / 2**20:,.0f}",
    )
    return cells, text


def counted(sent: list[Collective]) -> str:
    """Returns how often each kind of collective runs, the most frequent first."""
    number = collections.Counter()
    for one in sent:
        number[one.op] += one.times
    return ", ".join(f"{count} {op}" for op, count in number.most_common()) or "none"


if __name__ == "__main__":
    app.run(main)
