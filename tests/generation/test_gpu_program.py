"""Programs compiled for a GPU that is only described, and what is counted in their text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXT = """HloModule jit_step, is_scheduled=true

FileNames
1 "/somewhere/dynamic_sparsity/generation/physics/constraint_solver.py"

FunctionNames
1 "_newton.<locals>.iterate"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1 end_line=1 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}

%fused_add (param_0: f64[8,4096], param_1: f64[4096]) -> f64[4096] {
  %param_0 = f64[8,4096]{1,0} parameter(0)
  %slice.1 = f64[1,4096]{1,0} slice(%param_0), slice={[1:2], [0:4096]}
  %bitcast.1 = f64[4096]{0} bitcast(%slice.1)
  %param_1 = f64[4096]{0} parameter(1)
  %divide.1 = f64[4096]{0} divide(%bitcast.1, %param_1)
  ROOT %add.1 = f64[4096]{0} add(%divide.1, %param_1)
}

%fixed (state.1: (s64[], f64[4096])) -> (s64[], f64[4096]) {
  %state.1 = (s64[], f64[4096]{0}) parameter(0)
  %count.1 = s64[] get-tuple-element(%state.1), index=0
  %x.1 = f64[4096]{0} get-tuple-element(%state.1), index=1
  %copy.1 = f64[4096]{0} copy(%x.1)
  ROOT %tuple.1 = (s64[], f64[4096]{0}) tuple(%count.1, %copy.1)
}

%until (state.2: (s64[], f64[4096])) -> pred[] {
  %state.2 = (s64[], f64[4096]{0}) parameter(0)
  %count.2 = s64[] get-tuple-element(%state.2), index=0
  ROOT %compare.1 = pred[] fusion(%count.2), kind=kLoop, calls=%fused_compare
}

ENTRY %main (a: f64[8,4096], b: f64[4096]) -> f64[4096] {
  %a = f64[8,4096]{1,0} parameter(0)
  %b = f64[4096]{0} parameter(1)
  %zero = s64[] constant(0)
  %sum = f64[4096]{0} fusion(%a, %b), kind=kLoop, calls=%fused_add, metadata={op_name="x" stack_frame_id=1}
  %start = (s64[], /*index=1*/f64[4096]{0}) tuple(%zero, %sum)
  %nine = (s64[], f64[4096]) while(%start), condition=%until, body=%fixed, backend_config={"known_trip_count":{"n":"9"}}
  %open = (s64[], f64[4096]{0}) while(%nine), condition=%until, body=%fixed, metadata={op_name="vmap(newton)/while"}
  %solve = f64[4096]{0} custom-call(%b), custom_call_target="solver"
  ROOT %out = f64[4096]{0} get-tuple-element(%open), index=1
}
"""


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_hlo

    return gpu_hlo


def test_launches_loops_and_what_they_move_are_counted(counting):
    count = counting.Program(TEXT).count(lambda loop: 3 if "newton" in loop.scope else 100)
    # One kernel, nine copies without a condition, three with one after each and before the first, one call.
    assert count.kernels == 1 + 9 + (3 + 4) + 1
    assert count.host_rounds == 4
    assert count.custom_calls == {"solver": 1}
    assert count.loops == {"vmap(newton)/while": 3}
    numbers = 8 * 4096
    # The first kernel takes one row of eight, and b.
    assert count.bytes == 3 * numbers + (9 + 3) * 2 * numbers + 4 * (1 + 8) + 2 * numbers
    assert count.flops == (10 + 1) * 4096
    assert count.by_source["constraint_solver._newton"] == 1


def test_sorts_are_several_kernels(counting):
    assert counting.sort_kernels(512) == 1
    assert counting.sort_kernels(4096) > counting.sort_kernels(1024) > 1


def test_shapes_are_measured(counting):
    assert counting.size("(f64[4096,2]{1,0}, /*index=1*/pred[8]{0}, s32[])") == 8 * 8192 + 8 + 4
    assert counting.elements("f32[3,0]") == 0


def test_the_expected_largest_grows_with_the_batch(counting):
    import gpu_loops

    histogram = {"0": 99, "5": 1}
    assert gpu_loops.expected_largest(histogram, 1) == pytest.approx(0.05)
    assert gpu_loops.expected_largest(histogram, 10**4) == pytest.approx(5)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("jax_cuda12_plugin") is None, reason="needs the extra gpu-check")
def test_two_groups_compile_for_each_gpu_of_a_described_machine(tmp_path):
    path = tmp_path / "records.json"
    words = [sys.executable, str(BENCHMARKS / "gpu_program.py"), "cartpole", "pendulum", "--batch", "256"]
    words += ["--scaled", "--devices", "2", "--kept", str(tmp_path), "--json", str(path)]
    subprocess.run(words, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    records = json.loads(path.read_text())
    assert {(record["group"], record["program"]) for record in records} >= {
        (group, program) for group in ("cartpole", "pendulum") for program in ("transition", "observe", "generate")
    }
    for record in records:
        assert record["compiles"], record
        assert record["kernels_per_step"] > 0 and record["estimated_rows_per_s"] > 0
        assert not record["custom_calls"] or record["program"] in ("act", "start", "generate")


@pytest.mark.slow
@pytest.mark.exhaustive
def test_what_a_gpu_would_run_runs_on_a_cpu(tmp_path):
    sizes = {"TASKS": "PendulumSwingup", "BATCHES": "8", "LENGTH": "32", "ROWS": "8", "GENERATE_BATCH": "8"}
    environment = os.environ | sizes | {"JAX_PLATFORMS": "cpu"}
    finished = subprocess.run([str(BENCHMARKS / "gpu_run.sh"), str(tmp_path)], env=environment, check=False)
    assert finished.returncode == 0, (tmp_path / "steps.txt").read_text()
    record = json.loads((tmp_path / "agreement-PendulumSwingup.json").read_text())[0]
    assert record["J_s_error"] < 1e-12
    assert {path.name for path in tmp_path.iterdir()} >= {"generate-PendulumSwingup.json", "verify.log"}
