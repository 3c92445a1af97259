"""Rows as torch tensors."""

from __future__ import annotations

from typing import Any

import torch

from dynamic_sparsity.loaders.row_source import RowSource

__all__ = ["TorchDataset"]


class TorchDataset(torch.utils.data.Dataset):  # type: ignore[misc]  # torch may not be installed
    """A data set's rows as dictionaries of tensors; made by `JacobianDataset.to_torch`.

    `dataset[3]` is one row, `dataset[[3, 4]]` or `dataset[3:5]` a batch. It may be pickled and used after a fork.
    """

    def __init__(self, dataset: RowSource):
        """Wrap a data set.

        Args:
            dataset: Where the rows are.
        """
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> dict[str, torch.Tensor]:
        return {name: torch.as_tensor(values) for name, values in self.dataset[key].items()}

    def __getitems__(self, keys: list[int]) -> list[dict[str, torch.Tensor]]:
        """Return several rows as a list, for torch's DataLoader."""
        batch = self[keys]
        return [{name: values[number] for name, values in batch.items()} for number in range(len(keys))]
