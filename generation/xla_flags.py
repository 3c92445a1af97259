"""The user's XLA flags: refused where they are wrong or make numbers wrong, recorded where they may change bits.

XLA reads its flags once, and ends the process if it does not understand them; so they are tried in a child first.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError

VARIABLES: Final = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
"""Environment variables with flags of XLA."""

REFUSED: Final = {
    "xla_cpu_enable_fast_math": "it may take numbers for finite that are not, and reorders sums",
    "xla_gpu_enable_fast_min_max": "minima and maxima lose NaN",
}
"""Flags with which rows that are not finite are no longer told from others, and why."""

_BITS_STAY: Final = re.compile(
    # What is written about compilation and where, where tools lie, how many processors work on it.
    r"xla_(?:cpu_|gpu_)?(?:experimental_)?dump_.*|xla_(?:force_host_platform_device_count|gpu_cuda_data_dir|hlo_profile"
    r"|detailed_logging|enable_dumping|gpu_force_compilation_parallelism|gpu_per_fusion_autotune_cache_dir"
    r"|gpu_kernel_cache_file|gpu_experimental_autotune_cache_mode|gpu_generate_line_info|cpu_enable_xprof_traceme)"
)

_TRY: Final = "from jaxlib import xla_client; xla_client.CompileOptions()"
_TRY_TIMEOUT_S: Final = 60.0
_LOG_PREFIX: Final = re.compile(r"^[EF]\d{4} \S+ +\d+ \S+\] ")


def read(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the flags that are set, by name without dashes; the last one of a name counts, as for XLA.

    Args:
        environment: Environment variables.

    Raises:
        InvalidSettingError: The flags are in a file that can't be read, or have a quotation mark without its other.
    """
    found: dict[str, str] = {}
    for variable in VARIABLES:
        text = environment.get(variable, "")
        try:
            # XLA takes what does not begin with a dash for the name of a file.
            if text.strip() and not text.lstrip().startswith("-"):
                text = Path(text).read_text()
            words = shlex.split(text)
        except (OSError, ValueError) as error:
            raise InvalidSettingError(f"{variable} is {text!r}, which can't be read: {error}.") from error
        for word in words:
            name, _, value = word.partition("=")
            found[name.lstrip("-")] = value or "true"
    return found


def recorded(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the flags that may decide bits, as NAME=VALUE, sorted; a store's settings have them.

    Args:
        environment: Environment variables.

    Raises:
        InvalidSettingError: As `read`.
    """
    flags = read(environment).items()
    return sorted(f"{name}={value}" for name, value in flags if name not in REFUSED and not _BITS_STAY.fullmatch(name))


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse flags that XLA does not understand, and those that make numbers wrong. Takes no time if there are none.

    Args:
        environment: Environment variables.

    Raises:
        InvalidSettingError: There are such flags.
    """
    for name, value in read(environment).items():
        if name in REFUSED and value.lower() not in ("false", "0"):
            raise InvalidSettingError(
                f"XLA_FLAGS has --{name}={value}: {REFUSED[name]}, so that the data could not be trusted. Take it out "
                "of XLA_FLAGS, or set it to false."
            )
    if not environment.get("XLA_FLAGS", "").strip():
        return
    command = [sys.executable, "-c", _TRY]
    try:
        tried = subprocess.run(command, env=environment, capture_output=True, timeout=_TRY_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    said = tried.stderr.decode(errors="replace")
    # Another version of JAX may have no such class; then its error is Python's, and the flags are tried by XLA itself.
    if tried.returncode and "Traceback" not in said:
        lines = [_LOG_PREFIX.sub("", line) for line in said.splitlines() if _LOG_PREFIX.match(line)]
        cause = lines[0] if lines else said.strip()[:300]
        raise InvalidSettingError(
            f"XLA_FLAGS is {environment['XLA_FLAGS']!r}, which XLA does not understand: {cause.rstrip('.')}. Correct "
            "it, or `unset XLA_FLAGS`."
        )
