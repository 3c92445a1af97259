"""For tests of code that uses this package: a local Hub, and small stores that are made in milliseconds.

Nothing here needs a simulator; the server needs the standard library only.
"""

from dynamic_sparsity.testing.hub_parts import Fault, File, Repository, Seen
from dynamic_sparsity.testing.hub_server import HubServer
from dynamic_sparsity.testing.stores import (
    jacobians,
    make_all,
    make_attributes,
    make_store,
    make_unit,
    step,
    write_units,
)

__all__ = [
    "Fault",
    "File",
    "HubServer",
    "Repository",
    "Seen",
    "jacobians",
    "make_all",
    "make_attributes",
    "make_store",
    "make_unit",
    "step",
    "write_units",
]
