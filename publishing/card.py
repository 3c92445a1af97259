"""The cards: the repository's README from `dataset_card.md`, one page per task, and statistics as JSON.

Why not `huggingface_hub.DatasetCard.from_template`: it fills a template with Jinja, one more package, which escapes
nothing for Markdown, and names in stores may come from anyone. What is made here is read back by it in a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import numpy as np

from dynamic_sparsity.loaders.hub.publication import config_name
from dynamic_sparsity.publishing import tables
from dynamic_sparsity.publishing.build import BuiltStore
from dynamic_sparsity.publishing.parquet import configs, dataset_info
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.untrusted import markdown

COMMENT: Final = re.compile(r"<!--.*?-->\n*", re.DOTALL)
TEMPLATE: Final = "dataset_card.md"
PLACEHOLDER: Final = re.compile(r"\{\{ *([a-z_]+) *\}\}")
OVERVIEW: Final = "pictures/sparsity.png"
SIZE_CATEGORIES: Final = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)


def repository_card(repo_id: str, version: str | None, stores: Sequence[BuiltStore]) -> str:
    """Return the repository's README: the template, with everything measured filled in.

    Args:
        repo_id: "ORG/NAME".
        version: Version of the data; None for none.
        stores: What is published.
    """
    template = resources.files("dynamic_sparsity.publishing").joinpath(TEMPLATE).read_text()
    _, header, body = template.split("---\n", 2)
    return f"---\n{_header(header, stores)}---\n{_fill(body, _values(repo_id, version, stores))}"


def task_card(task: str, stores: Sequence[BuiltStore]) -> str:
    """Return the page of one task.

    Args:
        task: Name of the task.
        stores: Its stores.
    """
    metadata = stores[0].store.metadata
    parts = [
        f"# {markdown.escape(task)}",
        f"One row is one control step of {metadata['control_dt']:g} s: {metadata['substeps']} physics steps of "
        f"{metadata['timestep']:g} s. Back to [all tasks](../README.md).",
        tables.tasks_table(stores).replace(f"]({task}/README.md)", "](#)"),
        "## Variables",
        tables.table(
            ["state", "tangent", "action"],
            _columns(metadata["state_names"], metadata["tangent_names"], metadata["action_names"]),
        ),
        "## Sparsity",
        tables.sparsity_table(stores),
        *(f"!{markdown.link(tables.name(built), picture_path(built).partition('/')[2])}" for built in stores),
        "## Returns",
        tables.returns_table(stores),
        "## Flagged rows",
        tables.flags_table(stores),
        "## Constraints",
        markdown.escape(
            ", ".join(f"{entry['name']} ({entry['kind']})" for entry in metadata["constraints"]) or "None."
        ),
        "Means, standard deviations and ranges are in [statistics.json](statistics.json).",
    ]
    return "\n\n".join(parts) + "\n"


def task_statistics(stores: Sequence[BuiltStore]) -> str:
    """Return statistics of a task's stores as JSON; what is not finite is null.

    Args:
        stores: The stores.
    """
    found = {}
    for built in stores:
        found[config_name(*built.key)] = {
            "rows": built.published.splits,
            "returns": tables.returns(built.store),
            "flags": tables.flag_shares(built.store),
            "statistics": {name: _finite(values.tolist()) for name, values in built.store.statistics.items()},
        }
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def picture_path(built: BuiltStore) -> str:
    """Return where a store's picture is in the repository.

    Args:
        built: The store.
    """
    return f"{built.location.task}/{built.location.path.name.removesuffix('.zarr')}.sparsity.png"


def size_category(rows: int) -> str:
    """Return the Hub's name for a number of rows.

    Args:
        rows: The number.
    """
    return next((name for limit, name in SIZE_CATEGORIES if rows < limit), "n>1B")


def _header(template: str, stores: Sequence[BuiltStore]) -> str:
    """Return the YAML header: the template's, the number of rows, and one configuration per store."""
    import yaml

    header = yaml.safe_load(template)
    header["size_categories"] = [size_category(_rows(stores))]
    header["configs"] = configs([built.key for built in stores], {built.key: built.parquet for built in stores})
    header["dataset_info"] = dataset_info(
        [built.key for built in stores], {built.key: built.location.path for built in stores}
    )
    return str(yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000))


def _values(repo_id: str, version: str | None, stores: Sequence[BuiltStore]) -> dict[str, str]:
    first = stores[0]
    policies = sorted({built.location.policy for built in stores})
    tasks = {built.location.task for built in stores}
    sizes = first.store.metadata["sizes"]
    return {
        "repo_id": repo_id,
        "data_version": f"v{version}" if version else "(none yet)",
        "revision": f"v{version}" if version else "main",
        "task_count": _counted(len(tasks), "task"),
        "store_count": _counted(len(stores), "store"),
        "rows": f"{_rows(stores):,}",
        "bytes": tables.size(sum(built.published.bytes for built in stores)),
        "policies": ", ".join(map(markdown.code, policies)),
        "example_task": first.location.task,
        "example_policy": first.location.policy,
        "example_config": config_name(*first.key),
        "example_dx": str(sizes["dx"]),
        "mask_threshold": ", ".join(sorted({f"{built.store.metadata['mask_threshold']:g}" for built in stores})),
        "tasks_table": tables.tasks_table(stores),
        "sparsity_table": tables.sparsity_table(stores),
        "returns_table": tables.returns_table(stores),
        "flags_table": tables.flags_table(stores),
        "settings_table": tables.settings_table(stores),
        "versions_table": tables.versions_table(stores),
        "overview": f"![Share of rows in which each entry of J_s and J_a is not zero]({OVERVIEW})",
    }


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _rows(stores: Sequence[BuiltStore]) -> int:
    return sum(built.published.splits[split] for built in stores for split in SPLITS)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: values[found[1]], COMMENT.sub("", text))


def _columns(*columns: Sequence[str]) -> list[list[str]]:
    """Return lists of different lengths as the rows of a table."""
    longest = max(map(len, columns))
    return [[markdown.code(column[row]) if row < len(column) else "" for column in columns] for row in range(longest)]


def _finite(value: Any) -> Any:
    """Return nested lists with what is not finite as None."""
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value if isinstance(value, int) or np.isfinite(value) else None
