"""Making data sets: tasks, dynamics, Jacobians, and the stores they are written to. Needs the extra `generate`."""
