"""`python -m wheatear`: the command line where its script is not on the path."""

from wheatear.cli import app

app(prog_name="wheatear")
