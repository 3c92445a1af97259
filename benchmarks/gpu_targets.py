"""GPUs that XLA compiles for without having one: what the compiler is told of them, and what the estimates need.

Source: NVIDIA's data sheets of the A100 (80 GB, SXM), H100 and H200 (SXM); fields as of XLA's `GpuTargetConfigProto`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A GPU.

    Attributes:
        name: As its driver calls it.
        major: Compute capability.
        cores: Streaming multiprocessors.
        fpus: Float32 units of each.
        shared: Shared memory of each, bytes; `block_shared`: of it, what one block may ask for.
        l2: Bytes of its second-level cache.
        clock: GHz.
        bandwidth: Bytes per second to and from its memory.
        memory: Bytes.
        float64: Multiplications and additions of float64 per second, without tensor cores.
    """

    name: str
    major: int
    cores: int
    fpus: int
    shared: int
    block_shared: int
    l2: int
    clock: float
    bandwidth: float
    memory: int
    float64: float

    def text(self) -> str:
        """A GpuTargetConfigProto in text form."""
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
              shared_memory_per_block: 49152 shared_memory_per_core: {self.shared}
              shared_memory_per_block_optin: {self.block_shared}
              core_count: {self.cores} fpus_per_core: {self.fpus} clock_rate_ghz: {self.clock}
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              memory_bandwidth: {self.bandwidth:.0f} l2_cache_size: {self.l2} device_memory_size: {self.memory}
              cuda_compute_capability {{ major: {self.major} }}
              registers_per_core_limit: 65536 registers_per_block_limit: 65536
            }}
            runtime_version: {{ major: 12 minor: 8 patch: 0 }} platform_name: "CUDA"
            dnn_version_info {{ major: 9 minor: 7 }} device_description_str: "{self.name}"
        """


_HOPPER = {"major": 9, "cores": 132, "fpus": 128, "shared": 233472, "block_shared": 232448}
TARGETS = {
    "a100": Target(
        "NVIDIA A100-SXM4-80GB", 8, 108, 64, 167936, 166912, 41943040, 1.41, 2039040000000, 85100068864, 9.7e12
    ),
    "h100": Target(
        "NVIDIA H100 80GB HBM3",
        **_HOPPER,
        l2=52428800,
        clock=1.98,
        bandwidth=3352320000000,
        memory=84929347584,
        float64=34e12,
    ),
    "h200": Target(
        "NVIDIA H200 141GB HBM3e",
        **_HOPPER,
        l2=52428800,
        clock=1.98,
        bandwidth=4800000000000,
        memory=151397597184,
        float64=34e12,
    ),
}


def devices(target: str, count: int = 1) -> list[object]:
    """The devices of a described machine with GPUs of one kind, to be used in a mesh; there are none to run on."""
    from jax.experimental import topologies

    find_assembler()
    described = topologies.get_topology_desc(
        target, "cuda", target_config=TARGETS[target].text(), topology=f"1x1x{count}"
    )
    return list(described.devices)


def find_assembler() -> None:
    """Puts ptxas on the path, where its package is installed."""
    found = find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        binaries = str(Path(folder) / "cuda_nvcc" / "bin")
        if Path(binaries).is_dir() and binaries not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] += os.pathsep + binaries
