"""What learners learn from and are evaluated on; NumPy only."""
