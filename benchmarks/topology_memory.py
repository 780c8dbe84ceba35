"""Memory of a training step: the estimate of --mode=profile against the TPU compiler.

    python benchmarks/topology_memory.py                     # all, 1 to 3 minutes each
    python benchmarks/topology_memory.py --only=r26_vit_b16,segmentation

Needs the TPU compiler (pip install -e '.[tpu]') and no TPU. Prints a row for each step as
soon as it is compiled, for eight v5e chips. "compiled" is arguments and temporary buffers
of one chip; "activations" compares the temporary buffers alone with the estimate less state
and batch. Configs are those of the repository, with what is listed here changed.
"""

from absl import app, flags
from configs_path import load
from ml_collections import ConfigDict

from hybrid_jax.data.placeholder_source import train_split_or_placeholder
from hybrid_jax.profiling.ahead_of_time import OutOfMemory, compile_train_step, tpu_devices
from hybrid_jax.profiling.profile import describe
from hybrid_jax.train.experiment import prepare

_ONLY = flags.DEFINE_list("only", [], "Names of rows; none: all.")
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x4", "Chips to compile for.")

_FSDP = {"mesh.data": 1, "mesh.fsdp": -1}

# row -> config, argument, what is changed
STEPS = {
    "r26_vit_b16": ("r26_vit_b16", "size=224,batch=1024", _FSDP),
    "r26_vit_s32": ("r26_vit_s32", "size=224,batch=1024", {}),
    "r50_vit_l32": ("r50_vit_l32", "size=384,batch=256", _FSDP),
    "r_vit_ti16": ("r_vit_ti16", "size=224,batch=1024", {}),
    "resnet50": ("resnet50", "size=224,batch=512", {}),
    "conformer": ("r26_vit_s16", "fusion=conformer,size=224,batch=256", {}),
    "detection": ("voc_r26_vit_s_fcos", "", {"data.image_size": 512}),
    "segmentation": ("ade20k_r26_vit_s_fpn", "", {}),
}


def config_of(name: str, argument: str, changes: dict) -> ConfigDict:
    """Returns a config of the repository with some keys changed."""
    config = load(name).get_config(argument)
    with config.ignore_type():
        config.update_from_flattened_dict(changes)
    return config


def main(argv: list[str]) -> None:
    del argv
    devices = tpu_devices(_TOPOLOGY.value)
    head = ("step", "images a chip", "estimate", "compiled", "ratio", "activations")
    print(f"MiB of one chip of {_TOPOLOGY.value}\n")
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}", flush=True)
    for row in _ONLY.value or STEPS:
        config = config_of(*STEPS[row])
        found = describe(config, platform="tpu", devices=len(devices))
        memory = found.memory
        source, _ = train_split_or_placeholder(config.data)
        experiment = prepare(config, source=source, devices=devices, continued=True)
        try:
            needed = compile_train_step(experiment).memory_analysis()
        except OutOfMemory as error:
            print(f"| {row} | {memory.total / 2**20:,.0f} | {error} |", flush=True)
            continue
        compiled = needed.argument_size_in_bytes + needed.temp_size_in_bytes
        state = memory.parameters + memory.optimizer + memory.average + memory.batch
        working = memory.total - state
        print(
            f"| {row} | {found.images_per_device} | {memory.total / 2**20:,.0f} | "
            f"{compiled / 2**20:,.0f} | {memory.total / compiled:.2f} | "
            f"{working / needed.temp_size_in_bytes:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
