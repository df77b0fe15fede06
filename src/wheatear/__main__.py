"""`python -m wheatear`: the command line, for when the `wheatear` script is not on the PATH."""

from wheatear.cli import app

app(prog_name="wheatear")
