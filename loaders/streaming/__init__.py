"""Reading a published store shard by shard, without keeping it: batches, their position, and parts for processes."""

from dynamic_sparsity.loaders.streaming.batch_stream import BatchStream
from dynamic_sparsity.loaders.streaming.dataset import StreamingDataset
from dynamic_sparsity.loaders.streaming.row_stream import RowStream

__all__ = ["BatchStream", "RowStream", "StreamingDataset"]
