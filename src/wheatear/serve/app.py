"""What the page asks for: itself, facts about the detector, and the heads of one photo.

Nothing is kept: a photo is looked at and forgotten, and what its user changes stays in the page.
"""

import tempfile
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wheatear.count import counting_error_of
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.ground import size_warnings
from wheatear.sized import HeadPx, detect_in_file

HOST = "127.0.0.1"  # whoever is on the same network shall not see it
LARGEST = 512 * 1024**2  # bytes of a photo: 178 megapixels of 24 bits, not compressed
PARTS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
# The page loads nothing from elsewhere, and shows photos that it was given.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:"
)


def create_app(detector: Detector, head_px: HeadPx = None) -> Starlette:
    """The page and its two questions, for one detector; head_px as in `detect_sized`."""
    one_at_a_time = Lock()  # a photo has all cores

    def model(_: Request) -> JSONResponse:
        card = detector.card
        return JSONResponse(
            {"name": card.name, "threshold": card.threshold_to_count(), "floor": card.score_floor}
        )

    async def detect(request: Request) -> JSONResponse:
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder, "photo")
            if not await _received(request.stream(), photo):
                return JSONResponse({"error": f"is larger than {LARGEST // 1024**2} MB"}, 413)
            try:
                return JSONResponse(await run_in_threadpool(look, photo))
            except InputError as error:
                return JSONResponse({"error": str(error).removeprefix(f"{photo}: ")}, 422)

    def look(photo: Path) -> dict[str, Any]:
        with one_at_a_time:
            return found_in(detector, photo, head_px)

    routes = [Route("/", _part("page.html")), *(Route(f"/{name}", _part(name)) for name in PARTS)]
    routes += [Route("/model", model), Route("/detect", detect, methods=["POST"])]
    # A page of another name could be pointed at this address by whoever owns the name, and read what it answers.
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])]
    )


def found_in(detector: Detector, photo: Path, head_px: HeadPx = None) -> dict[str, Any]:
    """All that a detector finds in a photo, surest first, and what `wheatear count` says of it.

    boxes: xyxy pixels of the photo after its EXIF turn, down to the score floor. interval: of the count at the
    detector's own threshold, None where nobody measured its error. InputError where the photo cannot be read or run.
    """
    card = detector.card
    sized = detect_in_file(detector, photo, card.score_floor, head_px)
    heads, counted = sized.heads, sized.heads.above(card.threshold_to_count())
    error = counting_error_of(detector, card.threshold_to_count())
    return {
        "width": heads.width,
        "height": heads.height,
        "boxes": np.round(heads.boxes.astype(float), 2).tolist(),
        "scores": np.round(heads.scores.astype(float), 4).tolist(),
        "interval": None if error is None else list(error.around(len(counted))),
        "warnings": size_warnings(sized._replace(heads=counted), card.head_px),
    }


async def _received(stream: AsyncIterator[bytes], path: Path) -> bool:
    """Whether what is sent is not too much for a photo; it is in the file then."""
    size = 0
    with path.open("wb") as file:
        async for chunk in stream:
            size += len(chunk)
            if size > LARGEST:
                return False
            file.write(chunk)
    return True


def _part(name: str) -> Any:
    content = (files("wheatear") / "serve" / name).read_bytes()
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}

    def part(_: Request) -> Response:
        return Response(content, media_type=PARTS[name], headers=headers)

    return part
