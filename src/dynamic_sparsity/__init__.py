"""Ground-truth Jacobians of MuJoCo Playground's dynamics, as a data set: load, verify, generate, linearize."""

from typing import TYPE_CHECKING, Any

from dynamic_sparsity._version import VERSION
from dynamic_sparsity.errors import DynamicSparsityError, MissingDependencyError
from dynamic_sparsity.loaders import JacobianDataset, concatenate, find_stores, load_dataset, open_store

if TYPE_CHECKING:
    from dynamic_sparsity.generation.linearization import linearize as linearize

__version__ = VERSION
# Without `linearize`, so that `from dynamic_sparsity import *` needs no simulator.
__all__ = [
    "DynamicSparsityError",
    "JacobianDataset",
    "__version__",
    "concatenate",
    "find_stores",
    "load_dataset",
    "open_store",
]


def __getattr__(name: str) -> Any:
    """Import what needs a simulator when it is asked for."""
    if name != "linearize":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from dynamic_sparsity.generation.linearization import linearize
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"`linearize` needs {error.name}, which is not installed: pip install 'dynamic-sparsity[generate]'"
        ) from error
    return linearize


def __dir__() -> list[str]:
    """Return the module's names, with those that are imported when they are asked for."""
    return sorted({*globals(), "linearize"})
