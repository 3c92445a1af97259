"""The explorer in a real browser: it shows the numbers of the stores, follows the reader, and refuses damaged data."""

from __future__ import annotations

import http.server
import re
import shutil
import threading
from functools import partial
from urllib.parse import urlsplit

import numpy as np
import pytest
from browsers import launched_browser, serving

from dynamic_sparsity import load_dataset
from dynamic_sparsity.explorer.server import ExplorerServer, Repository
from dynamic_sparsity.loaders.store.store import open_store
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.publishing.space import space_files
from dynamic_sparsity.sample import SAMPLE_ROOT
from dynamic_sparsity.testing import make_store

TASK = "CartpoleBalance"
READY = "#main[aria-busy='false']:not([hidden])"
PROBLEM = "#problem:not([hidden])"
# A page is never that slow; a machine that runs other tests beside may be.
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def browser():
    with launched_browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def sample():
    with serving(ExplorerServer(SAMPLE_ROOT)) as address:
        yield address


@pytest.fixture
def show(browser):
    """Open an address; fails the test on errors in the page, and on requests to other hosts than those allowed."""
    pages, errors, hosts = [], [], set()

    def opened(address, *, allowed=(), wait=READY, **options):
        context = browser.new_context(**options)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(address)
        page.wait_for_selector(wait)
        pages.append((context, {"", *(urlsplit(one).netloc for one in (address, *allowed))}))
        return page

    yield opened
    for context, allowed in pages:
        assert hosts <= allowed
        context.close()
    assert not errors


def settled(page):
    page.wait_for_selector(READY)


def shown_episode(page):
    """The columns of the shown episode as the page has them."""
    script = """() => Object.fromEntries(["state", "action", "maskS", "maskA", "active", "force"].map(
        (name) => [name, explorer.data[name] && [Array.from(explorer.data[name].data), explorer.data[name].shape]]))"""
    found = page.evaluate(script)
    return {name: np.array(value[0]).reshape(-1, *value[1]) for name, value in found.items() if value}


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["compact", "raw"])
def test_numbers_are_those_of_the_store(show, tmp_path, storage):
    task, root = ("BallInCup", SAMPLE_ROOT) if storage == "compact" else ("Pendulums", tmp_path)
    if storage == "raw":
        make_store(root / task / "noise.zarr", early={2: 7}, quaternion=True)
    rows = load_dataset(task, root=root, policy="noise").episode(2)
    with serving(ExplorerServer(root)) as address:
        page = show(f"{address}#task={task}&policy=noise&episode=2&row=3&entry=2,1")
        found = shown_episode(page)
        names = {"state": "state", "action": "action", "maskS": "mask_s", "maskA": "mask_a"}
        names |= {"active": "active_any", "force": "contact_force"}
        for name, column in names.items():
            np.testing.assert_array_equal(found[name].astype(rows[column].dtype), rows[column])
        series = np.array(page.evaluate("() => Array.from(explorer.series.values)"), np.float32)
        np.testing.assert_array_equal(series, rows["J_s"][:, 2, 1])
        joined = np.concatenate([rows["J_s"][3], rows["J_a"][3]], 1)
        values = np.array(page.evaluate("() => Array.from(explorer.current.values)"), np.float32)
        np.testing.assert_array_equal(values.reshape(joined.shape), joined)
        edges = np.array(page.evaluate("() => Array.from(explorer.current.edge)")).reshape(joined.shape)
        np.testing.assert_array_equal(edges, np.concatenate([rows["mask_s"][3], rows["mask_a"][3]], 1))
        # Only the sample's tasks have robots.
        assert page.is_visible("#robot-note") is (storage == "raw")


