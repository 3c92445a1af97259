"""Rows for other libraries: Arrow and Parquet, Hugging Face datasets, torch, grain and JAX."""
