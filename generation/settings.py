"""Everything that decides a store's numbers, in one frozen object."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from dynamic_sparsity.checkout import checkout
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation import tasks
from dynamic_sparsity.generation.task_sources import check_source, is_function
from dynamic_sparsity.policies import files as policy_files
from dynamic_sparsity.schemas import STORAGES
from dynamic_sparsity.schemas.naming import DYNAMICS, POLICY_PATTERN, STOCK_SUFFIX, store_path

MASK_THRESHOLD = 1e-12
"""An entry of a Jacobian is zero if its absolute value is below this, in float64 (the paper's own threshold)."""

BATCH_MAX = 2**20
"""More episodes than any device simulates side by side."""

MAX_BETA = 4.0
"""Largest exponent of coloured noise."""

MIXTURE = ("noise", "expert", "expert-mean")
"""The policies of a mixture; episode i has number i modulo 3."""

POLICIES = (*MIXTURE, "mixture")
"""Policies that can generate data, beside those given by a file."""

_NUMERICAL_PACKAGES = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "playground")
_OTHER_PACKAGES = ("dynamic-sparsity", "brax", "numpy", "zarr", "numcodecs")


@dataclass(frozen=True)
class Settings:
    """What to generate. Two runs with equal settings and platform give the same bits.

    Attributes:
        task: Name of a task.
        episodes: Number of episodes.
        episode_length: Control steps of an episode.
        seed: Seed of initial states and actions; episode i's random key is folded from (seed, task, i).
        policy: What chooses the actions. "noise": tanh of coloured noise. "expert": the task's expert, with coloured
            noise in place of white. "expert-mean": the expert without noise. "mixture": episodes alternate among these.
            The path of a safetensors file, or of a folder with one for the task: as "expert", with the policy of that
            file; the path's last part in lower-case letters is the policy's name.
        name: Name of the store, if it is not the policy's: stores of other seeds lie beside each other, as
            "noise-seed7".
        noise_beta: Exponent of the coloured noise.
        dynamics: "converged" or "stock".
        batch: Least number of episodes simulated side by side; rounded up so that they fill whole shards. None
            for a default that depends on the task alone.
        storage: "raw" or "compact": how arrays of floats lie in the store's files. It decides no number.
        check_with_mujoco: Step every row with MuJoCo C as well, and say where it differs. Nothing else depends on
            it.
        source: Where a task of the user's own comes from: the path of a model's file, or `module:function`; None for a
            task of Playground.
    """

    task: str
    episodes: int = 10
    episode_length: int = tasks.EPISODE_LENGTH
    seed: int = 0
    policy: str = "noise"
    name: str | None = None
    noise_beta: float = 0.5
    dynamics: str = "converged"
    batch: int | None = None
    storage: str = "raw"
    check_with_mujoco: bool = True
    source: str | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            UnknownNameError: There is no such task, or it has no expert.
            InvalidSettingError: Another value is out of range.
        """
        if self.source is None:
            tasks.get_task(self.task)
        else:
            check_source(self.task, self.source)
        for name, least in (("episodes", 1), ("episode_length", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise InvalidSettingError(f"{name} is {value}; it must be at least {least}.")
        if self.seed >= 2**63:
            raise InvalidSettingError(f"seed is {self.seed}; it must be below 2**63.")
        if self.episodes * self.episode_length >= 2**40:
            raise InvalidSettingError(
                f"{self.episodes} episodes of {self.episode_length} steps are too many for one store."
            )
        if self.batch is not None and not 1 <= self.batch <= BATCH_MAX:
            raise InvalidSettingError(f"batch is {self.batch}; it must be at least 1 and at most {BATCH_MAX}.")
        if not 0.0 <= self.noise_beta <= MAX_BETA:
            raise InvalidSettingError(
                f"noise_beta is {self.noise_beta}; it must be in [0, {MAX_BETA:g}] (0 white, 1 pink, 2 red)."
            )
        if self.dynamics not in DYNAMICS:
            raise InvalidSettingError(f"dynamics is {self.dynamics!r}; it must be one of: {', '.join(DYNAMICS)}.")
        if self.dynamics == "stock" and self.task not in tasks.TASKS:
            raise InvalidSettingError(
                f"dynamics is 'stock', which is there for the tasks of the DM Control Suite; the stock step of "
                f"{self.task} has never been verified. Take 'converged', the default."
            )
        if self.storage not in STORAGES:
            raise InvalidSettingError(f"storage is {self.storage!r}; it must be one of: {', '.join(STORAGES)}.")
        self._check_policy()
        if self.name is not None and not _can_name_a_store(self.name):
            raise InvalidSettingError(
                f"name is {self.name!r:.99}; it must have lower-case letters, digits, '_', '.' and '-' only, be none "
                f"of {', '.join(POLICIES)}, and not end in '{STOCK_SUFFIX}'."
            )

    def _check_policy(self) -> None:
        file = self.policy_file
        if self.policy in POLICIES:
            return
        if file is None or file.suffix != policy_files.SUFFIX or not file.is_file():
            raise InvalidSettingError(
                f"policy is {self.policy!r}; it must be one of: {', '.join(POLICIES)}, or the path of a policy's file "
                f"(…{policy_files.SUFFIX}), or of a folder with {self.task}{policy_files.SUFFIX}, that exists."
            )
        if not _can_name_a_store(self.acting_policy):
            raise InvalidSettingError(
                f"policy is {self.policy!r}; its name in lower-case letters becomes the store's, so it must have "
                f"letters, digits, '_', '.' and '-' only, be none of {', '.join(POLICIES)}, and not end in "
                f"'{STOCK_SUFFIX}'."
            )

    @property
    def policy_name(self) -> str:
        """Name of the store, which is that of the policy unless `name` says another."""
        return self.name or self.acting_policy

    @property
    def acting_policy(self) -> str:
        """Name of the policy that acts."""
        if self.policy in POLICIES:
            return self.policy
        return Path(self.policy).resolve().name.removesuffix(policy_files.SUFFIX).lower()

    @property
    def policy_file(self) -> Path | None:
        """The file of the expert that acts; None if none does.

        Raises:
            UnknownNameError: The task has no expert.
        """
        if self.policy == "noise":
            return None
        if self.policy in POLICIES:
            return policy_files.expert_path(self.task)
        path = Path(self.policy)
        return path / f"{self.task}{policy_files.SUFFIX}" if path.is_dir() else path

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies that act in the store; episode i has number i modulo their count."""
        return MIXTURE if self.policy == "mixture" else (self.acting_policy,)

    def store_path(self, root: Path) -> Path:
        """Return where the store lies below a root folder.

        Args:
            root: Folder of all stores.
        """
        return store_path(root, self.task, self.policy_name, self.dynamics)

    def document(self, unit_episodes: int, backend: str) -> dict[str, Any]:
        """Return all that decides the numbers, as JSON data.

        Beside these settings: the batch really used, the versions of the numerical packages, and how JAX and XLA are
        set up.

        Args:
            unit_episodes: Episodes simulated side by side.
            backend: JAX's backend: "cpu", "gpu" or "tpu".

        Raises:
            InvalidSettingError: The XLA flags in the environment can't be read.
        """
        # Reading settings needs neither JAX nor a POSIX system.
        from dynamic_sparsity.generation import jax_runtime

        document = dataclasses.asdict(self) | {"policy": self.acting_policy}
        del document["batch"], document["storage"]
        for key in ("name", "source"):
            if document[key] is None:
                del document[key]
        if self.source is not None and not is_function(self.source):
            # The file's content decides the numbers, not where it lies.
            document["source"] = Path(self.source).name
        if self.policy_file is not None:
            # The file's content decides the numbers, not where it lies.
            document["policy_sha256"] = hashlib.sha256(self.policy_file.read_bytes()).hexdigest()
        return {
            **document,
            "unit_episodes": unit_episodes,
            "mask_threshold": MASK_THRESHOLD,
            "precision": "float64",
            "backend": backend,
            "versions": {name: metadata.version(name) for name in _NUMERICAL_PACKAGES},
            **jax_runtime.numerics(),
        }


def _can_name_a_store(name: str) -> bool:
    return name not in POLICIES and bool(POLICY_PATTERN.fullmatch(name)) and not name.endswith(STOCK_SUFFIX)


def provenance(backend: str) -> dict[str, Any]:
    """Return what made the data: versions, Python, backend, git commit if known; nothing that names a host.

    Args:
        backend: JAX's backend: "cpu", "gpu" or "tpu".
    """
    return {
        "packages": {name: metadata.version(name) for name in (*_NUMERICAL_PACKAGES, *_OTHER_PACKAGES)},
        "python": platform.python_version(),
        "backend": backend,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout this code runs from, with "-modified" if files differ; None without one."""
    found = checkout()
    return None if found is None else found.commit + ("-modified" if found.changed or found.added else "")
