"""Replay an episode of a `converged` store in plain MuJoCo, without this package's simulator.

dynamic-sparsity generate CartpoleBalance --episodes 2
python examples/replay_in_mujoco.py CartpoleBalance [ROOT]
"""

import sys

import mujoco
import numpy as np


def converged(model):
    """A task's model with the options of `converged`: the constraint solver runs to its minimum, from a cold start."""
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    model.opt.iterations, model.opt.ls_iterations, model.opt.tolerance = 200, 100, 1e-15
    return model


def replay(model, first_state, actions, substeps, rounded=True):
    """The states (T + 1, ds) that MuJoCo reaches from a first one (ds,) with actions (T, da).

    Stored states are rounded to float32 after every control step, and so are these, if `rounded`.
    """
    data, states = mujoco.MjData(model), [np.asarray(first_state, np.float64)]
    for action in np.asarray(actions, np.float64):
        data.qpos[:], data.qvel[:] = np.split(states[-1], [model.nq])
        data.ctrl[:] = action
        mujoco.mj_step(model, data, substeps)
        state = np.concatenate([data.qpos, data.qvel])
        states.append(state.astype(np.float32).astype(np.float64) if rounded else state)
    return np.stack(states)


def main(task, root="data"):
    """Replays the first episode, once free and once step by step."""
    from mujoco_playground import dm_control_suite

    import dynamic_sparsity as ds

    dataset = ds.load_dataset(task, root=root)
    episode = dataset[: int(dataset.episodes["length"][0])]
    stored = np.concatenate([episode["state"], episode["next_state"][-1:]])
    model = converged(dm_control_suite.load(task, config_overrides={"impl": "jax"}).mj_model)
    substeps = dataset.metadata["substeps"]

    free = replay(model, stored[0], episode["action"], substeps)
    gap = np.abs(free - stored).max(axis=1) / (1 + np.abs(stored).max(axis=1))
    apart = int(np.argmax(gap > 1e-3)) if (gap > 1e-3).any() else None
    print(f"free: largest difference after 10 steps {gap[:11].max():.1e}; beyond 1e-3 from step {apart}")
    alone = [replay(model, s, [a], substeps)[1] for s, a in zip(stored, episode["action"], strict=False)]
    print(f"step by step: largest difference {(np.abs(alone - stored[1:]) / (1 + np.abs(stored[1:]))).max():.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
