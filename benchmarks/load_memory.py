"""Host memory and time of loading published weights, on one device and on a mesh.

    python benchmarks/load_memory.py                       # R50+ViT-L/32, 329 M parameters
    python benchmarks/load_memory.py --file=R26_S_32.npz --devices=8

Without `--file`, a file of the size and layout of the published R50_L_32 is written first,
with random numbers, in a process of its own. The peak is what the operating system says of
the loading process (resident memory, pages of the file included), less what the process
took before it opened the file.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def write(path: pathlib.Path) -> None:
    """Writes a file like R50_L_32 by exporting a model with random weights."""
    import jax
    import numpy as np
    from flax import nnx

    import hybrid_jax
    from hybrid_jax.pretrained.save import save_pretrained

    model = nnx.eval_shape(
        lambda: hybrid_jax.create_model("r50_vit_l32", num_classes=1000, image_size=224)
    )
    graph, state = nnx.split(model)
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda x: rng.random(x.shape, np.float32) * 0.02, state)
    save_pretrained(nnx.merge(graph, state), path)


def resident_bytes(field: str) -> int:
    """Returns a field of this process's memory, `VmRSS` now or `VmHWM` at its highest."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}: this benchmark runs on Linux.")


def load(path: pathlib.Path, devices: int) -> dict[str, float]:
    """Loads the file and returns what it took."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    import hybrid_jax

    mesh = Mesh(np.array(jax.devices()), ("all",))

    def placement(_, shape):
        """Every array in shares over its largest side that divides, as FSDP does."""
        sides = [side if side % devices == 0 else 0 for side in shape]
        axes = [None] * len(shape)
        if devices > 1 and sides and max(sides):
            axes[sides.index(max(sides))] = "all"
        return NamedSharding(mesh, PartitionSpec(*axes))

    jax.block_until_ready(jax.numpy.zeros(1))
    before = resident_bytes("VmRSS")
    started = time.perf_counter()
    model, report = hybrid_jax.load_pretrained(path, placement=placement)
    kernels = jax.tree.leaves(jax.tree.map(jax.block_until_ready, list(_arrays(model))))
    seconds = time.perf_counter() - started
    peak = resident_bytes("VmHWM") - before
    shared = max(
        shard.data.nbytes for array in kernels for shard in array.addressable_shards
    )
    size = path.stat().st_size
    return dict(
        arrays=len(report.rows),
        file_mib=size / 2**20,
        peak_mib=peak / 2**20,
        peak_over_file=peak / size,
        largest_share_mib=shared / 2**20,
        seconds=seconds,
        devices=devices,
    )


def _arrays(model):
    import jax
    from flax import nnx

    return jax.tree.leaves(nnx.state(model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=pathlib.Path, help="a file of published weights")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--write", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write)
        return
    if options.load:
        print(json.dumps(load(options.load, options.devices[0])), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or pathlib.Path(folder) / "model.npz"
        if not options.file:
            subprocess.run([sys.executable, __file__, f"--write={path}"], check=True)
        for devices in options.devices:
            flags = f"--xla_force_host_platform_device_count={devices}"
            subprocess.run(
                [sys.executable, __file__, f"--load={path}", f"--devices={devices}"],
                env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                check=True,
            )


if __name__ == "__main__":
    main()
