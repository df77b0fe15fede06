"""`wheatear serve`: photos counted in a browser."""

import os
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from wheatear.cli_errors import friendly_errors
from wheatear.cli_options import HeadPxOption, ModelOption, TTAOption, parse_head_px, say_unchosen
from wheatear.errors import InputError

if TYPE_CHECKING:
    from types import FrameType

    from starlette.applications import Starlette


@friendly_errors()
def serve_command(
    model: ModelOption = None,
    tta: TTAOption = None,
    head_px: HeadPxOption = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the address; 0 picks a free one.", metavar="NUMBER")
    ] = 8000,
) -> None:
    """Count in a browser: drop photos on a page, check and correct the boxes, save the counts.

    The page is available on this computer only, and nothing is sent anywhere
    else. Press Ctrl-C to stop.
    """
    need_server()
    from wheatear.detector import DEFAULT_MODEL, load
    from wheatear.serve.app import create_app

    size = parse_head_px(head_px)
    detector = load(model or DEFAULT_MODEL, tta=tta)
    say_unchosen(detector, "another threshold in the page")
    run(create_app(detector, size), port)


def need_server() -> None:
    """Raises InputError, saying what to install, where there is nothing to serve the page with."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the page needs a server ({error}); run pip install '.[serve]' in wheatear's folder"
        ) from None


def run(app: "Starlette", port: int) -> None:
    """Serve until Ctrl-C. InputError where the port is another program's."""
    import uvicorn

    from wheatear.serve.app import HOST

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: "FrameType | None") -> None:
            if app.state.one_at_a_time.locked() and not self.should_exit:
                typer.echo("wheatear: ends once the photo that is being counted is finished", err=True)
            super().handle_exit(sig, frame)

    with socket.socket() as listener:
        # So that it can begin anew at once; on Windows two programs would share a port.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            raise InputError(f"--port {port}: {error.strerror}; give another") from None
        typer.echo(f"Open http://{HOST}:{listener.getsockname()[1]} in a browser; Ctrl-C ends it")
        Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
