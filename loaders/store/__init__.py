"""A store on disk: where it is, what it says about itself, checksums of its files, and partial copies of it."""
