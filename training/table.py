"""`policies/README.md`, written from the records: `python -m dynamic_sparsity.training.table`."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation.physics.model import Dynamics
from dynamic_sparsity.generation.tasks import TASKS
from dynamic_sparsity.policies import available, expert_path, read_record
from dynamic_sparsity.policies.files import FOLDER
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.training.returns import Actions, beats_chance, differ, measured
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import Markdown

_HEAD = """# Expert policies

This page is written by `python -m dynamic_sparsity.training.table` from the JSON files beside it; do not edit it.

Each policy is `<Task>.safetensors` (weights, with what is needed to run them) and `<Task>.json` (how it was trained,
what it reaches, the sha256 of the weights). To run one:

```python
import jax.numpy as jnp
from dynamic_sparsity.policies import load_policy

policy = load_policy("CartpoleBalance")
location, scale = policy.distribution(jnp.zeros(5))  # of the task's observation
action = jnp.tanh(location)  # or jnp.tanh(location + scale * noise)
```

`dynamic-sparsity generate TASK --policy expert` makes data with them; `dynamic-sparsity train TASK` makes better ones.

**What the numbers are.** The *stochastic return* is what `--policy expert` reaches: the sum of rewards of an episode of
1000 steps, with actions tanh(location + scale · ε), where ε is coloured noise with β = 0.5. It is given as mean ±
standard deviation over 64 episodes that had no part in the choice of the policy. The *deterministic* one is that of
`--policy expert-mean`, without ε. Both are measured with MuJoCo C, its solver run to convergence as in `converged`
data; *stock* has Playground's few iterations. The spread is that of single episodes: the mean's own error is an eighth
of it. *Agree* says whether the means of stock and converged differ by less than two standard errors.

*Noise* is the return of `--policy noise` in the same 64 episodes, *no action* that of actions that are all 0. Where a
policy's stochastic return is not above both by more than two standard errors, it is marked *no expert*: it is what
training came to, and may still visit other states than noise does, but it has not learned the task.

"""

_COLUMNS = (
    "task",
    "stochastic return",
    "deterministic",
    "noise",
    "no action",
    "stochastic, stock",
    "agree",
    "steps",
    "algorithm",
    "device",
    "Playground's paper",
)


_ALGORITHMS = {"ppo": "PPO", "sac": "SAC", "dagger": "DAgger", "lqr": "LQR"}


def table(folder: Path = FOLDER) -> str:
    """Return the page, in Markdown.

    Args:
        folder: Folder of policies.
    """
    figures = json.loads(resources.files(__package__).joinpath("playground_returns.json").read_text(encoding="utf-8"))
    there = available(folder)
    rows = [_row(read_record(expert_path(task, folder)), figures["returns"].get(task, {})) for task in there]
    lines = [f"{line}\n" for line in markdown.table(_COLUMNS, rows)]
    missing = [task for task in TASKS if task not in there]
    foot = f"\nPlayground's paper: {figures['source']}. – : not read off.\n"
    if missing:
        foot += f"\nNo policy yet: {', '.join(missing)}.\n"
    return _HEAD + "".join(lines) + foot


def _row(record: dict[str, Any], paper: dict[str, float]) -> list[str]:
    def shown(policy: Actions, kind: Dynamics = "converged") -> str:
        one = measured(record, policy, kind)
        return f"{one['mean']:.0f} ± {one['deviation']:.0f}"

    alike = not differ(measured(record, "expert"), measured(record, "expert", "stock"))

    return [
        record["task"],
        Markdown(shown("expert") + ("" if beats_chance(record) else " (*no expert*)")),
        shown("expert-mean"),
        shown("noise"),
        shown("zero"),
        shown("expert", "stock"),
        "yes" if alike else "no",
        f"{record['steps'] / 1e6:.1f} M",
        _ALGORITHMS[record["algorithm"]] + (", shaped reward" if _shaped(record) else ""),
        record["device"],
        ", ".join(f"{name.upper()} {value:.0f}" for name, value in paper.items()) or "–",
    ]


def _shaped(record: dict[str, Any]) -> bool:
    return any(stage.get("shaping") for stage in record["stages"])


if __name__ == "__main__":
    publish(FOLDER / "README.md", [table().encode()])
