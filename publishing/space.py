"""The explorer as a static Space on the Hub: a page that reads a published repository, with no server of its own."""

from __future__ import annotations

import json
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.explorer import HUB, SCENES, STATIC
from dynamic_sparsity.loaders.hub.repository import REPOSITORY_PATTERN, hub_errors, import_hub
from dynamic_sparsity.publishing.upload import retried

__all__ = ["check_space", "publish_space", "space_files"]

CONFIG_FILE: Final = "config.json"
README: Final = "README.md"


def check_space(space_id: str) -> None:
    """Refuse what can't be the name of a Space.

    Args:
        space_id: "ORG/NAME".

    Raises:
        InvalidSettingError: It is not such a name.
    """
    if not (space_id.isascii() and REPOSITORY_PATTERN.fullmatch(space_id)):
        raise InvalidSettingError(f"space is {space_id!r}; a Space is named as in 'ORG/NAME'")


def space_files(repo_id: str, revision: str | None = None, endpoint: str | None = None) -> dict[str, bytes]:
    """Return the files of the Space: the page, the robots' geometry, and which data it shows.

    Args:
        repo_id: The repository of the data, "ORG/NAME".
        revision: A tag, branch or commit of it; None for the main branch as it will be.
        endpoint: Address of the Hub that has the data; None for the one that everybody uses.

    Returns:
        Bytes by path.
    """
    config = {"repository": repo_id, "revision": revision, "endpoint": endpoint}
    given = {key: value for key, value in config.items() if value is not None}
    files = {file.name: file.read_bytes() for file in sorted(STATIC.iterdir())}
    files |= {f"scenes/{file.name}": file.read_bytes() for file in sorted(SCENES.glob("*.json"))}
    files[CONFIG_FILE] = json.dumps(given, indent=1).encode() + b"\n"
    files[README] = _card(repo_id).encode()
    return files


def publish_space(space_id: str, repo_id: str, *, revision: str | None = None, private: bool = False) -> str:
    """Make the Space, or bring it up to date, in one commit.

    Args:
        space_id: "ORG/NAME" of the Space.
        repo_id: "ORG/NAME" of the data.
        revision: A tag, branch or commit of the data; None for the main branch as it will be.
        private: A Space that is made is private; one that exists stays as it is.

    Returns:
        Its address.

    Raises:
        InvalidSettingError: `space_id` is no possible name.
        HubError: The Hub can't be reached, or refuses.
        MissingDependencyError: A package of the extra `publish` is not installed.
    """
    check_space(space_id)
    hub = import_hub()
    api = hub.HfApi()
    files = space_files(repo_id, revision, None if api.endpoint == HUB else api.endpoint)
    operations = [hub.CommitOperationAdd(path, content) for path, content in sorted(files.items())]
    with hub_errors(space_id, "making the Space"):
        retried(
            lambda: api.create_repo(space_id, repo_type="space", space_sdk="static", private=private, exist_ok=True)
        )
    with hub_errors(space_id, "sending the explorer"):
        retried(
            lambda: api.create_commit(
                space_id, operations, repo_type="space", commit_message=f"The explorer of {repo_id}"
            )
        )
    return f"{api.endpoint}/spaces/{space_id}"


def _card(repo_id: str) -> str:
    name = repo_id.split("/")[1]
    return f"""---
title: {name} explorer
colorFrom: blue
colorTo: yellow
sdk: static
app_file: index.html
pinned: false
license: apache-2.0
datasets:
- {repo_id}
---

Robots, their exact Jacobians and their causal graphs, step by step, read in the browser from
[{repo_id}](https://huggingface.co/datasets/{repo_id}) and compared with its checksums.
"""
