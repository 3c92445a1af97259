"""Nothing that a user has set up for other programs decides a store's numbers without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import jax
import pytest

from dynamic_sparsity.errors import InvalidSettingError, SettingsMismatchError
from dynamic_sparsity.generation import jax_runtime, xla_flags
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate, generate_all
from dynamic_sparsity.generation.jobs.unit_runner import SimulationUnitRunner
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.verification.regenerate import other_settings
from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.manifests import read_attributes
from dynamic_sparsity.testing import stores as synthetic

SMALL = Settings("PendulumSwingup", episodes=16, episode_length=16, policy="mixture")

OTHERS: dict[str, Any] = {
    "jax_default_prng_impl": "rbg",
    "jax_legacy_prng_key": "error",
    "jax_random_seed_offset": 7,
    "jax_explicit_x64_dtypes": "error",
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_default_matmul_precision": "bfloat16",
    "jax_optimization_level": "O1",
    "jax_exec_time_optimization_effort": -1.0,
    "jax_memory_fitting_level": "O0",
    "jax_memory_fitting_effort": 1.0,
    "jax_error_checking_behavior_nan": "raise",
    "jax_error_checking_behavior_divide": "raise",
    "jax_error_checking_behavior_oob": "raise",
    "jax_transfer_guard": "disallow",
    "jax_transfer_guard_host_to_device": "disallow",
    "jax_transfer_guard_device_to_device": "disallow",
    "jax_transfer_guard_device_to_host": "disallow",
    "jax_use_hlo_logistic_lowering": True,
}
"""What a user may have set, for what is pinned and has other values than true and false."""

NOT_FOR_PROGRAMS = (
    # Of devices, other processes, and where compiled programs are kept.
    "jax_enable_compilation_cache",
    "jax_distributed",
    "jax_cross_host",
    "jax_share_binary",
    "jax_enable_recoverability",
    "jax_force_dcn",
    "mock_",
    # What is printed, and when programs are stopped; the last one stops whatever has threads.
    "jax_log",
    "jax_explain",
    "jax_include",
    "jax_pprint",
    "jax_debug",
    "jax_send",
    "jax_check_tracer",
    "jax_experimental_unsafe",
    "jax_array_garbage",
    "jax_thread_guard",
)


def opposite(name: str, pinned: Any) -> Any:
    return OTHERS.get(name, not pinned)


def as_variables(values: dict[str, Any]) -> dict[str, str]:
    """JAX's environment variables for values of its configuration."""
    return {name.upper(): str(int(value) if isinstance(value, bool) else value) for name, value in values.items()}


def numbers(store: Path) -> dict[str, str]:
    return golden.file_digests(store) | {"settings": read_attributes(store)["settings_sha256"]}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return numbers(generate(SMALL, tmp_path_factory.mktemp("expected")))


def generated(root: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    options = ["--episodes", "16", "--episode-length", "16", "--policy", "mixture", "--out", str(root), "--debug"]
    command = [sys.executable, "-m", "dynamic_sparsity.cli", "generate", "PendulumSwingup", *options]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


# ---- JAX ---------------------------------------------------------------------------------------------------------


def test_what_is_pinned_stays() -> None:
    present = {name for name in jax_runtime.PINNED if name in jax.config.values}
    assert len(present) > 25
    for name in present:
        jax.config.update(name, opposite(name, jax_runtime.PINNED[name]))
    jax_runtime.pin()
    for name in present:
        found = jax.config.values[name]
        assert getattr(found, "name", found) in (jax_runtime.PINNED[name], str(jax_runtime.PINNED[name]).upper()), name


def wrong() -> dict[str, Any]:
    """Random numbers of another kind, float32, no compilation, NaN as errors, and all the rest that is pinned."""
    present = jax.config.values
    return {name: opposite(name, value) for name, value in jax_runtime.PINNED.items() if name in present}


def turned() -> dict[str, Any]:
    """Every other switch of JAX turned."""
    found = {
        name: not value
        for name, value in jax.config.values.items()
        if isinstance(value, bool) and name not in jax_runtime.PINNED and not name.startswith(NOT_FOR_PROGRAMS)
    }
    assert len(found) > 30
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda: wrong() | turned(), id="everything"),
        pytest.param(wrong, id="what is pinned", marks=pytest.mark.exhaustive),
        pytest.param(turned, id="the rest", marks=pytest.mark.exhaustive),
    ],
)
def test_configuration_decides_nothing(
    changed: Callable[[], dict[str, Any]], expected: dict[str, str], tmp_path: Path
) -> None:
    """JAX set up otherwise, and hashes, threads and optimisation of Python as well."""
    others = {"PYTHONHASHSEED": "5", "PYTHONOPTIMIZE": "2", "NPROC": "5", "OMP_NUM_THREADS": "1"}
    finished = generated(tmp_path, as_variables(changed()) | others)
    assert finished.returncode == 0, finished.stderr
    assert numbers(SMALL.store_path(tmp_path)) == expected


