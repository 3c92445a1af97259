"""The version of the code; the one place where it stands."""

VERSION = "0.1.0"
