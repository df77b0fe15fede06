"""Trains the tiny recipe in a process of its own, which is killed at a chosen moment, as by `kill -9`.

A moment is named after what happens then: "cnn/last.ckpt: half" is when half of that file is written. The
process dies at the first moment with that name.
"""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.optim.optimizer import register_optimizer_step_post_hook

from tiny_run import train_tiny
from wheatear.data.sample import Sample
from wheatear.train import dataset, snips
from wheatear.train.photo import scaled_photo

Here = Callable[[object, str], None]

# A fork server with torch preloaded: starting a process takes no time, and each is as good as new.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["wheatear.train.run"])


def train_until(moment: str | None, out: Path, data: Path) -> int:
    """Train with --resume until the moment. -> the process's exit code, -SIGKILL if the moment came."""
    process = _SERVER.Process(target=_train, args=(moment, out, data))
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    assert code is not None
    return code


def _train(moment: str | None, out: Path, data: Path) -> None:
    def here(path: object, what: str) -> None:
        # RUN/cnn/last.ckpt is "cnn/last.ckpt", RUN/cache/cnn-…/a.map16.npy is "a.map16.npy".
        place = Path(str(path))
        short = (
            place.relative_to(out).as_posix() if out in (place.parent, place.parent.parent) else place.name
        )
        if f"{short}: {what}" == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch_files(here)
    _watch_steps(here)
    train_tiny(out, data, resume=True)


def _watch_files(here: Here) -> None:
    replace, save = os.replace, np.save

    def watched_replace(part: Path, path: Path) -> None:
        here(path, "before")
        replace(part, path)
        here(path, "after")

    def watched_save(file: Any, array: np.ndarray) -> None:
        here(getattr(file, "name", file), "before")
        save(file, array)

    def move_between_disks(part: str, path: str) -> None:
        """What shutil.move does if the folder of temporary files is on another disk: it copies instead of renaming."""
        content = Path(part).read_bytes()
        Path(path).write_bytes(content[: len(content) // 2])
        here(path, "half")
        Path(path).write_bytes(content)
        Path(part).unlink()
        here(path, "after")

    def watched_photo(sample: Sample, image_size: int) -> np.ndarray:
        here(sample.path, "read")
        return scaled_photo(sample, image_size)

    os.replace, np.save, shutil.move = watched_replace, watched_save, move_between_disks
    snips.scaled_photo = dataset.scaled_photo = watched_photo


def _watch_steps(here: Here) -> None:
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        here("step", str(steps))

    register_optimizer_step_post_hook(count)
