"""Hostile input for everything that reads: right data or one of our errors, nothing else, and nothing left behind.

A few hundred inputs in the fast tests, thousands in the slow ones, always the same: the seeds are fixed. With
HOSTILE_ALL=1 in the environment, the slow ones leave none of the lists out.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import borrowed
import files
import hubs
import pytest
import readers
import shard_mutations
import stores
from borrowed import spread
from conftest import SERVER
from crafted_stores import crafted
from hubs import Published
from stores import Template, document_mutations, to_reader
from trials import Arguments, Campaign, Hostile

from dynamic_sparsity import load_dataset
from dynamic_sparsity.loaders import JacobianDataset, open_dataset
from dynamic_sparsity.policies.files import FOLDER
from dynamic_sparsity.testing import make_store

POLICY = FOLDER / "CartpoleBalance.safetensors"
LIGHT_COMMANDS = ("verify", "info", "list", "status")
HEAVY_COMMANDS = ("analyze", "report", "train-learner")
ALL = os.environ.get("HOSTILE_ALL") == "1"
STRIDE = 1 if ALL else 12
"""Of long lists, every so many-th is tried; `benchmarks/hostile_campaign.py` tries all, and keeps the counts."""
PART = 4
"""Of what is chosen so, every so many-th is tried without `--exhaustive`."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template.make(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def published(template: Template) -> Iterator[Published]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_writer")
        SERVER.repositories.clear()
        SERVER.faults.clear()
        Published.make(SERVER, template, {})
        expected: dict[tuple[str, str | None], Mapping[str, str]] = {}
        for split in hubs.SPLITS:
            whole = load_dataset("Pendulums", repo_id=hubs.REPOSITORY, split=split, progress=False)
            content = {name: one for name, one in readers.digests(whole).items() if not name.startswith("metadata.")}
            expected["load_from_hub", split] = content
            stream = load_dataset("Pendulums", repo_id=hubs.REPOSITORY, split=split, streaming=True)
            expected["stream", split] = readers.streamed(stream)
        yield Published(SERVER, template, expected)
    SERVER.repositories.clear()


