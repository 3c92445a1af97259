"""Preparing a publication: everything that can be refused is refused before any work or request."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from dynamic_sparsity.errors import HubError
from dynamic_sparsity.loaders.hub.transfer_progress import TransferProgress
from dynamic_sparsity.publishing.packages import require_packages
from dynamic_sparsity.publishing.publish import Plan, check, plan, require_token

__all__ = ["prepare"]


def prepare(
    root: Path,
    repo_id: str,
    *,
    tag: str | None = None,
    delete: bool = False,
    dry_run: bool = False,
    skip_incomplete: bool = False,
    progress: TransferProgress | None = None,
    on_unreachable: Callable[[HubError], None] = lambda error: None,
) -> Plan:
    """Check arguments and token, then plan a publication.

    Args:
        root: Folder of all stores.
        repo_id: "ORG/NAME".
        tag: Version of the data; None for none.
        delete: Stores that the repository has and `root` lacks are to be deleted.
        dry_run: The plan is only to be looked at: no token is needed, and a repository that can't be reached is taken
            for empty.
        skip_incomplete: Leave out stores that were not finished, with a warning, rather than to refuse.
        progress: Receives the progress of checking and preparing the stores.
        on_unreachable: Called with the error, in a dry run, if the repository can't be reached.

    Returns:
        The plan; nothing was sent.

    Raises:
        DynamicSparsityError: As `check`, `require_packages`, `require_token` and `plan`.
    """
    check(root, repo_id, tag)
    require_packages()
    if not dry_run:
        require_token(repo_id)
    planned = partial(plan, root, repo_id, tag=tag, delete=delete, skip_incomplete=skip_incomplete, progress=progress)
    try:
        return planned()
    except HubError as error:
        if not dry_run:
            raise
        on_unreachable(error)
        return planned(offline=True)
