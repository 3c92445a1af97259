"""Reading rows of a store's arrays fast: memory maps for raw shards, parallel decoding for compressed ones."""
