"""`wheatear`, and `python -m wheatear` for when that script is not on the PATH."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded ends it without a traceback."""
    try:
        from wheatear.cli import app
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell expects from a program stopped by Ctrl-C
    app(prog_name="wheatear")


if __name__ == "__main__":
    main()
