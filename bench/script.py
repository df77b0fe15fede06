"""What the scripts of bench/ say when something is wrong: one line and exit code 1, as `wheatear` does."""

import sys
from collections.abc import Callable, Collection, Iterable

import typer

from wheatear.cli_errors import friendly_errors
from wheatear.errors import InputError


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main()."""
    try:
        with friendly_errors():
            main()
    except typer.Exit as stop:
        sys.exit(stop.exit_code)


def refuse_unknown(place: str, names: Iterable[str], there: Collection[str]) -> None:
    """Raise InputError for a name that is not there. place: where it is written, for the message."""
    for name in names:
        if name not in there:
            raise InputError(f"{place}: there is no {name}; there are {', '.join(sorted(there)) or 'none'}")
