"""Ground-truth Jacobians of MuJoCo Playground's dynamics, as a data set: load, verify, generate."""

from dynamic_sparsity._version import VERSION
from dynamic_sparsity.errors import DynamicSparsityError
from dynamic_sparsity.loaders import JacobianDataset, concatenate, find_stores, load_dataset, open_store

__version__ = VERSION
__all__ = [
    "DynamicSparsityError",
    "JacobianDataset",
    "__version__",
    "concatenate",
    "find_stores",
    "load_dataset",
    "open_store",
]