@pytest.mark.slow
def test_what_changes_between_units_decides_nothing(expected: dict[str, str], tmp_path: Path) -> None:
    """A program that uses JAX otherwise, as a notebook may; the configuration is pinned again for each unit."""

    class Meddled(SimulationUnitRunner):
        def describe(self, settings: Settings) -> dict[str, Any]:
            described = super().describe(settings)
            jax.config.update("jax_default_prng_impl", "rbg")
            jax.config.update("jax_enable_x64", False)
            return described

    generate_all([SMALL], tmp_path, ThreadExecutor(Meddled())).check()
    assert numbers(SMALL.store_path(tmp_path)) == expected


# ---- XLA ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("--xla_dump_to=/somewhere --xla_force_host_platform_device_count=3", []),
        (" --xla_backend_optimization_level=1  --xla_cpu_prefer_vector_width=128", 2),
        ("--xla_allow_excess_precision", ["xla_allow_excess_precision=true"]),
        ("--xla_cpu_max_isa=AVX --xla_cpu_max_isa=SSE4_2", ["xla_cpu_max_isa=SSE4_2"]),
        ("--xla_disable_hlo_passes='algsimp,dce'", ["xla_disable_hlo_passes=algsimp,dce"]),
        ("--xla_cpu_enable_fast_math=false", []),
    ],
)
def test_flags_that_may_decide_bits_are_recorded(text: str, expected: Any) -> None:
    found = xla_flags.recorded({"XLA_FLAGS": text})
    assert found == expected if isinstance(expected, list) else len(found) == expected
    assert found == sorted(found)


def test_flags_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "flags"
    file.write_text("--xla_cpu_max_isa=AVX\n--xla_dump_to=x\n")
    assert xla_flags.recorded({"XLA_FLAGS": str(file)}) == ["xla_cpu_max_isa=AVX"]
    assert xla_flags.recorded({"LIBTPU_INIT_ARGS": "--xla_tpu_x=2"}) == ["xla_tpu_x=2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--xla_cpu_enable_fast_math=true", "it may take numbers for finite that are not"),
        ("--xla_cpu_enable_fast_math", "fast_math=true.*Take it out"),
        ("--xla_gpu_enable_fast_min_max=1", "lose NaN"),
        ("--xla_no_such_flag=3", "XLA does not understand: .*xla_no_such_flag.*unset XLA_FLAGS"),
        ("--xla_backend_optimization_level=much", "XLA does not understand: .*much"),
        ("/no/such/file", "which can't be read: .*No such file"),
        ("--xla_dump_to='x", "which can't be read: No closing quotation"),
    ],
)
def test_wrong_flags_are_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidSettingError, match=said):
        xla_flags.check({**os.environ, "XLA_FLAGS": text})


@pytest.mark.slow
def test_right_flags_are_not(tmp_path: Path) -> None:
    for text in (
        "",
        "  ",
        "--xla_cpu_enable_fast_math=0 --xla_backend_optimization_level=2",
        f"--xla_dump_to={tmp_path}",
    ):
        xla_flags.check({**os.environ, "XLA_FLAGS": text})


@pytest.mark.slow
def test_a_run_with_wrong_flags_ends_before_it_loads_a_simulator(tmp_path: Path) -> None:
    finished = generated(tmp_path, {"XLA_FLAGS": "--xla_no_such_flag=3"})
    assert finished.returncode == 1
    assert "InvalidSettingError: XLA_FLAGS is '--xla_no_such_flag=3'" in finished.stderr
    assert not (tmp_path / "PendulumSwingup").exists() or not list((tmp_path / "PendulumSwingup").iterdir())


# ---- what stores say of it ---------------------------------------------------------------------------------------


def attributes_of(settings: dict[str, Any]) -> dict[str, Any]:
    made = synthetic.make_attributes(episodes=4, episode_length=20, seed=0, chunk_rows=16, shard_rows=80)
    return made | {"settings": settings, "settings_sha256": settings_digest(settings)}


def test_settings_say_how_jax_and_xla_are_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    document = SMALL.document(16, "cpu")
    assert (document["prng"], document["threefry_partitionable"], document["xla_flags"]) == ("threefry2x32", True, [])
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX")
    assert SMALL.document(16, "cpu")["xla_flags"] == ["xla_cpu_max_isa=AVX"]


def test_jobs_with_other_flags_do_not_share_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "noise.zarr"
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    writer.create_store(store, attributes_of(SMALL.document(16, "cpu")))
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    writer.create_store(store, attributes_of(SMALL.document(16, "cpu")))
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX")
    with pytest.raises(SettingsMismatchError, match=r"settings\.xla_flags: the store has \[\], now .*max_isa=AVX"):
        writer.create_store(store, attributes_of(SMALL.document(16, "cpu")))


def test_stores_made_before_this_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on as what they were made with."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    now = SMALL.document(16, "cpu")
    before = {key: value for key, value in now.items() if key not in jax_runtime.numerics()}
    assert len(before) == len(now) - 3
    store = tmp_path / "noise.zarr"
    writer.create_store(store, attributes_of(before))
    written = (store / "zarr.json").read_bytes()
    writer.create_store(store, attributes_of(now))
    assert (store / "zarr.json").read_bytes() == written
    assert other_settings(before, now) == {}
    assert other_settings(before, now | {"prng": "rbg"}) == {"prng": ("threefry2x32", "rbg")}
    with pytest.raises(SettingsMismatchError, match=r"settings\.prng"):
        writer.create_store(store, attributes_of(now | {"prng": "rbg"}))
    assert json.loads(written)["attributes"]["settings"] == before