@pytest.fixture(scope="module")
def hdf5(template: Template, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    path = tmp_path_factory.mktemp("hdf5") / "rows.h5"
    open_dataset(template.path).to_hdf5(path)
    return path, readers.digests(JacobianDataset.from_hdf5(path))


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with Campaign(tmp_path_factory.mktemp("campaign")) as campaign:
        yield campaign


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """With everything imported that commands need which draw or learn."""
    with Campaign(tmp_path_factory.mktemp("heavy"), "heavy") as campaign:
        yield campaign


Check = Callable[[Campaign, Iterable[Hostile], int], None]


@pytest.fixture(scope="module")
def check(exhaustive: bool) -> Check:
    """What gives inputs to a campaign, at least so many if none is left out, and holds the ends against the rules."""
    part = 1 if ALL or exhaustive else PART

    def check(campaign: Campaign, inputs: Iterable[Hostile], least: int) -> None:
        record = campaign.run(spread(inputs, part))
        print(record.summary())
        record.keep()
        assert not record.findings, record.summary()
        assert record.inputs >= least // part
        assert record.outcomes["refused"] > record.inputs / 4, "the inputs are not hostile"

    return check


def hostile_stores_of(template: Template, seed: int, count: int) -> Iterator[Hostile]:
    """Stores for `load` mostly, and for commands that only look; the content is the original's, if any comes out."""
    random = Random(seed)

    def reader() -> str:
        return random.choice(("load",) * 8 + ("load_from_root", *LIGHT_COMMANDS)) if random.random() < 0.4 else "load"

    for kind, make in document_mutations(template, seed, count):
        yield to_reader(kind, reader(), make, template.content)
    for kind, make in shard_mutations.shard_mutations(template, seed, count // 2):
        yield to_reader(kind, reader(), make, None)
    for kind, make in shard_mutations.table_mutations(template, seed, count // 10):
        yield to_reader(kind, reader(), make, template.content)


def result_document(template: Template) -> tuple[dict[str, Any], bytes]:
    """A result of a learner, and the leaderboard with it."""
    from dynamic_sparsity.learners.budgets import get_budget
    from dynamic_sparsity.learners.leaderboard.entries import entries_of, to_csv
    from dynamic_sparsity.learners.references.baselines import Ridge
    from dynamic_sparsity.learners.runs.run_learner import Benchmark, run_learner

    (document,) = run_learner(Benchmark.read(template.path, get_budget("smoke")), Ridge(), [0])
    return json.loads(json.dumps(document)), to_csv(entries_of([document])).encode()


# ---- a sample, fast --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_sample_of_hostile_stores(template: Template, campaign: Campaign, check: Check) -> None:
    made = (to_reader(kind, "load", make, template.content) for kind, make in crafted(template))
    check(campaign, itertools.chain(hostile_stores_of(template, 0, 50), spread(made, 12)), 100)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_sample_of_hostile_publications(published: Published, campaign: Campaign, check: Check) -> None:
    crafts, others = hubs.crafted_publications(published), borrowed.of_publications(published)
    check(campaign, itertools.chain(hubs.hub_mutations(published, 0, 12), spread(crafts, 24), spread(others, 30)), 30)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_sample_of_hostile_files(
    template: Template, hdf5: tuple[Path, Mapping[str, str]], campaign: Campaign, check: Check
) -> None:
    policy = readers.READERS["policy"]({"path": POLICY})
    inputs = itertools.chain(
        spread(borrowed.of_hdf5(*hdf5, 40), 12),
        files.policy_mutations(POLICY, policy, 0, 10),
        spread(borrowed.of_results(*result_document(template)), 80),
    )
    check(campaign, inputs, 25)


# ---- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_hostile_stores(template: Template, campaign: Campaign, check: Check, tmp_path: Path) -> None:
    made = spread((to_reader(kind, "load", make, template.content) for kind, make in crafted(template)), STRIDE)
    others = borrowed.of_stores(make_store(tmp_path / stores.INSIDE))
    check(
        campaign,
        itertools.chain(hostile_stores_of(template, 1, 1300 if ALL else 50), made, spread(others, STRIDE)),
        2500 if ALL else 150,
    )


@pytest.mark.slow
def test_hostile_publications(published: Published, campaign: Campaign, check: Check) -> None:
    crafts, others = hubs.crafted_publications(published), borrowed.of_publications(published)
    some = hubs.hub_mutations(published, 1, 250 if ALL else 30)
    crafts = spread(crafts, STRIDE)
    check(campaign, itertools.chain(some, crafts, spread(others, STRIDE)), 500 if ALL else 50)


@pytest.mark.slow
def test_hostile_hdf5_files(
    template: Template, hdf5: tuple[Path, Mapping[str, str]], campaign: Campaign, check: Check, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(256)) * 256)
    inputs = itertools.chain(
        files.hdf5_mutations(*hdf5, 1, 60),
        spread(files.hdf5_structures(*hdf5), 16),
        spread(borrowed.of_hdf5(*hdf5, 300), STRIDE),
        borrowed.of_old_hdf5(template.path, secret),
    )
    check(campaign, inputs, 500 if ALL else 100)


@pytest.mark.slow
def test_hostile_policies_and_results(template: Template, campaign: Campaign, check: Check) -> None:
    policy, result = readers.READERS["policy"]({"path": POLICY}), result_document(template)
    inputs = itertools.chain(
        files.policy_mutations(POLICY, policy, 1, 200 if ALL else 60),
        files.result_mutations(*result, 1, 200 if ALL else 60),
        spread(borrowed.of_policies(POLICY, policy), 1 if ALL else 2),
        spread(borrowed.of_results(*result), 2 * STRIDE),
    )
    check(campaign, inputs, 900 if ALL else 150)


@pytest.mark.slow
def test_hostile_stores_in_heavy_commands(template: Template, heavy: Campaign, check: Check) -> None:
    """Names first: they are what gets into tables, figures, pages and paths."""
    random = Random(2)
    made = list(crafted(template))
    named = [one for one in made if "its " in one[0] or "name" in one[0] or one[0] == "provenance"]
    chosen = [*random.sample(named, 45), *random.sample(made, 45), *document_mutations(template, 3, 30)]
    inputs = (to_reader(kind, HEAVY_COMMANDS[i % 3], make, {}) for i, (kind, make) in enumerate(chosen))
    check(heavy, inputs, 120)


@pytest.mark.slow
def test_hostile_networks(template: Template, heavy: Campaign, check: Check, tmp_path: Path) -> None:
    from dynamic_sparsity import cli

    root = template.path.parent.parent
    words = ["train-learner", "Pendulums", "--learner", "mlp", "--loss", "none", "--protocol", "smoke", "--seeds", "0"]
    assert cli.main([*words, "--root", str(root), "--out", str(tmp_path), "--models", str(tmp_path / "models")]) == 0

    def evaluate(model: Path, out: Path) -> list[str]:
        options = ["--protocol", "smoke", "--root", str(root), "--out", str(out / "results")]
        return ["evaluate", "Pendulums", str(model), *options]

    (model,) = tmp_path.rglob("*.npz")
    inputs = itertools.chain(
        files.npz_mutations(model, evaluate, 1, 40), spread(borrowed.of_models(model, evaluate), 4)
    )
    check(heavy, inputs, 60)


@pytest.mark.slow
def test_hostile_roots_are_not_published(published: Published, heavy: Campaign, check: Check) -> None:
    check(heavy, roots(published, 4, 40), 40)


def roots(published: Published, seed: int, count: int) -> Iterator[Hostile]:
    """Roots with hostile stores, or with rotten files in what was prepared; what is sent must be as before."""
    random, template = Random(seed), published.template
    made = [*random.sample(list(crafted(template)), count // 2), *document_mutations(template, seed, count // 4)]
    for kind, make in made:
        yield _publishing(published, kind, make, random.random() < 0.5)
    for number in range(count - len(made)):
        hostile = _publishing(published, "a rotten file in .publish", _rotten(template, seed * 1000 + number), False)
        yield dataclasses.replace(hostile, check=lambda box: _difference(published, box))


def _rotten(template: Template, seed: int) -> Callable[[Path], None]:
    """What makes a root that was prepared, with a damaged file among what was prepared; its time is what it was."""

    def make(root: Path) -> None:
        random = Random(seed)
        shutil.copytree(template.path.parent.parent, root, dirs_exist_ok=True)
        path = random.choice(sorted(path for path in (root / ".publish").rglob("*") if path.is_file()))
        _, contents = files.flipped(random, path.read_bytes())
        status = path.stat()
        path.write_bytes(contents)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return make


def _difference(published: Published, box: Path) -> str:
    """Paths of files that were published with other bytes than they should have."""
    good, found = (published.server.files(name) for name in (hubs.REPOSITORY, f"org/of-{box.parent.name}"))
    data = {
        path for path in good.keys() | found.keys() if path.startswith(("Pendulums/noise.zarr", "index", "parquet"))
    }
    return ", ".join(sorted(path for path in data if path not in found or good[path].sha256 != found[path].sha256))


def _publishing(published: Published, kind: str, make: Callable[[Path], Any], dry: bool) -> Hostile:
    def arguments(box: Path) -> Arguments:
        root, repository = box / "out/data", f"org/of-{box.parent.name}"
        root.mkdir()
        make(root)
        published.server.repositories.pop(repository, None)
        return {"words": ["publish", str(root), "--repo", repository, *["--dry-run"] * dry]}

    return Hostile(f"publish of a root with {kind}", "command", arguments, {}, may_write=True)
