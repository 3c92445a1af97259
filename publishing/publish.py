"""Publishing: stores below a folder become a repository on the Hub, or bring it up to date."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dynamic_sparsity.errors import HubAccessError, HubNotFoundError, InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.explorer import SCENES
from dynamic_sparsity.loaders.hub.publication import PUBLICATION_FILE, Publication, PublishedFile
from dynamic_sparsity.loaders.hub.repository import (
    LOG_IN,
    REPOSITORY_PATTERN,
    Repository,
    hub_errors,
    import_hub,
    quiet,
)
from dynamic_sparsity.loaders.hub.transfer_progress import Silent, TransferProgress
from dynamic_sparsity.publishing import card, pictures, tables, versions
from dynamic_sparsity.publishing.build import BuiltStore, build_stores
from dynamic_sparsity.publishing.packages import require_packages
from dynamic_sparsity.publishing.staging import STAGING_FOLDER, staging_folder
from dynamic_sparsity.publishing.upload import Remote, Sending, is_same, read_remote, requests_of, retried, send
from dynamic_sparsity.storage.atomic import publish as write_file
from dynamic_sparsity.storage.locks import lock
from dynamic_sparsity.storage.manifests import record_of
from dynamic_sparsity.untrusted.archives import translated
from dynamic_sparsity.untrusted.files import read_regular

__all__ = ["Plan", "check", "plan", "publish", "require_token"]

README = "README.md"
KEPT = (".gitattributes",)
CHANGELOG_BYTES_MAX = 2**20


@dataclass(frozen=True)
class Plan:
    """What a repository is to hold, and what that takes.

    Attributes:
        repo_id: "ORG/NAME".
        tag: Tag of the version; None for none.
        remote: The repository as it is.
        publication: What it is to hold.
        files: All files it is to hold, and where their bytes are; the last ones describe the others.
        uploads: Those of them that are not there yet.
        deleted: Paths that are to go.
    """

    repo_id: str
    tag: str | None
    remote: Remote
    publication: Publication
    files: tuple[tuple[PublishedFile, Path], ...]
    uploads: tuple[tuple[PublishedFile, Path], ...]
    deleted: tuple[str, ...]

    @property
    def upload_bytes(self) -> int:
        """Bytes to be sent."""
        return sum(file.bytes for file, _ in self.uploads)

    @property
    def total_bytes(self) -> int:
        """Bytes of the complete repository."""
        return sum(file.bytes for file, _ in self.files)

    @property
    def requests(self) -> int:
        """About how many requests it takes."""
        return requests_of(self.sending, len(self.remote.files)) if self.changes else 2

    @property
    def sending(self) -> Sending:
        """In which order the uploads become visible."""
        describing = {file.path for file, _ in self.files[-2:]}
        known = describing | set(self.remote.files)
        new = [item for item in self.uploads if item[0].path not in known]
        visible = [item for item in self.uploads if item[0].path in known]
        return Sending(new, visible, self.deleted, f"Publish {self.tag}" if self.tag else "Publish")

    @property
    def changes(self) -> bool:
        """Whether the main branch will change."""
        return bool(self.uploads or self.deleted)

    @property
    def largest_folder(self) -> int:
        """Files and folders in the repository's largest folder."""
        entries: dict[str, set[str]] = {}
        for file, _ in self.files:
            parts = file.path.split("/")
            for depth in range(len(parts)):
                entries.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
        return max(map(len, entries.values()))


def check(root: Path | None, repo_id: str, tag: str | None) -> None:
    """Refuse what can't be published, without looking at any store or the Hub.

    Args:
        root: Folder of all stores; None for one that is yet to be made.
        repo_id: "ORG/NAME".
        tag: Version of the data; None for none.

    Raises:
        StoreNotFoundError: There is no such folder.
        InvalidSettingError: The repository's name or the version is not possible.
    """
    if root is not None and not root.is_dir():
        raise StoreNotFoundError(f"there is no folder {root}; name the one that has the stores in it")
    if not (repo_id.isascii() and REPOSITORY_PATTERN.fullmatch(repo_id)):
        raise InvalidSettingError(f"repo is {repo_id!r}; a repository is named as in 'ORG/NAME'")
    if tag is not None:
        versions.parse_tag(tag)


