"""Rows as one HDF5 file: written for any reader of HDF5, read back without trusting what the file declares."""
