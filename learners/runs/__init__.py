"""Training and judging of learners on stores, and the results as files."""
