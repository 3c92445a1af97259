"""`python -m dynamic_sparsity.cli`."""

from dynamic_sparsity.cli import entry

entry()