@pytest.mark.slow
def test_choose_and_scrub(show, sample):
    page = show(f"{sample}#task={TASK}&policy=expert")
    assert page.input_value("#task") == TASK
    page.select_option("#store", "noise, converged")
    settled(page)
    page.select_option("#episode", "4")
    settled(page)
    assert page.locator("tr[aria-selected=true] td").first.inner_text() == "4"
    page.locator("#episodes tbody tr").nth(2).click()
    settled(page)
    assert page.input_value("#episode") == "2"
    page.keyboard.press("End")
    settled(page)
    assert page.inner_text("#time").startswith("step 63 ·")
    page.locator("#matrix canvas").blur()
    page.keyboard.press("ArrowLeft")
    settled(page)
    assert page.inner_text("#time").startswith("step 62 ·")
    page.locator("#row").fill("5")
    settled(page)
    assert page.inner_text("#time") == "step 5 · 0.050 s"
    page.wait_for_url(re.compile("policy=noise.*episode=2.*row=5"))
    page.select_option("#task", "BallInCup")
    settled(page)
    assert "step 0 ·" in page.inner_text("#time")
    page.keyboard.press("Home")
    page.locator("body").press(" ")
    assert page.inner_text("#play") == "Pause"
    page.wait_for_function("() => explorer.state.row >= 3")
    page.locator("body").press(" ")
    assert page.inner_text("#play") == "Play"


@pytest.mark.slow
def test_hover_names_an_entry_and_choosing_it_draws_its_course(show, sample):
    page = show(f"{sample}#task={TASK}&policy=noise&row=7")
    value = load_dataset(TASK, sample=True, policy="noise").episode(0)["J_s"][7, 3, 1]
    layout = page.evaluate("() => explorer.matrix.layout()")
    box = page.locator("#matrix canvas").bounding_box()
    x, y = (
        box[axis] + layout[side] + (cell + 0.5) * layout["cell"]
        for axis, side, cell in [("x", "left", 1), ("y", "top", 3)]
    )
    page.mouse.move(x, y)
    text = page.inner_text("#entry")
    assert text.startswith("∂ next qvel:hinge_1 / ∂ qpos:hinge_1 = ") and text.endswith("[(rad/s)/rad]")
    assert float(re.search(r"= (\S+)", text)[1]) == pytest.approx(value, rel=1e-3)
    page.mouse.click(x, y)
    settled(page)
    page.wait_for_url(re.compile(r"entry=3%2C1"))
    assert page.evaluate("() => explorer.series.entry") == [3, 1]
    # By keyboard the same.
    page.locator("#matrix canvas").focus()
    page.keyboard.press("ArrowRight")
    assert "∂ qvel:slider" in page.inner_text("#entry")
    page.keyboard.press("Enter")
    settled(page)
    assert page.evaluate("() => explorer.series.entry") == [3, 2]


@pytest.mark.slow
def test_threshold_scale_and_link(show, sample):
    page = show(f"{sample}#task=BallInCup&policy=expert&episode=5&row=30")
    count = "() => explorer.current.edge.reduce((sum, one) => sum + one, 0)"
    rows = load_dataset("BallInCup", sample=True, policy="expert").episode(5)
    joined = np.abs(np.concatenate([rows["J_s"][30], rows["J_a"][30]], 1))
    for power in (-3, -1):
        page.locator("#threshold").fill(str(power))
        settled(page)
        assert page.evaluate(count) == (joined >= 10.0**power).sum()
    page.select_option("#scale", "dimensionless")
    settled(page)
    statistics = open_store(SAMPLE_ROOT / "BallInCup/expert.zarr").statistics
    inputs = np.concatenate([statistics["state_std"], statistics["action_std"]])
    expected = joined * (inputs[None] / statistics["next_state_std"][:, None])
    values = np.array(page.evaluate("() => Array.from(explorer.current.values)")).reshape(joined.shape)
    np.testing.assert_allclose(np.abs(values), expected, rtol=1e-5)
    page.select_option("#mode", "difference")
    settled(page)
    page.wait_for_url(re.compile("mode=difference"))
    again = show(page.url)
    state = "() => explorer.state"
    assert again.evaluate(state) == page.evaluate(state)
    assert again.evaluate("() => Array.from(explorer.current.edge)") == page.evaluate(
        "() => Array.from(explorer.current.edge)"
    )


