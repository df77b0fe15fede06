"""The error message of a command that fails."""

from click.testing import Result


def complaint_of(result: Result) -> str:
    """The one line on stderr with which a command failed, without the program's name."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("wheatear: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("wheatear: ").strip()
