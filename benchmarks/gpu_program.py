"""What XLA makes of a step for an NVIDIA GPU, compiled on a machine that has none.

    pip install 'jax[cuda13]'        # the compiler; it needs no driver
    python benchmarks/gpu_program.py r26_vit_b16 --kind train --batch 256 --out bench

It ends as the compiler would on the GPU, a failed check of the compiler included. It
prints the memory, what cuBLAS computes within its products, and the bytes that operations
read and write, which is what bounds all but the products: an H100 moves 3 TB/s. Nothing is
timed, and kernels are not chosen by trial, so figures of a real GPU differ in detail.
"""

import argparse
import contextlib
import os
import pathlib
import re
from collections import Counter
from unittest import mock

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")  # they ask the driver

import accelerator_program
from accelerator_cases import Case, experiment_of
from gpu_traffic import traffic
from jax._src.cudnn import fused_attention_stablehlo
from jax.experimental import topologies

from hybrid_jax.ops.attention import cudnn

# Of an H100 SXM, as its driver reports it.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 19 }
runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
_GIB = 2**30


def main() -> None:
    options = _options()
    case = Case(options.model, options.px, options.batch, options.kind, options.variant)
    devices = topologies.get_topology_desc(
        platform="cuda", topology="1x1x1", target_config=_H100
    ).devices

    def described(case: Case, *, source):
        return experiment_of(case, source=source, devices=devices, platform="gpu")

    with _hopper(), mock.patch.object(accelerator_program, "experiment_of", described):
        program = accelerator_program.Program(case, device=devices[0])
    program.compile()
    text = program.text()
    print(f"{case}: compiled in {program.compile_seconds:.0f} s")
    print(f"memory {program.memory_bytes() / _GIB:.2f} GiB")
    print("products of cuBLAS, by what they compute too:", dict(_epilogues(text)))
    moved = traffic(text)
    print(f"read and written: {sum(moved.values()) / _GIB:.1f} GiB, of which")
    for what, count in moved.most_common(options.shown):
        print(f"  {count / _GIB:7.2f} GiB  {what}")
    if options.out:
        folder = pathlib.Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        name = str(case).replace("/", "_").replace(" ", "_").replace("@", "_")
        (folder / f"{name}.hlo.txt").write_text(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--kind", choices=["train", "infer"], default="train")
    parser.add_argument("--px", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--variant", default="default", help="of accelerator_cases.py")
    parser.add_argument("--shown", type=int, default=20, help="kinds of operations")
    parser.add_argument("--out", help="folder for the compiled program")
    return parser.parse_args()


def _epilogues(text: str) -> Counter[str]:
    return Counter(re.findall(r'"epilogue":"(\w+)"', text))


@contextlib.contextmanager
def _hopper():
    """Answers what JAX asks the device when attention is lowered, as an H100 would."""
    answers = {
        (cudnn, "has_flash_attention"): lambda: True,
        (fused_attention_stablehlo, "check_cudnn_version"): lambda: 91900,
        (fused_attention_stablehlo, "check_compute_capability"): lambda _: True,
        (fused_attention_stablehlo, "is_cuda_compute_capability_equal"): "9.0".__eq__,
    }
    with contextlib.ExitStack() as stack:
        for (place, name), answer in answers.items():
            stack.enter_context(mock.patch.object(place, name, answer))
        yield


if __name__ == "__main__":
    main()
