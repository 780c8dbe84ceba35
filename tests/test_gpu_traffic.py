"""Bytes of a compiled GPU program, against a program small enough to count by hand."""

import importlib.util
import pathlib

_PATH = pathlib.Path(__file__).parents[1] / "benchmarks" / "gpu_traffic.py"
_SPEC = importlib.util.spec_from_file_location("gpu_traffic", _PATH)
assert _SPEC is not None
gpu_traffic = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gpu_traffic)

PROGRAM = """\
HloModule jit_f, is_scheduled=true

%fused_add (p.0: f32[4,8]) -> f32[4,8] {
  %p.0 = f32[4,8]{1,0} parameter(0)
  ROOT %add.9 = f32[4,8]{1,0} add(%p.0, %p.0)
}

%command_buffer.1 (p.1: bf16[4,8]) -> bf16[4,8] {
  %p.1 = bf16[4,8]{1,0} parameter(0)
  ROOT %copy.2 = bf16[4,8]{0,1} copy(%p.1)
}

ENTRY %main.3 (a: f32[4,8], b: bf16[4,8]) -> (f32[4,8], bf16[4,8]) {
  %a = f32[4,8]{1,0} parameter(0)
  %b = bf16[4,8]{1,0} parameter(1)
  %loop_add_fusion.1 = f32[4,8]{1,0} fusion(%a), kind=kLoop, calls=%fused_add
  %gemm.4 = (f32[4,4]{1,0}, s8[16]{0}) custom-call(%a, %loop_add_fusion.1), \
custom_call_target="__cublas$lt$matmul"
  %call.5 = bf16[4,8]{1,0} call(%b), to_apply=%command_buffer.1
  ROOT %tuple.6 = (f32[4,8]{1,0}, bf16[4,8]{1,0}) tuple(%loop_add_fusion.1, %call.5)
}
"""


def test_operations_count_what_they_read_and_write_once():
    assert gpu_traffic.traffic(PROGRAM) == {
        "copy bf16[4,8]": 64 + 64,
        "loop_add_fusion f32[4,8]": 128 + 128,
        "__cublas$lt$matmul f32[4,4], s8[16]": 64 + 16 + 128 + 128,
    }