def plan(
    root: Path,
    repo_id: str,
    *,
    tag: str | None = None,
    delete: bool = False,
    offline: bool = False,
    skip_incomplete: bool = False,
    progress: TransferProgress | None = None,
) -> Plan:
    """Check all stores below a folder, make what is published beside them, and compare it with the repository.

    Args:
        root: Folder of all stores.
        repo_id: "ORG/NAME".
        tag: Version of the data; None for none.
        delete: Stores that the repository has and `root` lacks are to be deleted.
        offline: Take the repository for empty, without looking.
        skip_incomplete: Leave out stores that were not finished, with a warning, rather than to refuse.
        progress: Receives the progress.

    Returns:
        The plan; nothing was sent.

    Raises:
        StoreNotFoundError: There is no store.
        IncompleteStoreError: A store was not finished.
        CorruptStoreError: A store is damaged.
        InvalidSettingError: The repository's name or the version is not possible, or stores would be lost.
        HubError: The Hub can't be reached, or refuses.
        MissingDependencyError: A package of the extra `publish` is not installed.
    """
    check(root, repo_id, tag)
    version = None if tag is None else versions.spell(versions.parse_tag(tag))
    require_packages()
    remote = Remote(repo_id, False, {}, {}, None) if offline else read_remote(repo_id)
    before = _published_before(remote)
    staging_folder(root)
    with lock(root / STAGING_FOLDER):
        stores = build_stores(root, progress or Silent(), skip_incomplete=skip_incomplete)
        return _plan(root, repo_id, tag, version, delete, remote, before, stores)


def _plan(
    root: Path,
    repo_id: str,
    tag: str | None,
    version: str | None,
    delete: bool,
    remote: Remote,
    before: Publication | None,
    stores: list[BuiltStore],
) -> Plan:
    if version is None and before is not None and not _differs(before, stores):
        version = before.data_version
    publication = Publication(version, tuple(built.published for built in stores))
    removed = versions.changes(before, publication.stores)[2]
    if removed and not delete:
        raise InvalidSettingError(
            f"{repo_id} has stores that {root} lacks: {', '.join(removed)}; put them there too, or delete them from "
            "the repository with --delete"
        )
    changelog = _changelog(remote, before, publication, tag)
    folder = root / STAGING_FOLDER / "cards"
    described = describe(repo_id, publication, stores, changelog, folder)
    data = [item for built in stores for item in built.sources.items()]
    files = (*data, *described)
    uploads = tuple(item for item in files if not is_same(remote.files.get(item[0].path), *item))
    wanted = {file.path for file, _ in files}
    ours = _owned(before, publication)
    deleted = tuple(path for path in remote.files if path not in wanted and path not in KEPT and path.startswith(ours))
    made = Plan(repo_id, tag, remote, publication, files, uploads, deleted)
    _check_tag(made, before)
    return made


def publish(made: Plan, *, private: bool = False, progress: TransferProgress | None = None) -> str:
    """Carry out a plan: new data first, then all that changes what readers see in one commit, then the tag.

    It may be interrupted and repeated: until that commit, readers of the repository see what they saw before.

    Args:
        made: The plan.
        private: A repository that is made is private; one that exists stays as it is.
        progress: Receives the progress.

    Returns:
        Address of the repository.

    Raises:
        CorruptStoreError: A file no longer has the bytes that it had when the plan was made.
        HubError: The Hub can't be reached, or refuses.
    """
    require_token(made.repo_id)
    api = import_hub().HfApi()
    if not made.remote.exists:
        with hub_errors(made.repo_id, "making the repository"):
            retried(lambda: api.create_repo(made.repo_id, repo_type="dataset", private=private, exist_ok=True))
    if made.changes:
        send(made.repo_id, made.sending, progress or Silent(), made.remote.commit)
    if made.tag and made.tag not in made.remote.tags:
        with hub_errors(made.repo_id, f"making the tag {made.tag}"):
            retried(lambda: api.create_tag(made.repo_id, tag=made.tag, repo_type="dataset"))
    return f"{api.endpoint}/datasets/{made.repo_id}"


