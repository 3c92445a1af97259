"""Independent checks: finite differences, deep verification, and regenerating published rows."""
