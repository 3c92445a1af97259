"""The simulated step: models, MuJoCo's constraint problem and its solver, joint positions as a manifold."""
