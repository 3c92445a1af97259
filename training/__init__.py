"""Training of expert policies: brax's PPO and SAC on Playground's tasks, on a GPU or on a few CPU cores."""
