"""Reading and writing the contents of a run folder.

RUN/recipe.json    the whole recipe                RUN/run.json       versions, machine, amount of data
RUN/images.csv     the split                       RUN/cache          frozen maps and proposals; may be deleted
RUN/STAGE/         one folder per stage: weights.safetensors (the parts it trained), metrics.csv (a row per epoch),
                   history.png, metrics.json (the final figures; written last, so it marks a finished stage),
                   last.ckpt, tensorboard; for cnn also snips, 49 kB each at 128 px
RUN/model.onnx     what `wheatear export` writes   RUN/model.json     its card
"""

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from wheatear.errors import InputError, last_line
from wheatear.files import whole

# What torch.load raises for a file that torch.save did not write.
NOT_LOADED = (EOFError, LookupError, OSError, RuntimeError, UnpicklingError, struct.error)
RECIPE, FACTS = "recipe.json", "run.json"  # of a run
WEIGHTS, METRICS, HISTORY = "weights.safetensors", "metrics.json", "metrics.csv"  # of each stage


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises InputError if the file is missing or holds anything else."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object of JSON")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read ({why}); is this a run folder?") from None
    return content


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Read an .npy file, or map it into memory. Raises InputError if it is damaged, as after a power cut."""
    try:
        return np.load(path, mmap_mode="r" if mapped else None)
    except (EOFError, ValueError):
        raise damaged(path) from None


def damaged(path: Path) -> InputError:
    """What is said of a file, of a folder that can be computed anew, that cannot be read."""
    return InputError(f"{path}: is damaged or cut short; remove {path.parent}, and it is computed anew")


def save_parts(model: nn.Module, parts: Sequence[nn.Module], path: Path) -> None:
    """Write the parameters and buffers of `parts` under the names they have in `model`."""
    wanted = {t.data_ptr() for part in parts for t in part.state_dict().values()}
    tensors = {k: v.contiguous() for k, v in model.state_dict().items() if v.data_ptr() in wanted}
    with whole(path) as part:
        part.write_bytes(save(tensors))  # save_file reports a full disk with an exception of its own


def load_parts(model: nn.Module, path: Path) -> set[str]:
    """Load into `model` what `save_parts` wrote; other parts stay as they are. -> the tensors' names.

    Raises InputError if the file is damaged, or has a tensor that the model lacks or has in another shape.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: is damaged or cut short ({error}); train the stage again") from None
    put_in(model, tensors, path)
    return set(tensors)


def put_in(model: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy tensors into `model` by name; what they do not cover stays as it is.

    Raises InputError, naming their source, if the model has no tensor of that name, or one of another shape.
    """
    try:
        result = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise InputError(f"{source}: does not fit the recipe ({last_line(error)})") from None
    if result.unexpected_keys:
        raise InputError(f"{source}: does not fit the recipe (unknown {result.unexpected_keys[0]})")


def refuse_untrained(model: nn.Module, read: Collection[str], source: Path) -> None:
    """Raise InputError if some of a detector's weights were not read and so are still random.

    The snip classifier, which only serves to train the backbone, may be missing.
    """
    missing = [key for key in model.state_dict() if key not in read and not key.startswith("snip_head.")]
    if missing:
        raise InputError(f"{source}: does not fit the recipe (has no {missing[0]})")


def is_detector(path: Path) -> bool:
    """Whether a file holds the weights of a whole detector, as a joint stage writes them."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, "numpy") as file:
            parts = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118  (it is no dict)
        return {"backbone", "roi_head"} <= parts
    except SafetensorError:
        return False  # the error is reported when it is read


def has_history(run: Path, stage: str) -> bool:
    """Whether the run has this stage's figures for each epoch; runs made by `wheatear average` have none."""
    return (run / stage / HISTORY).exists()


def finished(run: Path, stage: str) -> bool:
    """Whether this stage of the run is finished."""
    return (run / stage / METRICS).exists()
