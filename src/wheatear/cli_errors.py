"""What a user sees when something is wrong: one line, exit code 1, no traceback."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from wheatear.errors import InputError

MENDS = {
    errno.ENOSPC: "; make room on that disk",
    errno.EROFS: "; name a folder on another disk",
    errno.ENOLCK: "; name a folder on another disk",  # some network drives know no locks
    errno.ENOTSUP: "; name a folder on another disk",
}
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # as torch says it, of a GPU and of a CPU


@contextmanager
def friendly_errors(smaller: str = "") -> Iterator[None]:
    """Print InputError, OSError (no permission, disk full, …) and a lack of memory as one line on stderr; exit code 1.

    smaller: what else a user can do about a lack of memory.
    To be used as `with friendly_errors():` or as the decorator `@friendly_errors()`. A pipe that was
    closed, as by `| head`, is nobody's mistake and passes through to typer, which exits without a word.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (InputError, OSError) as error:
        typer.echo(f"wheatear: {_one_line(error)}", err=True)
        raise typer.Exit(1) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(said in str(error) for said in OUT_OF_MEMORY):
            raise
        typer.echo(f"wheatear: there is not enough memory; close other programs{smaller}", err=True)
        raise typer.Exit(1) from None
    except ImportError as error:  # onnxruntime makes one of Ctrl-C while it is being loaded
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _one_line(error: InputError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        # Where a copy does not fit, `filename` is what is copied.
        place = error.filename2 if error.errno == errno.ENOSPC and error.filename2 else error.filename
        text = f"{place}: {error.strerror}" if place else error.strerror
        text += MENDS.get(error.errno or 0, "")
    else:
        # torch puts the traceback of a process that reads photos before what was said there.
        text = str(error).rpartition(f".{InputError.__name__}: ")[2] or type(error).__name__
    return " ".join(text.split())
