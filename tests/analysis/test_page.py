"""The report in a real browser: no errors on the console, hovering reads, scrubbing moves."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from browsers import launched_browser

from dynamic_sparsity import load_dataset
from dynamic_sparsity.analysis.episode_strips import episode_strips
from dynamic_sparsity.analysis.page import report
from dynamic_sparsity.analysis.study import StudyOptions
from dynamic_sparsity.errors import StoreNotFoundError
from dynamic_sparsity.storage import writer
from dynamic_sparsity.testing import make_all

OPTIONS = StudyOptions(map_rows=40)


def switching_store(path, **options):
    """A store in which a contact of the first pair couples the first pendulum to the second."""
    attributes, columns, episodes = make_all(**options)
    touching = columns["active_any"][:, 2] == 1
    columns["J_s"][touching, 3, 1] = 0.5
    columns["mask_s"][touching, 3, 1] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, columns, episodes)
    writer.finalize(path)
    return path


def drawn(task, states, width, height):
    """Pictures that tell the number of the state."""
    pictures = np.zeros((len(states), height, width, 3), np.uint8)
    pictures[...] = np.arange(len(states))[:, None, None, None]
    return pictures


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    switching_store(root / "Pendulums" / "noise.zarr")
    switching_store(root / "Pendulums" / "noise-stock.zarr", stock=True)
    return report(root, root / "report", options=OPTIONS, frames=7, render=drawn)


@pytest.mark.slow
def test_one_file_with_everything_inside(page):
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    (first, second) = data["studies"]
    assert (first["data"], second["data"]) == ("noise", "noise-stock")
    assert first["summary"]["explained"] == 1
    assert first["timeline"]["frames"]["count"] == 7
    assert [row[:3] for row in data["comparisons"]] == [["Pendulums", "noise", "noise-stock"]]


def test_no_store(tmp_path):
    with pytest.raises(StoreNotFoundError, match="no complete store"):
        report(tmp_path, tmp_path / "report")


@pytest.mark.slow
def test_command_line(page, tmp_path, capsys):
    from dynamic_sparsity.cli import main

    root = page.parent.parent
    words = ["report", str(root), "--results", str(page.parent), "--out", str(tmp_path), "--map-rows", "40"]
    assert main([*words, "--frames", "0"]) == 0
    assert "open it in a browser" in capsys.readouterr().out
    assert '"frames":null' in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("early", [{}, {2: 7}])
def test_strips_are_the_sparsity_of_every_episode(tmp_path, early):
    path = switching_store(tmp_path / "Pendulums" / "noise.zarr", early=early)
    strips = episode_strips(path)
    rows = load_dataset("Pendulums", root=tmp_path)
    assert strips["episodes"] == rows.episodes["index"].tolist() and strips["of"] == 12
    assert strips["lengths"] == rows.episodes["length"].tolist()
    values = np.frombuffer(base64.b64decode(strips["values"]), np.uint8).reshape(12, strips["columns"])
    shown = strips["low"] + values / 255 * (strips["high"] - strips["low"])
    for number, length in enumerate(strips["lengths"]):
        one = rows.episode(number)
        masks = np.concatenate([one["mask_s"], one["mask_a"]], 2)
        np.testing.assert_allclose(shown[number, :length], 1 - masks.mean(axis=(1, 2)), atol=2e-3)


def test_long_and_many_episodes_are_thinned(tmp_path, monkeypatch):
    path = switching_store(tmp_path / "Pendulums" / "noise.zarr", early={0: 9})
    monkeypatch.setattr("dynamic_sparsity.analysis.episode_strips.EPISODES_MAX", 4)
    monkeypatch.setattr("dynamic_sparsity.analysis.episode_strips.COLUMNS_MAX", 7)
    strips = episode_strips(path)
    assert (strips["episodes"], strips["of"], strips["every"], strips["columns"]) == ([0, 4, 7, 11], 12, 3, 7)
    assert strips["lengths"] == [9, 20, 20, 20]
    masks = load_dataset("Pendulums", root=tmp_path).episode(4)
    sparsity = 1 - np.concatenate([masks["mask_s"], masks["mask_a"]], 2).mean(axis=(1, 2))
    last = base64.b64decode(strips["values"])[7 + 6] / 255 * (strips["high"] - strips["low"]) + strips["low"]
    assert last == pytest.approx(sparsity[18:].mean(), abs=2e-3)


@pytest.fixture(scope="module")
def browser():
    with launched_browser() as launched:
        yield launched


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
def test_fits_the_screen(browser, page, width, height):
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.goto(page.as_uri())
    tab.locator("#Pendulums canvas.heat").wait_for()
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    # Nothing is squeezed: a canvas keeps the shape that it was drawn in.
    for shape in tab.evaluate(
        "() => [...document.querySelectorAll('canvas')].map(c => [c.width, c.height, c.clientWidth, c.clientHeight])"
    ):
        assert shape[2] <= width and shape[0] / shape[1] == pytest.approx(shape[2] / shape[3], rel=0.1)
    figures = [one.bounding_box() for one in tab.locator("#Pendulums figure").all()]
    for number, first in enumerate(figures):
        for second in figures[:number]:
            beside = first["x"] + first["width"] <= second["x"] or second["x"] + second["width"] <= first["x"]
            assert beside or first["y"] >= second["y"] + second["height"] or second["y"] >= first["y"] + first["height"]
    tab.close()


@pytest.mark.slow
def test_magnitude_and_its_scale(browser, page):
    tab = browser.new_page()
    tab.goto(page.as_uri())
    section = tab.locator("#Pendulums")
    section.locator("canvas.heat").wait_for()
    assert "100 % of the rows are zero" in section.inner_text()
    section.get_by_role("button", name="largest |J|").click()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])
    largest = max(data["studies"][0]["largest"])
    assert f"{largest:.0e}".replace("e+0", "e+").replace("e-0", "e-") in section.inner_text()
    assert section.locator("canvas.heat").count() == 1
    tab.close()


@pytest.mark.slow
def test_hover_and_scrub(browser, page):
    driver = pytest.importorskip("playwright.sync_api")
    tab = browser.new_page(viewport={"width": 1280, "height": 1000})
    said = []
    tab.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else said.append(one.url))
    tab.goto(page.as_uri())
    section = tab.locator("#Pendulums")
    section.locator("canvas.heat").wait_for()
    assert tab.locator("#front tbody tr").count() == 2
    tab.locator("#front th").nth(1).click()
    tab.locator("#front th").nth(1).click()
    assert tab.locator("#front tbody tr").first.locator("td").nth(1).inner_text() == "noise-stock"

    heat, tip = section.locator("canvas.heat"), tab.locator("#tip")
    size = heat.bounding_box()
    heat.hover(position={"x": size["width"] - 10, "y": size["height"] - 10})
    assert tip.inner_text().startswith("motor1 (action) → dvel2′")
    assert re.search(r"zero in [\d.]+ % of the rows", tip.inner_text())

    now, slider = section.locator(".now"), section.locator(".scrub input")
    says = lambda words: driver.expect(now).to_have_text(re.compile(words), timeout=30_000)  # noqa: E731
    says("^step 0, 0.000 s")
    picture = section.locator(".frame")
    before = picture.evaluate("one => one.style.backgroundPosition")
    slider.fill("12")
    says("^step 12, 0.600 s: sparsity of J_s 0")
    assert picture.evaluate("one => one.style.backgroundPosition") != before
    patterns = set()
    for step in range(0, 20, 2):
        slider.fill(str(step))
        says(f"^step {step},")
        text = now.inner_text()
        patterns.add(re.search(r"pattern (\d) of 2", text)[1])
        assert ("pair0" in text) == ("J_s 0.639" in text)
    assert patterns == {"1", "2"}
    track = section.locator(".track canvas")
    track.scroll_into_view_if_needed()
    place = track.bounding_box()
    tab.mouse.move(place["x"] + place["width"] - 12, place["y"] + 40)
    tab.mouse.down()
    says("^step 19,")
    tab.mouse.move(place["x"] + 160, place["y"] + 40, steps=3)
    says("^step 0,")
    tab.mouse.up()

    section.get_by_role("button", name="Play").click()
    says("^step [^0]")
    section.get_by_role("button", name="noise-stock").click()
    assert section.get_attribute("data-drawn") == "noise-stock"
    assert "side by side" in section.inner_text()
    for chart in section.locator("figure svg").all():
        chart.hover()
    tab.close()
    assert said == []
