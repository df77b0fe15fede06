"""What a script of bench/ says when something is wrong: one line and exit code 1, as `wheatear` does."""

import sys
from collections.abc import Callable

import typer

from wheatear.cli_errors import friendly_errors


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main()."""
    try:
        with friendly_errors():
            main()
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
