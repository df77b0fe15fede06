"""Find and count wheat heads in field photos.

    from wheatear import load
    heads = load().count("photo.jpg")
    print(len(heads), heads.boxes, heads.scores)

The public API consists of the names in `__all__` and the writers in wheatear.exports. Each name is imported
on first access, so `import wheatear` alone costs next to nothing.
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

# onnxruntime reports to its makers unless told not to before it is imported; nothing here leaves the computer.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from wheatear.data.formats import read_dataset as read_dataset
    from wheatear.data.formats import write_dataset as write_dataset
    from wheatear.data.sample import Sample as Sample
    from wheatear.detections import Detections as Detections
    from wheatear.detector import Detector as Detector
    from wheatear.detector import load as load
    from wheatear.errors import InputError as InputError
    from wheatear.evaluation import evaluate as evaluate

    __version__: str

_HOME = {
    "Detections": "wheatear.detections",
    "Detector": "wheatear.detector",
    "InputError": "wheatear.errors",
    "Sample": "wheatear.data.sample",
    "evaluate": "wheatear.evaluation",
    "load": "wheatear.detector",
    "read_dataset": "wheatear.data.formats",
    "write_dataset": "wheatear.data.formats",
}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("wheatear")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
