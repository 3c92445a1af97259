"""Shared set-up: JAX as the package needs it, and one compiled program per dynamics for all tests."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator, Iterator
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from dynamic_sparsity.errors import MissingDependencyError
from dynamic_sparsity.testing import HubServer, Repository, make_store

# Tests never reach out to the network, whatever a library would like to do: its Hub is a server on this machine. The
# clients read these variables when they are imported.
_FOLDER = Path(tempfile.mkdtemp(prefix="hub"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
SERVER = HubServer(_FOLDER / "server")
os.environ |= SERVER.environment(_FOLDER / "home", token=None)
for _variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "DYNAMIC_SPARSITY_REPOSITORY"):
    os.environ.pop(_variable, None)


# Array shapes and types are checked where arrays are computed, whenever a test traces a function. The hook acts when a
# simulator test imports these packages; other tests do not pay for it.
with contextlib.suppress(ImportError):
    from jaxtyping import install_import_hook

    import_module("beartype")
    install_import_hook(
        ["dynamic_sparsity.generation.physics", "dynamic_sparsity.generation.jacobians"], "beartype.beartype"
    )


TESTS = Path(__file__).parent
SIMULATORS = frozenset({"jax", "mujoco", "mujoco_playground", "brax"})
WITH_SIMULATOR = (
    *("generation", "learners", "policies", "training"),
    *("envs/test_environment.py", "loaders/test_jax_and_grain.py"),
)
"""Folders and files whose tests may import a simulator; other fast tests must not."""
WHOLLY_SLOW = ("\npytestmark = pytest.mark.slow\n", "\npytestmark = [pytest.mark.slow, ")
"""How a file says that all of its tests are slow."""
OF_EXTRAS = SIMULATORS | {
    *(
        "colorednoise",
        "datasets",
        "equinox",
        "grain",
        "gymnasium",
        "h5py",
        "huggingface_hub",
        "matplotlib",
        "minari",
        "optax",
        "pandas",
    ),
    *("pyarrow", "ray", "safetensors", "sklearn", "torch"),
}
"""Packages of extras: tests that need one skip where it is not installed."""
EXCEPT = ("learners/test_metrics.py",)


def may_simulate(path: Path) -> bool:
    """Whether the tests of a file may import a simulator."""
    inside = path.relative_to(TESTS)
    return inside.as_posix() not in EXCEPT and bool({inside.parts[0], inside.as_posix()} & set(WITH_SIMULATOR))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--simulator`, by which `.ci/fast` checks that tests which need no simulator import none."""
    everything = "also the cases that `sample` and `exhaustive` leave out: an hour more"
    parser.addoption("--exhaustive", action="store_true", help=everything)
    words = "no: only tests of files that import no simulator; yes: only the others"
    parser.addoption("--simulator", choices=("no", "yes"), default=None, help=words)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without tests that were asked for: to collect them would import their simulators."""
    if not collection_path.is_relative_to(TESTS) or collection_path.suffix != ".py":
        return None
    if config.option.markexpr == "not slow":
        source = collection_path.read_text(encoding="utf-8")
        if any(words in source for words in WHOLLY_SLOW):
            return True
    wanted = config.getoption("--simulator")
    return True if wanted is not None and may_simulate(collection_path) is (wanted == "no") else None


def missing_extra(error: BaseException | None) -> str | None:
    """The name of the package of one of our extras whose absence is why an error came; None if none is absent."""
    while error is not None:
        name = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
        if name in OF_EXTRAS and find_spec(name) is None:
            return name
        error = error.__cause__
    return None


def _beyond(items: list[pytest.Item], marker: str) -> list[pytest.Item]:
    """The items that are not among the samples of their tests: of a test's cases, every so many-th is one.

    Cases count in the order in which they are written, whatever the order in which they run.
    """
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker(marker) is not None:
            cases[item.nodeid.partition("[")[0]].append(item)
    found = []
    for same in cases.values():
        same.sort(key=lambda item: list(item.callspec.indices.values()) if hasattr(item, "callspec") else [])
        for number, item in enumerate(same):
            sample = item.get_closest_marker(marker)
            assert sample is not None
            if number % sample.args[0]:
                found.append(item)
    return found


class OptionalModule(pytest.Module):
    """A file of tests, which skips where a package of one of our extras is missing."""

    def _getobj(self) -> object:
        try:
            return super()._getobj()
        except self.CollectError as error:
            if name := missing_extra(error):
                pytest.skip(f"{name} is not installed", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """Collect files of tests so that they skip without their extras, as on a reader's machine."""
    return OptionalModule.from_parent(parent, path=module_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Skip a test whose fixtures need a package of an extra that is not installed."""
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip a test that needs a package of an extra that is not installed."""
    return (yield from _skipping())


def _skipping() -> Generator[None, object, object]:
    try:
        return (yield)
    except (MissingDependencyError, ImportError) as error:
        if name := missing_extra(error):
            pytest.skip(f"{name} is not installed")
        raise


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `--exhaustive` runs; mark slow what is no fast sample; fast tests first, to fail early."""
    if not config.getoption("--exhaustive"):
        left_out = {*_beyond(items, "sample"), *(item for item in items if item.get_closest_marker("exhaustive"))}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    for item in _beyond(items, "fast_sample"):
        item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def _configure_jax() -> None:
    if "jax" in sys.modules:
        from dynamic_sparsity.generation import jax_runtime

        jax_runtime.configure()


@pytest.fixture(autouse=True, scope="session")
def _simulators_of_fixtures() -> None:
    """Float64 in JAX before the fixtures of modules that have it loaded."""
    _configure_jax()


@pytest.fixture(autouse=True)
def _simulators(request: pytest.FixtureRequest) -> Iterator[None]:
    """Float64 in JAX, for the tests of modules that have it loaded; the others must not load a simulator."""
    _configure_jax()
    before = SIMULATORS & sys.modules.keys()
    yield
    if not may_simulate(request.path) and request.node.get_closest_marker("slow") is None:
        loaded = (SIMULATORS & sys.modules.keys()) - before
        assert not loaded, f"a fast test of what needs no simulator imported {', '.join(sorted(loaded))}"


@pytest.fixture(scope="session")
def exhaustive(pytestconfig: pytest.Config) -> bool:
    """Whether `--exhaustive` is given: then a test leaves out none of its own inputs."""
    return bool(pytestconfig.getoption("--exhaustive"))


@pytest.fixture
def no_promotion() -> Iterator[None]:
    """Neither ranks nor types are promoted by the package's own code in the test."""
    from strict_promotion import strict_promotion

    with strict_promotion():
        yield


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The server, without memory of other tests, and an empty cache; the token may write."""
    from huggingface_hub import constants

    SERVER.clear()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    return SERVER


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one small store, unless a module has another one."""
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", episodes=20)
    return root


@pytest.fixture(scope="module")
def snapshot(root: Path) -> dict[str, Repository]:
    """The server's repositories when the root is published as org/name, unless a module publishes otherwise."""
    from published_root import publish_root

    return publish_root(root, "org/name")


@pytest.fixture
def published(snapshot: dict[str, Repository], hub: HubServer) -> HubServer:
    """The server with the repositories of a module's `snapshot`, and no requests counted yet."""
    hub.repositories.update(deepcopy(snapshot))
    return hub
