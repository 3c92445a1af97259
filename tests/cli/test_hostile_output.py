"""Names from outside in every kind of output: terminals, pages, Markdown, tables, figures obey none of them."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress
from rich.table import Table

from dynamic_sparsity import cli
from dynamic_sparsity.analysis.page import SCRIPTS, report
from dynamic_sparsity.analysis.study import StudyOptions
from dynamic_sparsity.publishing.publish import plan
from dynamic_sparsity.storage import writer
from dynamic_sparsity.testing import make_all, make_store
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn, progress
from dynamic_sparsity.untrusted.text import figure_label, json_in_html, one_line, printable

HOSTILE = [
    "<!--<script>",
    "</script><img src=x onerror=alert(1)>",
    "/*{script}*/",
    "/*{data}*/",
    "*/alert(1)/*",
    "a|b`c",
    "[x](https://evil.example) ![y](z)",
    "**bold** _it_ ~~no~~ $x^2$",
    "$\\frac$",
    "\u2028 line \u2029",
    "[bold red]x[/b]y[/]",
    ":bomb: \\u0041 &amp; &",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m \x00 \r over",
    "\u202egnp.exe",
    "line\nbreak\ttab",
    "{{tasks_table}} %s {0}",
    "\ud800",
]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e\ud800]")
OPTIONS = StudyOptions(map_rows=0)


@pytest.mark.parametrize("text", HOSTILE)
def test_json_in_html_is_the_same_data(text: str) -> None:
    encoded = json_in_html({"name": text})
    assert not re.search("[<>&\u2028\u2029]|\\*/|--!?>", encoded)
    assert json.loads(encoded) == {"name": text}
    encoded.encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_printable(text: str) -> None:
    for shown in (printable(text), one_line(text), figure_label(text)):
        assert not CONTROLS.search(shown)
        assert printable(shown) == shown
        shown.encode()
    assert "\n" not in one_line(text) and "\t" not in one_line(text)


def test_printable_keeps_what_can_be_seen() -> None:
    for text in ("J_s ≥ ½ · ∂s′ → …", "naïve 数据 данные", "a\nb\tc", "😀"):
        assert printable(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_console_obeys_nothing(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole(soft_wrap=True)
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    console.print(text, text)
    console.print(table)
    with console.status(text):
        pass
    bars = Progress(PlainTextColumn("{task.description}"), console=console)
    bars.add_task(text, total=1)
    console.print(bars.get_renderable())
    with progress(console) as drawn:
        drawn.add_task(text, total=1)
    output = capsys.readouterr().out
    assert not CONTROLS.search(output)
    visible = "".join(printable(text).replace("\t", " ").split())
    assert "".join(output.split()).count(visible) >= 2


def test_console_has_its_own_controls(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole(force_terminal=True, legacy_windows=False)
    console.print("\x1b[31mplain", style="bold")
    output = capsys.readouterr().out
    assert output.startswith("\x1b[1m") and "\\x1b[31mplain" in output


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_text_as_it_is(text: str) -> None:
    lines = markdown.table([text, markdown.code(text)], [[text, markdown.link(text, text)]], ["---", "---:"])
    assert len(lines) == 3
    for line in lines:
        assert "\n" not in line and not CONTROLS.search(line)
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3, line
    outside = re.sub(r"(`+).*?(?<!`)\1(?!`)", "", "\n".join((lines[0], lines[2])))
    assert "<" not in outside and not re.search(r"&(?!(?:amp|lt|gt);)", outside)
    escaped = markdown.escape(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*\[\]$~|]", escaped), escaped
    assert markdown.escape(escaped) is escaped


@pytest.mark.parametrize("text", ["CheetahRun", "J_s zero, %", "1.2 ± 0.3", "noise, stock", "mlp l1", "–", "a → b′"])
def test_markdown_leaves_plain_text_alone(text: str) -> None:
    assert markdown.escape(text) == text


def hostile_store(path: Path) -> Path:
    """A store whose variables and contacts have names as hostile as its schema lets through, and more elsewhere."""
    attributes, columns, episodes = make_all()
    visible = [text for text in HOSTILE if one_line(text) == text]
    names = [f"{text}#{number}" for number, text in enumerate(visible * 3)]
    attributes["provenance"]["git_commit"] = "".join(HOSTILE[:-1])
    for key, start in (("tangent_names", 0), ("state_names", 0), ("action_names", 6)):
        attributes[key] = names[start : start + len(attributes[key])]
    for number, entry in enumerate(attributes["constraints"]):
        entry["name"] = names[number + 8]
    path.parent.mkdir(parents=True)
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, columns, episodes)
    writer.finalize(path)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    hostile_store(folder / "Pendulums/noise.zarr")
    return folder


class Elements(html.parser.HTMLParser):
    """Counts elements, and keeps what scripts hold."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_data(self, data: str) -> None:
        if self.seen[-1:] == ["script"] and data.strip():
            self.scripts.append(data)


