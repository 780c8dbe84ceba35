"""`--mode=profile --topology=v5e:2x4`: the cost of a config on other accelerators."""

import re
from typing import Any

import jax
from ml_collections import ConfigDict

from hybrid_jax.chips import CHIPS, Chip, chip_named, chip_of
from hybrid_jax.data.placeholder_source import train_split_or_placeholder
from hybrid_jax.errors import UserError, nearest
from hybrid_jax.profiling.ahead_of_time import OutOfMemory, compile_train_step, tpu_devices
from hybrid_jax.profiling.description import Description
from hybrid_jax.profiling.profile import describe
from hybrid_jax.profiling.step_cost import StepCost, Traffic, traffic
from hybrid_jax.programs.collectives import collectives
from hybrid_jax.train.experiment import prepare
from hybrid_jax.train.measuring.utilization import training_flops_per_image
from hybrid_jax.train.parallel.distributed import is_main_process

# Memory accesses per residual: written and read forward, read backward, its gradient
# written and read. An assumption; it has not been compared with a compiler for GPUs.
_PASSES = 5


def profile_on(config: ConfigDict, workdir: str, *, topology: str) -> StepCost:
    """Prints the description of a config and the cost of its training step on a topology.

    The workdir is not used.

    Raises:
        UserError: see `cost_on` and `describe`.
    """
    del workdir
    chip, count = _chip_and_count(topology)
    prints = is_main_process()
    description = describe(config, platform="tpu" if chip.is_tpu else "gpu", devices=count)
    if prints:
        print(description, end="\n\n", flush=True)
        if chip.is_tpu:
            print(f"compiling for {topology}: 1 to 3 minutes", end="\n\n", flush=True)
    cost = _compiled(config, topology) if chip.is_tpu else _estimated(description, topology)
    if prints:
        print(cost, flush=True)
    return cost


def cost_on(config: ConfigDict, *, topology: str) -> StepCost:
    """Returns the cost of one training step on accelerators, which may be elsewhere.

    For TPUs the step is compiled (1 to 3 minutes, some GiB of memory), and memory, FLOPs
    and traffic are those of the program. For GPUs they are estimates from the traced model.

    Args:
        config: from a file in `configs/` or `hybrid_jax.config.defaults`.
        topology: "v5e:2x4" (TPU chips in rows and columns) or "h100:8" (GPUs).

    Raises:
        UserError: an unknown chip or layout, no TPU compiler on this machine, or an
            invalid config.
    """
    chip, count = _chip_and_count(topology)
    if chip.is_tpu:
        return _compiled(config, topology)
    return _estimated(describe(config, platform="gpu", devices=count), topology)


def _chip_and_count(topology: str) -> tuple[Chip, int]:
    """Parses a topology; returns the chip and the number of JAX devices."""
    name, _, layout = topology.partition(":")
    chip = chip_named(name)
    if chip is None:
        names = [chip.name for chip in CHIPS]
        raise UserError(
            f"--topology={topology}: unknown chip {name!r}.{nearest(name, names)} Known: "
            f"{', '.join(names)}. Examples: v5e:2x4, v5p:2x2x1, h100:8."
        )
    pattern = r"\d+(x\d+)+" if chip.is_tpu else r"[1-9]\d*"
    if not re.fullmatch(pattern, layout):
        expected = "chips as in v5e:2x4" if chip.is_tpu else "a number as in h100:8"
        raise UserError(
            f"--topology={topology}: expected {expected} after the colon, got {layout!r}."
        )
    if chip.is_tpu:
        return chip, len(tpu_devices(topology))
    return chip, int(layout)


