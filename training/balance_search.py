"""The search for the weights of a regulator that stands (`balance`), by the cross-entropy method."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from dynamic_sparsity.training.balance import Array, Standing, network, observe

START = np.array(
    [
        1.836,
        3.746,
        1.489,
        1.037,
        2.090,
        1.691,
        1.854,
        0.914,
        0.199,
        0.700,
        -2.204,
        -0.718,
        1.524,
        0.623,
        -0.069,
        0.107,
        -0.086,
        0.049,
    ]
)
"""What the search starts from, found by it: log10 of the costs of torques at abdomen, hips, knees, ankles and arms; of
the centre of mass's position and velocity; of the positions of base, legs with abdomen, and arms; of the velocities of
legs and arms; then the gate's height in metres and speed of fall in m/s, and the inverse tanh of what is added to hips,
knees, ankles and abdomen in the air."""

SPREAD = np.array([0.2] * 7 + [0.15] * 3 + [0.2] * 2 + [0.01, 0.2] + [0.1] * 4)
_LEAST_SPREAD = np.array([0.08] * 12 + [0.004, 0.1] + [0.03] * 4)


def search(
    at: Standing,
    *,
    steps: int,
    population: int,
    episodes: int,
    length: int,
    noise: float,
    episode_length: int,
    scale: float,
    seed: int,
    on_generation: Callable[[int, float, float], None],
) -> Array:
    """Search weights by the cross-entropy method, from `START` on.

    Args:
        at: The pose.
        steps: Control steps after which it ends.
        population: Weights tried in each generation.
        episodes: Of each.
        length: Most control steps of an episode; it ends when the head is under 1.1 m.
        noise: Scale of the actions' noise in the search; more than the policy's own, for robustness.
        episode_length: Control steps of the task's episodes, in which the means of the first and the last generation
            compete.
        scale: Scale of the policy's own noise, for that.
        seed: Of weights and noise.
        on_generation: Called with the control steps so far, and mean and deviation of how long the generation's mean
            stood.

    Returns:
        The better mean.
    """
    random = np.random.default_rng(seed)
    mean, spread, done, number = START.copy(), SPREAD.copy(), 0, 0
    while done < steps:
        tried = mean + spread * random.standard_normal((population, len(mean)))
        tried[0] = mean
        scores = np.zeros(population)
        for i, weights in enumerate(tried):
            lasted = [episode(at, weights, noise, length, episodes * number + k) for k in range(episodes)]
            scores[i] = np.mean(lasted) + 0.5 * np.min(lasted)
            done += sum(lasted)
            if i == 0:
                means = float(np.mean(lasted)), float(np.std(lasted))
        number += 1
        on_generation(done, *means)
        best = tried[np.argsort(-scores)[: max(2, population // 4)]]
        mean = 0.7 * best.mean(0) + 0.3 * mean
        spread = 0.8 * np.maximum(best.std(0), _LEAST_SPREAD) + 0.2 * spread

    def stands(weights: Array) -> int:
        return sum(episode(at, weights, scale, episode_length, 10_000 + k) for k in range(episodes))

    return max((START, mean), key=stands)


def episode(at: Standing, weights: Array, noise: float, length: int, seed: int) -> int:
    """Return the control steps until a humanoid with given weights falls, from the task's own start.

    Args:
        at: The pose.
        weights: As `START`.
        noise: Scale of the actions' noise.
        length: Most control steps.
        seed: Of the start and the noise.
    """
    model, data, random = at.model, mujoco.MjData(at.model), np.random.default_rng(seed)
    try:
        layers = network(at, weights, "HumanoidStand", 0.01).layers
    except np.linalg.LinAlgError:  # no regulator has this cost
        return 0
    head = model.body("head").id
    mujoco.mj_forward(model, data)
    for step in range(length):
        x = observe(model, data) - at.observed
        for kernel, bias in layers[:-1]:
            x = np.maximum(x @ kernel + bias, 0.0)
        location = (x @ layers[-1][0] + layers[-1][1])[: model.nu]
        data.ctrl[:] = np.tanh(location + noise * random.standard_normal(model.nu))
        mujoco.mj_step(model, data, at.substeps)
        if data.xpos[head, 2] < 1.1:
            return step
    return length
