"""The tables of the data set's cards: every number is read from the stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from dynamic_sparsity.loaders.store.store import Store
from dynamic_sparsity.publishing.build import BuiltStore
from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import Markdown

UNITS: Final = ("B", "kB", "MB", "GB", "TB")
HIDDEN_FLAGS: Final = ("padding",)


def size(count: float) -> str:
    """Return a number of bytes for people to read, in powers of 1000.

    Args:
        count: Bytes.
    """
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {UNITS[-1]}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table.

    Args:
        head: Titles of the columns.
        rows: Cells, row by row; what is no `Markdown` is escaped.
    """
    return "\n".join(markdown.table(head, rows))


def name(built: BuiltStore) -> str:
    """Return how a table names a store.

    Args:
        built: The store.
    """
    stock = "" if built.location.dynamics == "converged" else ", stock"
    return f"{built.location.task}, {built.location.policy}{stock}"


def percent(share: float) -> str:
    """Return a share as per cent; "–" where there is none.

    Args:
        share: 0 to 1, or NaN.
    """
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


def tasks_table(stores: Sequence[BuiltStore]) -> str:
    """Return a table of sizes, rows and bytes of every store.

    Args:
        stores: The stores.
    """
    head = ["task, policy", "ds", "dx", "da", "nc", "np", "control step, s", "episodes", *SPLITS, "store", "Parquet"]

    def row(built: BuiltStore) -> list[object]:
        metadata, sizes = built.store.metadata, built.store.metadata["sizes"]
        parquet = sum(file.bytes for files in built.published.parquet.values() for file in files)
        return [
            markdown.link(name(built), f"{built.location.task}/README.md"),
            *(sizes[symbol] for symbol in ("ds", "dx", "da", "nc", "np")),
            f"{metadata['control_dt']:g}",
            f"{metadata['episodes']:,}",
            *(f"{built.published.splits[split]:,}" for split in SPLITS),
            size(built.published.bytes),
            size(parquet),
        ]

    return table(head, map(row, stores))


def sparsity_table(stores: Sequence[BuiltStore]) -> str:
    """Return a table of how often derivatives are zero.

    Args:
        stores: The stores.
    """
    head = ["task, policy", "J_s zero, %", "free", "in contact", "rows in contact, %", "J_s always zero", "J_a zero, %"]
    return table(head, ([name(built), *sparsity(built.store)] for built in stores))


def sparsity(store: Store) -> list[str]:
    """Return one row of the table of sparsity.

    Args:
        store: The store.
    """
    statistics, entries = store.statistics, store.metadata["sizes"]["dx"] ** 2
    shares = [percent(float(np.mean(statistics[f"zero_share_s{group}"]))) for group in ("", "_free", "_contact")]
    rows = int(statistics["rows_all"])
    touching = percent(int(statistics["rows_contact"]) / rows if rows else np.nan)
    always = f"{int(np.sum(statistics['zero_share_s'] == 1))} of {entries}"
    by_action = statistics.get("zero_share_a")
    return [*shares, touching, always, "–" if by_action is None else percent(float(np.mean(by_action)))]


def returns_table(stores: Sequence[BuiltStore]) -> str:
    """Return a table of the policies' returns, over the episodes of all splits.

    Args:
        stores: The stores.
    """
    head = ["task, policy", "episodes", "steps", "return: mean ± std", "least", "median", "greatest"]

    def row(built: BuiltStore) -> list[str]:
        found = returns(built.store)
        middle = [f"{found[key]:.1f}" for key in ("min", "median", "max")]
        spread = f"{found['mean']:.1f} ± {found['std']:.1f}"
        return [name(built), f"{found['episodes']:,}", f"{built.store.metadata['episode_length']:,}", spread, *middle]

    return table(head, map(row, stores))


def returns(store: Store) -> dict[str, Any]:
    """Mean, spread and range of a store's returns.

    Args:
        store: The store.
    """
    values = store.episodes["return"]
    spread = {"mean": float(values.mean()), "std": float(values.std()), "median": float(np.median(values))}
    return {"episodes": int(values.size), "min": float(values.min()), "max": float(values.max()), **spread}


def flags_table(stores: Sequence[BuiltStore]) -> str:
    """Return a table of the shares of flagged rows.

    Args:
        stores: The stores.
    """
    shown = [flag for flag in FLAG_BITS if flag not in HIDDEN_FLAGS]
    rows = ([name(built), *(percent(share) for share in flag_shares(built.store, shown).values())] for built in stores)
    return table(["task, policy", *(Markdown(f"`{flag}`, %") for flag in shown)], rows)


def flag_shares(store: Store, flags: Iterable[str] | None = None) -> dict[str, float]:
    """Return the share of rows with each flag, padding left out.

    Args:
        store: The store.
        flags: Their names; None for all but padding.
    """
    chosen = [flag for flag in FLAG_BITS if flag not in HIDDEN_FLAGS] if flags is None else list(flags)
    values = store.reader.read(["flags"], 0, store.rows)["flags"]
    values = values[values & (1 << FLAG_BITS["padding"]) == 0]
    return {flag: float(np.mean(values & (1 << FLAG_BITS[flag]) != 0)) for flag in chosen}


def settings_table(stores: Sequence[BuiltStore]) -> str:
    """Return a table of the settings that made the data; one row for all stores with the same.

    Args:
        stores: The stores.
    """
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for built in stores:
        own = ("task", "policy_sha256")  # of every store another one, and in its metadata
        settings = {key: value for key, value in built.store.metadata["settings"].items() if key not in own}
        groups.setdefault(tuple((key, _spelt(value)) for key, value in sorted(settings.items())), []).append(
            name(built)
        )
    lines = []
    for settings_of_group, names in groups.items():
        line = f"{', '.join(names)}: " + ", ".join(f"{key} {value}" for key, value in settings_of_group)
        lines.append(f"- {markdown.escape(line)}")
    return "\n".join(lines)


def versions_table(stores: Sequence[BuiltStore]) -> str:
    """Return a table of the packages that made the data.

    Args:
        stores: The stores.
    """
    found: dict[str, set[str]] = {}
    for built in stores:
        provenance = built.store.metadata["provenance"]
        known = {
            **provenance.get("packages", {}),
            "Python": provenance.get("python"),
            "JAX's backend": provenance.get("backend"),
        }
        known["git commit"] = provenance.get("git_commit")
        for key, value in known.items():
            found.setdefault(key, set()).add("unknown" if value is None else str(value))
    return table(["what", "version"], ([key, ", ".join(sorted(values))] for key, values in found.items()))


def _spelt(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {_spelt(inner)}" for key, inner in value.items()) + ")"
    return str(value)
