"""The page's server on a free port of this computer, in a thread, while a test sends it requests."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette

from tiny_model import red_cells
from wheatear.serve.app import HOST

PATIENCE = 20  # seconds
SCORES = {(0, 0): 204, (1, 1): 140, (2, 3): 51}  # the red of each cell, of 255


def write_three_heads(path: Path) -> Path:
    """A photo of 120 × 80 pixels, in which the tiny model finds heads with scores 0.8, 0.55 and 0.2."""
    image = red_cells(list(SCORES))
    for (row, column), red in SCORES.items():
        image[20 * row : 20 * row + 20, 30 * column : 30 * column + 30, 0] = red
    Image.fromarray(image).save(path)
    return path


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


def ask(url: str, content: bytes | None = None, **headers: str) -> Answer:
    """GET, or POST the content."""
    request = urllib.request.Request(url, content, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Serve the page; yields its address."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        end = time.monotonic() + PATIENCE
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
