"""The command line, `wheatear …`. Each command lives with its job; what it needs is imported when it runs."""

import sys
from typing import Annotated

import typer

from wheatear import cli_data
from wheatear.cli_count import count_command
from wheatear.cli_evaluate import evaluate_command
from wheatear.cli_explain import explain_command
from wheatear.cli_export import average_command, export_command
from wheatear.cli_serve import serve_command
from wheatear.cli_train import train_command

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find and count wheat heads in field photos; train, evaluate and export detectors.",
)


def say_version(asked: bool) -> None:
    """Print the package version and exit."""
    if asked:
        from wheatear import __version__

        typer.echo(f"wheatear {__version__}")
        raise typer.Exit


@app.callback()
def before_any_command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=say_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Characters that the terminal cannot display, such as ², are printed as "?" instead of causing an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


app.command("count")(count_command)
app.command("serve")(serve_command)
app.command("evaluate")(evaluate_command)
app.command("explain")(explain_command)
app.command("train")(train_command)
app.command("average")(average_command)
app.command("export")(export_command)
app.add_typer(cli_data.app, name="data")
