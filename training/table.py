"""`policies/README.md`, written from the records: `python -m dynamic_sparsity.training.table`."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation.tasks import TASKS
from dynamic_sparsity.policies import available, expert_path, read_record
from dynamic_sparsity.policies.files import FOLDER
from dynamic_sparsity.storage.atomic import publish

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

"""

_ROW = "| {task} | {expert} | {mean_policy} | {stock} | {agree} | {steps} | {algorithm} | {device} | {paper} |\n"


def table(folder: Path = FOLDER) -> str:
    """The page."""
    figures = json.loads(resources.files(__package__).joinpath("playground_returns.json").read_text(encoding="utf-8"))
    lines = [
        "| task | stochastic return | deterministic | stochastic, stock | agree | steps | algorithm | device | "
        "Playground's paper |\n",
        "|---|---|---|---|---|---|---|---|---|\n",
    ]
    there = available(folder)
    lines += [_row(read_record(expert_path(task, folder)), figures["returns"].get(task, {})) for task in there]
    missing = [task for task in TASKS if task not in there]
    foot = f"\nPlayground's paper: {figures['source']}. – : not read off.\n"
    if missing:
        foot += f"\nNo policy yet: {', '.join(missing)}.\n"
    return _HEAD + "".join(lines) + foot


def agree(record: dict[str, Any]) -> bool:
    """Whether stochastic returns under both dynamics differ by less than two standard errors."""
    one, other = (_measured(record, "expert", kind) for kind in ("converged", "stock"))
    error = (one["deviation"] ** 2 / one["episodes"] + other["deviation"] ** 2 / other["episodes"]) ** 0.5
    return bool(abs(one["mean"] - other["mean"]) <= 2 * error)


def _measured(record: dict[str, Any], policy: str, kind: str) -> dict[str, Any]:
    wanted = ("mujoco", policy, kind)
    found: dict[str, Any] = next(
        one for one in record["evaluation"]["measured"] if (one["simulator"], one["policy"], one["dynamics"]) == wanted
    )
    return found


def _row(record: dict[str, Any], paper: dict[str, float]) -> str:
    def shown(policy: str, kind: str) -> str:
        one = _measured(record, policy, kind)
        return f"{one['mean']:.0f} ± {one['deviation']:.0f}"

    return _ROW.format(
        task=record["task"],
        expert=shown("expert", "converged"),
        mean_policy=shown("expert-mean", "converged"),
        stock=shown("expert", "stock"),
        agree="yes" if agree(record) else "no",
        steps=f"{record['steps'] / 1e6:.1f} M",
        algorithm=record["algorithm"].upper() + (", shaped reward" if _shaped(record) else ""),
        device=record["device"],
        paper=", ".join(f"{name.upper()} {value:.0f}" for name, value in paper.items()) or "–",
    )


def _shaped(record: dict[str, Any]) -> bool:
    return any(stage.get("shaping") for stage in record["stages"])


if __name__ == "__main__":
    publish(FOLDER / "README.md", [table().encode()])