def test_report(root: Path, tmp_path: Path) -> None:
    text = report(root, tmp_path, options=OPTIONS).read_text()
    parsed = Elements()
    parsed.feed(text)
    assert parsed.seen.count("script") == 2 and "img" not in parsed.seen
    assert text.count("<!--") == 0
    data, script = parsed.scripts[0], "".join(parsed.scripts[1:])
    (study,) = json.loads(data)["studies"]
    assert study["effects"][:4] == [f"{text}#{number}" for number, text in enumerate(HOSTILE[:4])]
    folder = Path(cli.__file__).parent.parent / "analysis"
    assert script == "".join((folder / name).read_text() for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "script-src 'unsafe-inline'" not in text
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "document.write" not in script


@pytest.mark.slow
def test_commands(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = root / "Pendulums/noise.zarr"
    for words in (["info", str(store)], ["verify", str(store)], ["list", "--root", str(root)]):
        assert cli.main(words) == 0
        assert not CONTROLS.search("".join(capsys.readouterr()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        assert cli.main(["analyze", str(store), "--out", str(tmp_path), "--map-rows", "0", "--no-frames"]) == 0
    assert not CONTROLS.search("".join(capsys.readouterr()))
    for path in (*tmp_path.rglob("*.csv"), *tmp_path.rglob("*.md")):
        assert not CONTROLS.search(path.read_text()), path


@pytest.mark.slow
def test_cards(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        made = plan(tmp_path / "data", "org/name", offline=True)
    cards = {file.path: source.read_text() for file, source in made.files if file.path.endswith(".md")}
    assert "Pendulums/README.md" in cards
    for text in cards.values():
        assert not CONTROLS.search(text)
        body = re.sub(r"(`+).*?(?<!`)\1(?!`)", "", re.sub(r"```.*?```", "", text.split("---\n")[-1], flags=re.DOTALL))
        assert "<script" not in body and "<img" not in body and "](https://evil" not in body
    rows = [line for line in cards["Pendulums/README.md"].splitlines() if line.startswith("| ")]
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    assert len(bars) <= 7 and min(bars) > 1
    names = made.files[0][1]
    assert names.is_file()


@pytest.mark.parametrize("name", ["x[/b]y", "[bold]", ":bomb:", "a\x1b[31mb", "e\u202ef", "two\nlines", "sur\udce9"])
@pytest.mark.slow
def test_paths_in_messages(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path / name / "Pendulums/noise.zarr")
    assert cli.main(["verify", str(store)]) == 0
    assert printable(str(store)) in capsys.readouterr().out
    assert cli.main(["list", "--root", str(tmp_path / name)]) == 0
    assert cli.main(["info", str(store)]) == 0
    assert cli.main(["info", str(store) + "[/x]"]) == 1
    captured = capsys.readouterr()
    assert not CONTROLS.search("".join(captured)) and "[/x]" in captured.err
    (store / "J_s/c/0/0/0").write_bytes(b"")
    assert cli.main(["verify", str(store)]) == 1
    captured = capsys.readouterr()
    assert printable(str(store)) in captured.err and not CONTROLS.search("".join(captured))


def test_words_that_are_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["\x1b[2J[/b]"], ["list", "--\x1b[31m"], ["generate", "X", "--batch", "\x1b]0;t\x07"]):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert not CONTROLS.search(error) and "Usage: dynamic-sparsity" in error


def test_a_traceback_is_printable(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["dynamic-sparsity", "info", f"{tmp_path}/\x1b[31m/Pendulums/x.zarr", "--debug"])
    with pytest.raises(SystemExit) as ended:
        cli.entry()
    assert ended.value.code == 1
    error = capfd.readouterr().err
    assert "Traceback" in error and not CONTROLS.search(error)


@pytest.mark.slow
def test_dollars_in_figures_are_no_mathematics(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.set_xticks(range(len(HOSTILE)), list(map(figure_label, HOSTILE)))
    axes.set_title(figure_label("$\\bad{ $\\$ \\\\$"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(tmp_path / "figure.png")
    assert np.count_nonzero(list((tmp_path / "figure.png").read_bytes()[:8]))
