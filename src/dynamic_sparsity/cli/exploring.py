"""`explore`: the stores in a browser."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from dynamic_sparsity.cli.app import app
from dynamic_sparsity.cli.arguments import input_folder, parse_repository
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    from dynamic_sparsity.explorer.server import Repository

DEFAULT_ROOT = Path("data")


@app.command()
def explore(
    root: Annotated[Path | None, typer.Argument(help="Folder of all stores.", show_default=str(DEFAULT_ROOT))] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Show the sample inside the package.")] = False,
    repo: Annotated[
        str | None,
        typer.Option("--repo", help="Show a repository on the Hub, ORG/NAME or ORG/NAME@REVISION.", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1.", min=0, max=65_535, show_default="any that is free")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
) -> None:
    """Look at stores in a browser: the robot, its Jacobian, its causal graph and its contacts, step by step.

    A small server for this machine alone runs until Ctrl-C. The page fetches what is in view, and checks it.

    Example: [bold]dynamic-sparsity explore --sample[/bold]
    """
    from dynamic_sparsity.explorer.server import ExplorerServer

    if sum((root is not None, sample, repo is not None)) > 1:
        raise InvalidSettingError("give a folder, or --sample, or --repo; one of them")
    console = PlainConsole(soft_wrap=True)
    if repo is not None:
        server = ExplorerServer(None, port, repository=_repository(repo))
    elif sample:
        from dynamic_sparsity.sample import SAMPLE_ROOT

        server = ExplorerServer(SAMPLE_ROOT, port, name="the sample inside the package")
    else:
        input_folder(root or DEFAULT_ROOT, "the folder of stores")
        server = ExplorerServer(root or DEFAULT_ROOT, port)
        if not server.stores():
            console.print("There are no finished stores there yet.", style="yellow")
    with server:
        console.print(f"The explorer is at {server.url} until Ctrl-C.", style="green")
        if not no_browser:
            # Beside the server: a browser in a terminal ends only when it is closed, and wants its page before.
            Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("The explorer has ended.")


def _repository(text: str) -> Repository:
    from dynamic_sparsity.explorer import HUB
    from dynamic_sparsity.explorer.server import Repository
    from dynamic_sparsity.loaders.hub.repository import REPOSITORY_PATTERN

    name, revision = parse_repository(text)
    if not REPOSITORY_PATTERN.fullmatch(name):
        raise InvalidSettingError(f"--repo is {text!r:.200}; a repository is named as in 'ORG/NAME'")
    return Repository(name, revision, os.environ.get("HF_ENDPOINT", HUB).rstrip("/"))
