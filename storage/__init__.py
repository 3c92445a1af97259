"""A store's bytes: how it is cut, written, sealed and verified. No simulator, and none of the loader's fast paths."""
