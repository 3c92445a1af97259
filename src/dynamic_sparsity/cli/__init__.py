"""The command line. Each command imports what it needs when it runs: `info` and `list` need no simulator."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

from dynamic_sparsity.errors import DynamicSparsityError, DynamicSparsityWarning, TimeLimitError, UnitsFailedError
from dynamic_sparsity.untrusted.text import printable

if TYPE_CHECKING:
    from dynamic_sparsity.untrusted.console import PlainConsole

DEBUG_OPTION = "--debug"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
TERMINATED = 143
"""Exit code after SIGTERM, as shells have it: a batch system takes its machine back, or its time is over."""
UNITS_FAILED = 3
"""Exit code if some units of work failed in every attempt, and all others are finished."""
TIME_OVER = 124
"""Exit code when the time limit ends a run before all is done, as timeout(1) has it."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; print an error as one paragraph on stderr.

    Args:
        arguments: Words after the program's name; those of this process by default.

    Returns:
        0 on success, 1 on failure, 2 for a command that can't be parsed, 3 if some units failed in every attempt,
        124 if the time limit ended it, 130 when interrupted, 143 when terminated.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG_OPTION in words
    words = [word for word in words if word != DEBUG_OPTION]

    from dynamic_sparsity.cli.application import application
    from dynamic_sparsity.untrusted.console import PlainConsole

    console = PlainConsole(stderr=True, soft_wrap=True)
    with warnings.catch_warnings():
        _show_warnings()
        return _run(application, words, console, debug)


def _run(application: Any, words: list[str], console: PlainConsole, debug: bool) -> int:
    try:
        result = application(words, standalone_mode=False, prog_name="dynamic-sparsity")
    except KeyboardInterrupt:
        return _interrupted(console)
    except Exception as error:
        if type(error).__name__ == "Abort":
            return _interrupted(console)
        # Typer's own errors of usage; by their form, as Typer keeps their classes to itself.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            return _misused(console, error)
        if type(error).__name__ == "Exit" and hasattr(error, "exit_code"):
            return int(error.exit_code)
        if isinstance(error, TimeLimitError):
            console.print(str(error), style="yellow")
            return TIME_OVER
        if debug:
            raise
        console.print("Error:", style="bold red", end=" ")
        console.print(describe(error))
        return UNITS_FAILED if isinstance(error, UnitsFailedError) else 1
    # Typer turns Ctrl-C into this exit code.
    return _interrupted(console) if result == INTERRUPTED else int(result or 0)


def _show_warnings() -> None:
    """Print our own warnings as one paragraph; they are about files and machines, not about lines of code."""
    show = warnings.showwarning

    def ours(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, DynamicSparsityWarning):
            # Not through another console: progress bars redirect this stream while they are drawn.
            sys.stderr.write(f"Warning: {printable(str(message))}\n")
        else:
            show(message, category, *rest, **named)

    warnings.simplefilter("always", DynamicSparsityWarning)
    warnings.showwarning = ours


def _misused(console: PlainConsole, error: Any) -> int:
    """Print why a command can't be parsed."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    # What Typer would print has the user's words in it as they are.
    context = getattr(error, "ctx", None)
    if context is not None:
        console.print(context.get_usage())
        console.print(f"`{context.command_path} --help` shows the options.")
    console.print("Error:", style="bold red", end=" ")
    console.print(error.format_message())
    return int(error.exit_code)


def _interrupted(console: PlainConsole) -> int:
    """Say how to go on after Ctrl-C or SIGTERM."""
    word, code = ("Terminated", TERMINATED) if _received else ("Interrupted", INTERRUPTED)
    console.print(f"{word}. Finished work is on disk: rerun the same command to resume.", style="yellow")
    return code


_received: list[int] = []
"""Signals that ended this process."""


def _on_sigterm(number: int, _: object) -> None:
    """End as after Ctrl-C, so that workers are stopped and locks and status files let go."""
    if not _received:
        _received.append(number)
        raise KeyboardInterrupt


def describe(error: Exception) -> str:
    """Return an error as a readable paragraph.

    Args:
        error: The error.
    """
    if isinstance(error, DynamicSparsityError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}. Finished work is on disk; rerun the same command to resume."
    unexpected = f"This was not expected: `{DEBUG_OPTION}` shows where it came from; please report it."
    return f"{type(error).__name__}: {error}. {unexpected}"


def entry() -> None:
    """Run the installed program."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    # A closed pipe (`… | head`) is no error.
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception:
        # With --debug; the message may have names from outside in it.
        sys.stderr.write(printable(traceback.format_exc()))
        code = 1
    sys.exit(code)