@pytest.mark.slow
@pytest.mark.sample(2)
@pytest.mark.parametrize("damaged", ["J_s/c/0/0/0", "state/c/0/0", "mask_s/zarr.json", "episodes/return/c/0"])
def test_damaged_data_are_an_error_and_no_numbers(show, tmp_path, damaged):
    shutil.copytree(SAMPLE_ROOT / TASK, tmp_path / TASK)
    file = tmp_path / TASK / "expert.zarr" / damaged
    contents = bytearray(file.read_bytes())
    contents[len(contents) // 3] ^= 1
    file.write_bytes(contents)
    with serving(ExplorerServer(tmp_path)) as address:
        page = show(f"{address}#task={TASK}&policy=expert", wait=PROBLEM)
        assert re.search(r"do(es)? not match", page.inner_text("#problem"))
        assert not page.is_visible("#main")
        page.select_option("#store", "noise, converged")
        settled(page)
        assert not page.is_visible("#problem")


@pytest.mark.slow
def test_only_what_is_in_view_is_fetched(show, tmp_path):
    make_store(tmp_path / "Pendulums/noise.zarr", episodes=96, hinges=8)
    with serving(ExplorerServer(tmp_path)) as address:
        fetched = []
        page = show(address)
        page.on("request", lambda request: fetched.append((urlsplit(request.url).path, request.headers.get("range"))))
        page.keyboard.press("ArrowRight")
        settled(page)
        assert not fetched
        page.locator("#row").fill("17")
        settled(page)
        # One chunk of each array of floats, by range.
        assert {path.split("/")[4] for path, _ in fetched} == {"J_s", "J_a"}
        assert all(re.fullmatch(r"bytes=\d+-\d+", wanted) for _, wanted in fetched)
        assert "compared with checksums" in page.inner_text("#meter")


@pytest.mark.slow
@pytest.mark.sample(3)
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_screen(show, sample, width, height, scheme):
    page = show(f"{sample}#task=WalkerRun", viewport={"width": width, "height": height}, color_scheme=scheme)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    boxes = [panel.bounding_box() for panel in page.locator(".panel").all()]
    for first, second in ((a, b) for n, a in enumerate(boxes) for b in boxes[:n]):
        apart = [
            first[axis] + first[size] <= second[axis] or second[axis] + second[size] <= first[axis]
            for axis, size in (("x", "width"), ("y", "height"))
        ]
        assert any(apart)
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", background)[:3])) > 3 * 128
    assert light is (scheme == "light")


@pytest.mark.slow
def test_repository_on_the_hub(show, tmp_path, hub):
    root = tmp_path / "data"
    make_store(root / "Pendulums/noise.zarr")
    publish(plan(root, "org/name", tag="v1.0.0"))
    repository = Repository("org/name", "v1.0.0", hub.url)
    with serving(ExplorerServer(None, repository=repository)) as address:
        page = show(address, allowed=[hub.url])
        assert page.inner_text("#source") == "org/name@v1.0.0"
        found = shown_episode(page)
        rows = load_dataset("Pendulums", root=root, policy="noise").episode(0)
        np.testing.assert_array_equal(found["state"].astype(np.float32), rows["state"])
        manifest = hub.content("org/name", "Pendulums/noise.zarr/manifest.json")
        hub.replace("org/name", "Pendulums/noise.zarr/manifest.json", manifest + b" ")
        page = show(f"{address}?repo=org/name", allowed=[hub.url], wait=PROBLEM)
        assert "not the one that was published" in page.inner_text("#problem")


@pytest.mark.slow
def test_as_a_static_space(show, tmp_path, hub):
    root, space = tmp_path / "data", tmp_path / "space" / "below"
    make_store(root / "Pendulums/noise.zarr")
    publish(plan(root, "org/name"))
    for path, contents in space_files("org/name", endpoint=hub.url).items():
        (space / path).parent.mkdir(parents=True, exist_ok=True)
        (space / path).write_bytes(contents)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "space")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        page = show(f"http://127.0.0.1:{server.server_address[1]}/below/", allowed=[hub.url])
        assert page.inner_text("#source") == "org/name@main"
        assert page.input_value("#task") == "Pendulums"
        server.shutdown()
        thread.join()