def require_token(repo_id: str) -> None:
    """Refuse to publish without a token, before any work is done.

    Args:
        repo_id: "ORG/NAME".

    Raises:
        HubAccessError: There is none.
    """
    if import_hub().get_token() is None:
        raise HubAccessError(f"{repo_id}: publishing needs a token with the right to write; {LOG_IN}")


def describe(
    repo_id: str, publication: Publication, stores: Sequence[BuiltStore], changelog: str | None, folder: Path
) -> list[tuple[PublishedFile, Path]]:
    """Write cards, pictures, statistics and `publication.json`.

    Args:
        repo_id: "ORG/NAME".
        publication: What is published.
        stores: The same, on this machine.
        changelog: The data's changelog; None for none.
        folder: Where to write; what is there is replaced.

    Returns:
        The files and where their bytes are; the README and `publication.json` come last.

    Raises:
        InvalidSettingError: `folder` is a link.
    """
    if folder.is_symlink():
        raise InvalidSettingError(f"{folder} is a link to a folder elsewhere; remove it")
    shutil.rmtree(folder, ignore_errors=True)
    written: list[str] = []

    def write(path: str, text: str) -> None:
        write_file(folder / path, [text.encode()])
        written.append(path)

    def draw(path: str) -> Path:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        written.append(path)
        return folder / path

    for task, group in groupby(stores, key=lambda built: built.location.task):
        own = list(group)
        write(f"{task}/{README}", card.task_card(task, own))
        write(f"{task}/statistics.json", card.task_statistics(own))
        if (scene := SCENES / f"{task}.json").is_file():
            write(f"{task}/scene.json", scene.read_text())
        for built in own:
            pictures.draw_store(built.store, tables.name(built), draw(card.picture_path(built)))
    firsts = {built.location.task: built.store for built in reversed(stores)}
    pictures.draw_overview(sorted(firsts.items()), draw(card.OVERVIEW))
    if changelog is not None:
        write(versions.CHANGELOG_FILE, changelog)
    write(README, card.repository_card(repo_id, publication.data_version, stores))
    write(PUBLICATION_FILE, publication.encode().decode())
    found = []
    for path in written:
        record = record_of(folder / path)
        found.append((PublishedFile(path, record.sha256, record.bytes), folder / path))
    return found


def _differs(before: Publication, stores: Sequence[BuiltStore]) -> bool:
    return any(versions.changes(before, [built.published for built in stores]))


def _published_before(remote: Remote) -> Publication | None:
    """Return what the repository holds; None if it holds nothing of ours."""
    if PUBLICATION_FILE not in remote.files:
        return None
    try:
        return Repository.open(remote.id, remote.commit).publication
    except HubNotFoundError:
        return None


def _changelog(remote: Remote, before: Publication | None, publication: Publication, tag: str | None) -> str | None:
    """Return the data's changelog with this version; None where there is none, and no version."""
    previous = None
    if versions.CHANGELOG_FILE in remote.files:
        hub = import_hub()
        with hub_errors(remote.id, "reading the changelog"), quiet():
            path = hub.hf_hub_download(remote.id, versions.CHANGELOG_FILE, repo_type="dataset", revision=remote.commit)
        with translated(f"{remote.id}: {versions.CHANGELOG_FILE}"):
            previous = read_regular(Path(path), CHANGELOG_BYTES_MAX).decode()
    if tag is None:
        return previous
    return versions.changelog(previous, tag, before, publication.stores)


def _check_tag(made: Plan, before: Publication | None) -> None:
    """Refuse a tag that other data have, or that does not follow the last."""
    if made.tag is None:
        return
    if made.tag in made.remote.tags:
        if made.changes or made.remote.tags[made.tag] != made.remote.commit:
            raise InvalidSettingError(
                f"{made.repo_id} has the tag {made.tag}, of other data or descriptions; a version never changes: "
                f"choose a higher one than {', '.join(sorted(made.remote.tags))}"
            )
        return
    versions.check_version(made.tag, list(made.remote.tags), before, made.publication.stores)


def _owned(before: Publication | None, publication: Publication) -> tuple[str, ...]:
    """Return where in the repository our files are, as beginnings of paths."""
    stores = [*publication.stores, *(before.stores if before else ())]
    return ("index/", "parquet/", "pictures/", *(f"{task}/" for task in sorted({store.task for store in stores})))
