"""Tasks as environments: where each comes from, and what its step does around physics."""