def _compiled(config: ConfigDict, topology: str) -> StepCost:
    devices = tpu_devices(topology)
    source, _ = train_split_or_placeholder(config.data)
    experiment = prepare(config, source=source, devices=devices, continued=True)
    chip = chip_of(devices[0].device_kind)
    mesh = dict(experiment.mesh.shape)
    description = describe(config, platform="tpu", devices=len(devices))
    images = experiment.config.train.batch_size
    flops = training_flops_per_image(description.total_macs)
    common: dict[str, Any] = dict(
        topology=topology,
        chip=chip,
        devices=mesh,
        images=images,
        model_flops=flops * images / len(devices),
        compiled=True,
    )
    try:
        program = compile_train_step(experiment)
    except OutOfMemory as error:
        return StepCost(
            **common,
            memory={},
            peak=None,
            fits=False,
            flops=0.0,
            accessed=0.0,
            traffic=(),
            notes=(f"compiler: {error}",),
        )
    analysis, text = program.memory_analysis(), program.as_text()
    assert analysis is not None  # XLA gives both for TPUs
    assert text is not None
    costs = program.cost_analysis() or {}
    memory = {
        "state and batch": analysis.argument_size_in_bytes,
        "outputs besides the state": (
            analysis.output_size_in_bytes - analysis.alias_size_in_bytes
        ),
        "activations and workspace": analysis.temp_size_in_bytes,
        "program": analysis.generated_code_size_in_bytes,
    }
    peak = sum(memory.values())
    return StepCost(
        **common,
        memory=memory,
        peak=peak,
        fits=True,  # else the compiler raises an error
        flops=float(costs.get("flops", 0.0)),
        accessed=float(costs.get("bytes accessed", 0.0)),
        traffic=tuple(traffic(collectives(text), mesh)),
    )


def _estimated(description: Description, topology: str) -> StepCost:
    """Returns an estimate for GPUs, whose compiler needs a GPU."""
    chip, count = _chip_and_count(topology)
    memory, mesh = description.memory, dict(description.devices)
    images = description.images_per_device * mesh["data"] * mesh["fsdp"]
    # State is read and written once, gradients written and read once.
    state = memory.parameters + memory.optimizer + memory.average + memory.batch
    accessed = 2 * (state + memory.gradients) + _PASSES * memory.activations
    flops = training_flops_per_image(description.total_macs) * images / count
    parts = {
        "parameters": memory.parameters,
        "gathered parameters": memory.gathered,
        "optimizer": memory.optimizer,
        "average": memory.average,
        "batch": memory.batch,
        "accumulated gradients": memory.accumulated,
        "gradients": memory.gradients,
        "activations": memory.activations,
        "workspace": memory.workspace,
    }
    notes = ["times assume the chip's peak performance, which no kernel reaches"]
    if jax.default_backend() != "gpu":
        notes.append(
            "traced without a GPU: the memory includes attention weights, which the fused "
            "kernel does not store"
        )
    if mesh["tensor"] > 1:
        notes.append("communication and memory savings of the axis tensor are not counted")
    return StepCost(
        topology=topology,
        chip=chip,
        devices=mesh,
        images=images,
        memory=parts,
        peak=memory.total,
        fits=memory.total <= chip.memory,
        flops=0.0,
        model_flops=flops,
        accessed=float(accessed),
        traffic=tuple(_expected_traffic(description)),
        compiled=False,
        notes=tuple(notes),
    )


def _expected_traffic(description: Description) -> list[Traffic]:
    """Returns the traffic of data parallelism, with 16-bit parameters and gradients."""
    data, fsdp = (description.devices[axis] for axis in ("data", "fsdp"))
    whole = 2 * description.total_params // description.devices["tensor"]
    rows = []
    if fsdp > 1:
        around = whole * (fsdp - 1) // fsdp
        rows.append(Traffic("all-gather", ("fsdp",), 2, 2 * whole, 2 * around))
        rows.append(Traffic("reduce-scatter", ("fsdp",), 1, whole // fsdp, around))
    if data > 1:
        share = whole // fsdp
        around = 2 * share * (data - 1) // data
        rows.append(Traffic("all-reduce", ("data",), 1, share, around))
    return rows
