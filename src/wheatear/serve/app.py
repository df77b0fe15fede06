"""What the page requests: its own files, facts about the detector, and the heads in one photo.

Nothing is kept: a photo is processed and forgotten, and the user's corrections stay in the page.
"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wheatear.area import Scale
from wheatear.by_hand import OWN_WORTH, STILL_OFF, STILL_OFF_HEADS, thresholds_from
from wheatear.count import COUNTS_HEADER, counting_error_of
from wheatear.data.coco import CATEGORIES
from wheatear.detections import HEADER
from wheatear.detector import Detector
from wheatear.errors import InputError
from wheatear.folders import SHARED, student_95
from wheatear.ground import ENOUGH_HEADS, LONGEST_HEAD, SHORTEST_HEAD, ground_of, odd_size
from wheatear.head_size import usual_px
from wheatear.images import OTHER_SUFFIXES, PHOTO_SUFFIXES, is_turned_otherwise
from wheatear.photo_names import PAGE_COLUMNS
from wheatear.raster import opened_pixels
from wheatear.sized import HeadPx, detect_sized

HOST = "127.0.0.1"  # not reachable by others on the same network
LARGEST = 512 * 1024**2  # bytes of a photo: 178 megapixels of 24 bits, uncompressed
PARTS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
MANY = 100  # photos; for a mean over more, the page uses Student's factor for this many
HEADERS = {
    # The page loads nothing from other sites, and no other site may show it in a frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def create_app(detector: Detector, head_px: HeadPx = None) -> Starlette:
    """The page and its two requests, for one detector; head_px as in `detect_sized`.

    `state.one_at_a_time` of what it returns is locked while a photo is being counted.
    """
    one_at_a_time = anyio.Lock()  # each photo uses all cores

    async def model(_: Request) -> Response:
        return JSONResponse(facts_of(detector, head_px))

    async def detect(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return _refusal(403, "is from another page")
        try:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                photo = Path(folder, f"photo{_suffix(request.query_params.get('name', ''))}")
                if not await _received(request.stream(), photo):
                    return _refusal(413, f"is larger than {LARGEST // 1024**2} MB")
                async with one_at_a_time:
                    if await request.is_disconnected():
                        return Response()
                    return JSONResponse(await run_in_threadpool(found_in, detector, photo, head_px))
        except ClientDisconnect:
            return Response()
        except InputError as error:
            return _refusal(422, str(error).removeprefix(f"{photo}: "))
        except OSError as error:
            return _refusal(507, f"could not be put into a file ({error.strerror})")

    parts = {name: _part(name) for name in PARTS}
    routes = [Route("/", parts["page.html"]), *(Route(f"/{name}", part) for name, part in parts.items())]
    routes += [Route("/model", model), Route("/detect", detect, methods=["POST"])]
    # Against DNS rebinding: the owner of another host name could point it at this address and read the answers.
    app = Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])]
    )
    app.state.one_at_a_time = one_at_a_time
    return app


def facts_of(detector: Detector, head_px: HeadPx = None) -> dict[str, Any]:
    """What the page needs to know, before any photo, about the detector and the tables and labels that it writes.

    error: that of counts at the detector's own threshold (`CountingError`), None if it was not measured.
    thresholds, own_worth and still_off (a fraction of the heads, and heads per photo) are for fitting a
    threshold (`by_hand`), shared and student_95 (for 2 photos, 3, …) for a mean (`folders`).
    usual_px: the range of head sizes at which photos are not resized; None with --head-px, be it a size or auto.
    """
    card = detector.card
    error = counting_error_of(detector, card.threshold_to_count())
    return {
        "name": card.name,
        "run": card.name if detector.tta is None else f"{card.name} --tta {detector.tta}",
        "threshold": card.threshold_to_count(),
        "floor": card.score_floor,
        "error": None if error is None else {"margin": error.margin, "mean_heads": error.mean_heads},
        "thresholds": thresholds_from(card.score_floor).tolist(),
        "own_worth": OWN_WORTH,
        "still_off": [STILL_OFF, STILL_OFF_HEADS],
        "shared": SHARED,
        "student_95": [student_95(photos - 1) for photos in range(2, MANY + 1)],
        "enough_heads": ENOUGH_HEADS,
        "trained_px": card.head_px,
        "usual_px": usual_px(card.head_px) if head_px is None else None,
        "head_metres": [SHORTEST_HEAD, LONGEST_HEAD],
        "counts_header": (*COUNTS_HEADER, *PAGE_COLUMNS),
        "heads_header": HEADER,
        "categories": CATEGORIES,
    }


def found_in(detector: Detector, photo: Path, head_px: HeadPx = None) -> dict[str, Any]:
    """All that a detector finds in a photo, highest score first, and what `wheatear count` reports about it.

    boxes: xyxy pixels of the photo with its orientation applied, down to the score floor. scores: not
    rounded, as they are compared for counting. turned: whether its orientation comes from metadata that
    browsers ignore. resized_by: the head size by which it was resized, None if it was not. pixels: how many
    contain data. area_m2: of the ground, None unless the photo has coordinates. warnings: on the ground, and
    on head sizes at the threshold for counting. InputError if the photo cannot be read, or the detector fails
    on it.
    """
    card = detector.card
    with opened_pixels(photo) as pixels:
        sized = detect_sized(detector, pixels, card.score_floor, head_px)
        ground = ground_of(photo, pixels, Scale())
    heads, counted = sized.heads, sized.heads.above(card.threshold_to_count())
    sought = sized.resized_by or card.head_px
    return {
        "width": heads.width,
        "height": heads.height,
        "boxes": np.round(heads.boxes.astype(float), 2).tolist(),
        "scores": heads.scores.astype(float).tolist(),
        "resized_by": sized.resized_by,
        "turned": is_turned_otherwise(photo),
        "pixels": ground.pixels,
        "area_m2": ground.area_m2,
        "warnings": [*ground.warnings, *filter(None, [odd_size(counted, sought, sized.measured)])],
    }


def _suffix(name: str) -> str:
    """The extension of a photo's name, as a hint at its format; nothing else of the name is used."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in (*PHOTO_SUFFIXES, *OTHER_SUFFIXES) else ""


async def _received(stream: AsyncIterator[bytes], path: Path) -> bool:
    """Write what is sent to a file; False if it is too large for a photo, which leaves the file incomplete."""
    size = 0
    with path.open("wb") as file:
        async for chunk in stream:
            size += len(chunk)
            if size > LARGEST:
                return False
            file.write(chunk)
    return True


def _refusal(status: int, line: str) -> Response:
    return JSONResponse({"error": line}, status)


def _part(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = (files("wheatear") / "serve" / name).read_bytes()

    async def part(_: Request) -> Response:
        return Response(content, media_type=PARTS[name], headers=HEADERS)

    return part
