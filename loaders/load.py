"""`load_dataset`: the data of a task, from a folder or from the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

from dynamic_sparsity.errors import InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import REPOSITORY_VARIABLE, Repository, default_repository
from dynamic_sparsity.loaders.hub.transfer_progress import TransferProgress, chosen
from dynamic_sparsity.loaders.joining import concatenate
from dynamic_sparsity.loaders.row_source import COORDINATES, Coordinates, check_choice
from dynamic_sparsity.loaders.store.checksums import VerifyMode
from dynamic_sparsity.loaders.streaming import StreamingDataset
from dynamic_sparsity.sample import SAMPLE_ROOT, sample_stores
from dynamic_sparsity.schemas.advice import can_be_generated, generate_command, how_to_make
from dynamic_sparsity.schemas.naming import parse_store_path, store_path

__all__ = ["load_dataset", "open_dataset"]

DEFAULT_ROOT = "data"


@overload
def load_dataset(
    task: str,
    name: str | None = ...,
    *,
    root: str | Path | None = ...,
    repo_id: str | None = ...,
    revision: str | None = ...,
    policy: str | Sequence[str] = ...,
    dynamics: str | Sequence[str] = ...,
    split: str | None = ...,
    columns: Sequence[str] | str | None = ...,
    coordinates: Coordinates = ...,
    verify: VerifyMode = ...,
    exclude_flags: Sequence[str] = ...,
    streaming: Literal[False] = ...,
    sample: bool = ...,
    progress: bool | TransferProgress | None = ...,
) -> JacobianDataset: ...


@overload
def load_dataset(
    task: str,
    name: str | None = ...,
    *,
    root: str | Path | None = ...,
    repo_id: str | None = ...,
    revision: str | None = ...,
    policy: str | Sequence[str] = ...,
    dynamics: str | Sequence[str] = ...,
    split: str | None = ...,
    columns: Sequence[str] | str | None = ...,
    coordinates: Coordinates = ...,
    verify: VerifyMode = ...,
    exclude_flags: Sequence[str] = ...,
    streaming: Literal[True],
    sample: bool = ...,
    progress: bool | TransferProgress | None = ...,
) -> StreamingDataset: ...


def load_dataset(
    task: str,
    name: str | None = None,
    *,
    root: str | Path | None = None,
    repo_id: str | None = None,
    revision: str | None = None,
    policy: str | Sequence[str] = "noise",
    dynamics: str | Sequence[str] = "converged",
    split: str | None = None,
    columns: Sequence[str] | str | None = None,
    coordinates: Coordinates = "tangent",
    verify: VerifyMode = "sha256",
    exclude_flags: Sequence[str] = (),
    streaming: bool = False,
    sample: bool = False,
    progress: bool | TransferProgress | None = None,
) -> JacobianDataset | StreamingDataset:
    """Open the transitions and Jacobians of a task, from a folder of stores, from the Hugging Face Hub, or a sample.

    From the Hub, only what task, policy, split and columns need is downloaded. It is checked and kept in the Hub's
    cache, so that later calls need one request (does the revision still name the same commit?), and offline none.

    Data from an untrusted source give the rows that were sealed, or one of the errors below: nothing in a store or
    repository is executed, nothing is written outside the Hub's cache, and names, sizes and structure are checked
    before they are used. With `verify="sha256"` no damaged byte becomes a row. It is not checked that the numbers are
    true, only that they are the published ones; and someone who can change the files while they are in use can end the
    process. docs/security.md has the details.

    Args:
        task: Name of the task, as in MuJoCo Playground: "CartpoleBalance".
        name: For the order that `datasets.load_dataset` has: with a repository in `task`'s place, the task.
        root: Folder of all stores; the store is `ROOT/<task>/<policy>[-stock].zarr`. If neither this nor `repo_id`
            is given: "data" if the store is there, else the repository that DYNAMIC_SPARSITY_REPOSITORY names.
        repo_id: A repository on the Hub, "ORG/NAME".
        revision: Its branch, tag ("v1.0.0") or commit; None for the main branch.
        policy: The policy that acted. Several, as in ["noise", "expert"], are joined as by `concatenate`; other seeds
            too, whose stores have names such as "noise-seed7".
        dynamics: "converged", or "stock" for MJX's own solver settings. Several are joined.
        split: "train", "validation" or "test"; None for all rows. Splits consist of whole episodes.
        columns: Which arrays to read, or None for all of them; docs/format.md lists them. Fewer are faster.
            Also "truncated", which is 1 in the last row of an episode that the task did not end.
        coordinates: "tangent" as stored, or "ambient": Jacobians and masks over (qpos, qvel, act), converted as they
            are read. They differ only in tasks with free or ball joints.
        verify: "sha256": a shard's hash is compared at its first use. "size": only files' sizes are compared, when
            opening; a changed byte of an uncompressed array, or exchanged shards of the same size, are not noticed.
        exclude_flags: Leave out rows with any of these flags, such as "not_converged".
        sample: Open the small sample that comes with the package: some tasks, noise and expert, a few hundred rows. It
            needs neither network nor simulator.
        streaming: From the Hub, shard by shard, without keeping what was read; several policies as one stream.
        progress: Whether to draw a bar on stderr while downloading (None: if that is a terminal), or what receives the
            progress.

    Returns:
        The data set; see its class for the dtypes. With `streaming`, a `StreamingDataset`.

    Raises:
        StoreNotFoundError: There is no such store below `root`, or in the sample.
        IncompleteStoreError: It was not finished.
        CorruptStoreError: It is damaged; also raised later, when damaged rows are first used.
        UnknownNameError: A split, column, flag, or coordinate system that does not exist.
        InvalidSettingError: `verify` is neither of the two, or options do not go together.
        HubError: The Hub can't be reached, or refuses, or does not have it (HubNotFoundError).
        MissingDependencyError: The extra `hub` is not installed.
    """
    if name is not None:
        if "/" not in task or repo_id is not None:
            raise InvalidSettingError(
                f"load_dataset was given {task!r} and {name!r}; it takes one task, and all else by name: "
                f'load_dataset({task!r}, policy="expert"), load_dataset("CheetahRun", repo_id="ORG/NAME")'
            )
        task, repo_id = name, task
    if sample:
        for option, value in (("root", root), ("repo_id", repo_id), ("streaming", streaming)):
            if value:
                raise InvalidSettingError(f"sample and {option} do not go together; give one of them")
    if root is not None and repo_id is not None:
        raise InvalidSettingError(f"root is {str(root)!r} and repo_id is {repo_id!r}; give one of them, not both")
    check_choice("coordinates", coordinates, COORDINATES)
    names = (columns,) if isinstance(columns, str) else columns
    flags = (exclude_flags,) if isinstance(exclude_flags, str) else tuple(exclude_flags)
    several = not isinstance(policy, str) or not isinstance(dynamics, str)
    pairs = [(one, kind) for kind in _names("dynamics", dynamics) for one in _names("policy", policy)]
    if streaming:
        repo_id = repo_id or (default_repository() if root is None else None)
        if repo_id is None:
            raise InvalidSettingError("streaming is for a repository on the Hub: give repo_id, too")
        repository, published = _published(repo_id, revision, task, pairs)
        return StreamingDataset(
            repository,
            published if several else published[0],
            split=split,
            columns=names,
            coordinates=coordinates,
            exclude_flags=flags,
        )
    if several:

        def load(name: str, kind: str) -> JacobianDataset:
            return load_dataset(
                task,
                root=root,
                repo_id=repo_id,
                revision=revision,
                policy=name,
                dynamics=kind,
                split=split,
                columns=columns,
                coordinates=coordinates,
                verify=verify,
                exclude_flags=exclude_flags,
                sample=sample,
                progress=progress,
            )

        return concatenate([load(name, kind) for name, kind in pairs])
    acting, kind = pairs[0]
    if sample:
        root = _sample_root(task, acting, kind)
    if root is None and repo_id is None:
        there = (store_path(DEFAULT_ROOT, task, acting, kind) / "zarr.json").exists()
        root, repo_id = (DEFAULT_ROOT, None) if there else (None, default_repository())
        if root is None and repo_id is None and revision is None:
            raise _nowhere(task, acting, kind)
    if repo_id is None:
        if revision is not None:
            raise InvalidSettingError("revision is for a repository on the Hub: give repo_id, too")
        return JacobianDataset(
            store_path(root or DEFAULT_ROOT, task, acting, kind),
            split=split,
            columns=columns,
            coordinates=coordinates,
            verify=verify,
            exclude_flags=flags,
        )
    repository, published = _published(repo_id, revision, task, pairs)
    copy = LocalCopy(repository, published[0], split)
    copy.fetch(copy.arrays_for(names, coordinates, flags), chosen(progress))
    return JacobianDataset(
        copy.path, split=split, columns=names, coordinates=coordinates, verify=verify, exclude_flags=flags
    )


def _published(
    repo_id: str, revision: str | None, task: str, pairs: Sequence[tuple[str, str]]
) -> tuple[Repository, list[PublishedStore]]:
    """Return a repository, and its stores of some policies and dynamics."""
    for policy, dynamics in pairs:
        store_path("", task, policy, dynamics)
    repository = Repository.open(repo_id, revision)
    found = [repository.publication.find(task, policy, dynamics, repository.name) for policy, dynamics in pairs]
    return repository, found


def _names(option: str, names: str | Sequence[str]) -> list[str]:
    """Return the names that are given for an option, each once."""
    found = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    if not found or not all(isinstance(name, str) for name in found):
        raise InvalidSettingError(f"{option} is {names!r:.200}; it must be a name, or a list with at least one")
    return found


def _sample_root(task: str, policy: str, dynamics: str) -> Path:
    if not (store_path(SAMPLE_ROOT, task, policy, dynamics) / "manifest.json").exists():
        listed = "; ".join(f"{name}: {', '.join(policies)}" for name, policies in sample_stores().items())
        raise StoreNotFoundError(f"the sample has no {policy} data of {task} with {dynamics} dynamics; it has {listed}")
    return SAMPLE_ROOT


def _nowhere(task: str, policy: str, dynamics: str) -> StoreNotFoundError:
    """Return the error if nothing says where the data are."""
    ways = []
    if policy in sample_stores().get(task, ()) and dynamics == "converged":
        ways.append(f'for a few hundred rows that come with the package, load_dataset("{task}", sample=True)')
    else:
        ways.append(f"a sample comes with the package, but only of {', '.join(sample_stores())}: sample=True")
    ways.append(f'from the Hugging Face Hub, load_dataset("{task}", repo_id="ORG/NAME"), or set {REPOSITORY_VARIABLE}')
    store = store_path(DEFAULT_ROOT, task, policy, dynamics)
    location = parse_store_path(store)
    if can_be_generated(location):
        ways.append(f"to generate them, pip install 'dynamic-sparsity[generate]' and `{generate_command(location)}`")
    else:
        ways.append(how_to_make(location))
    return StoreNotFoundError(f"{store} does not exist, and no root or repository was given. " + "; ".join(ways))


def open_dataset(path: str | Path, **options: Any) -> JacobianDataset:
    """Open the store at a path, wherever it is.

    Args:
        path: Folder of the store, or an HDF5 file that `to_hdf5` wrote.
        **options: `split`, `columns`, `coordinates`, `verify`, `exclude_flags`, as of `load_dataset`.

    Raises:
        DynamicSparsityError: As `load_dataset`.
    """
    return JacobianDataset(path, **options)
