"""JAX as this package needs it: whatever decides numbers pinned, and compiled programs kept on disk.

Users set up JAX and XLA for other programs, by environment variables or in their own code. None of that may decide the
numbers of a store: a setting is pinned here, or recorded in the store's settings (`numerics`), or refused
(`xla_flags`), or changes no bit (`tests/generation/test_ambient.py` tries them all).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity import compilation_cache
from dynamic_sparsity.errors import InvalidSettingError, MissingDependencyError
from dynamic_sparsity.generation import target, xla_flags
from dynamic_sparsity.storage import file_lock

PRNG: Final = "threefry2x32"
"""The implementation of random numbers, given to keys by name."""

PINNED: Final[dict[str, Any]] = {
    # Random numbers.
    "jax_default_prng_impl": PRNG,
    "jax_enable_custom_prng": False,
    "jax_legacy_prng_key": "allow",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_accurate_erf_inv": False,
    # Types and shapes: Playground and MJX mix them.
    "jax_enable_x64": True,
    "jax_explicit_x64_dtypes": "warn",
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    # How programs are computed.
    "jax_default_matmul_precision": None,
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_memory_fitting_effort": 0.0,
    "jax_enable_pgle": False,
    "jax_use_hlo_logistic_lowering": None,
    "eager_constant_folding": False,
    "jax_custom_jvp3": False,
    "jax_custom_vjp3": False,
    "jax_remat3": False,
    "jax_scan3": False,
    # What stops programs that are right: rows that are not finite are flagged, arrays come from the host.
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_transfer_guard": None,
    "jax_transfer_guard_host_to_device": None,
    "jax_transfer_guard_device_to_device": None,
    "jax_transfer_guard_device_to_host": None,
    "jax_no_execution": False,
    "jax_no_tracing": False,
    "jax_compilation_cache_check_contents": False,
}
"""JAX's configuration as far as it decides numbers, or makes our programs fail; what this version lacks is left out."""


def pin() -> None:
    """Set JAX's configuration to `PINNED`, whatever the environment or the user's program made of it."""
    import jax

    config: Any = jax.config
    present = config.values
    for name, value in PINNED.items():
        if name in present and present[name] != value:
            config.update(name, value)


@contextmanager
def pinned() -> Iterator[None]:
    """Pin JAX's configuration for a while, and leave it as the user has it: for programs that use JAX themselves."""
    import jax

    config: Any = jax.config
    present = config.values
    users = {name: present[name] for name, value in PINNED.items() if present.get(name, value) != value}
    pin()
    try:
        yield
    finally:
        for name, value in users.items():
            config.update(name, value)


def numerics() -> dict[str, Any]:
    """Return what a store's settings say of JAX and XLA beside versions, precision and backend; JSON data.

    Raises:
        InvalidSettingError: The XLA flags can't be read.
    """
    return {
        "prng": PRNG,
        "threefry_partitionable": PINNED["jax_threefry_partitionable"],
        "xla_flags": xla_flags.recorded(),
    }


def configure() -> None:
    """Pin what decides numbers, and keep compiled programs on disk; call it before anything else uses JAX.

    Raises:
        InvalidSettingError: The XLA flags are wrong, or make numbers wrong.
        MissingDependencyError: JAX or a simulator is not installed.
    """
    xla_flags.check()
    try:
        # Playground's own dependencies warn, when imported, of things that neither its users nor ours can change.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mujoco.mjx  # noqa: F401
            import mujoco_playground  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"Simulating needs {error.name}, which is not installed: pip install 'dynamic-sparsity[generate]'"
        ) from error
    pin()
    compilation_cache.keep_compiled_programs()


def require_float64() -> None:
    """Check that JAX computes in float64, as everything here must.

    Raises:
        InvalidSettingError: It computes in float32.
    """
    import jax

    if jax.dtypes.canonicalize_dtype("float64") != "float64":
        raise InvalidSettingError(
            "Jacobians are computed in float64, but JAX is set to float32. "
            "Call `jax.config.update('jax_enable_x64', True)` before anything else uses JAX."
        )


def devices() -> list[Any]:
    """Return JAX's devices in this process, of the kind that computes by default.

    Raises:
        MissingDependencyError: JAX has none of the kind that JAX_PLATFORMS asks for.
    """
    import jax

    try:
        return list(jax.local_devices())
    except (AssertionError, RuntimeError) as error:
        # For want of a plug-in, the first one comes without a message.
        cause = str(error).strip() or "its plug-in is not installed"
        raise MissingDependencyError(
            f"JAX finds no device to compute on (JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS', '')!r}): {cause}. "
            "For NVIDIA's GPUs, pip install 'jax[cuda12]' in the version of jax that is installed; for the CPU, "
            "`export JAX_PLATFORMS=cpu`."
        ) from error


@contextmanager
def compiled_once(name: str) -> Iterator[None]:
    """Keep processes that share the cache from compiling the same programs at the same time.

    The second process waits, and finds the programs in the cache.

    Args:
        name: Of the programs; a file name.
    """
    import jax

    folder = Path(jax.config.jax_compilation_cache_dir or compilation_cache.cache_directory())  # type: ignore[attr-defined]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        # A cache that can't be written is no cache; JAX says so.
        yield
        return
    try:
        # Windows and some disks have no locks; then two processes may compile the same.
        with suppress(OSError):
            file_lock.take(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


FUSION_EMITTERS_OFF = {"xla_cpu_use_fusion_emitters": False}


def compiler_options() -> dict[str, bool] | None:
    """Return the compiler options for this machine and this version of XLA; None for the defaults.

    XLA's CPU fusion emitters of jaxlib 0.10 compute shared parts of kinematic chains again and again: the kinematics of
    the six-link swimmer take over 20 times longer (`benchmarks/compiler_options.py`; jax-ml/jax#33761 and
    google-deepmind/mujoco#2957 report the same of chains of bodies in MJX). Later versions do not, and no longer have
    the option. `tests/test_upstream.py` fails when no supported version needs this any more.
    """
    return _cpu_options() if target.on_cpu() else None


@cache
def _cpu_options() -> dict[str, bool] | None:
    import jax

    try:
        jax.jit(lambda x: x, compiler_options=FUSION_EMITTERS_OFF).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return FUSION_EMITTERS_OFF


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function as `jax.jit`, with this machine's `compiler_options`, and without LAPACK.

    Args:
        function: What to compile; called with positional arguments.
    """
    import jax

    from dynamic_sparsity.generation.physics.linear_algebra import without_lapack

    @wraps(function)
    def traced(*arguments: Any) -> Any:
        with without_lapack():
            return function(*arguments)

    compiled: Callable[..., Any] = jax.jit(traced, compiler_options=compiler_options())
    return compiled
