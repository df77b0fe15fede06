"""Writing files whole or not at all, and telling them apart."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from wheatear.errors import InputError

LOCK, TRIAL = ".wheatear.lock", ".wheatear.part"  # no names that a file of the user may have


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep a folder for this process until the block ends; InputError where another process has it.

    It is made where it is not there, and goes again where nothing was put into it. The lock is the operating system's:
    it ends with the process, however that does.
    """
    from filelock import FileLock, Timeout  # not loaded by `wheatear --help`

    was_there = folder.exists()
    make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        wait = "wait for it, or name another folder for --out"
        raise InputError(f"{folder}: another run is writing there; {wait}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows the library itself removes it
            (folder / LOCK).unlink()
        lock.release()
        if not was_there:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the name `path` when the block ends well, and is removed when it does not.

    So `path` is either the old file or all of the new one, whenever the program is killed.
    """
    part = part_of(path)
    try:
        with naming(path):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(f"{path.name}.part")


def make_way(path: Path) -> None:
    """Make the folder that a file will be written into, before the work that it shall hold.

    InputError where there is a folder of the file's own name; OSError where nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    make_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, before the work that it shall hold.

    InputError where there is a file of its name; OSError where nothing can be written into it.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the results")
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / TRIAL
    try:
        trial.touch()
        trial.unlink(missing_ok=True)  # another run may try at the same time
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def refuse_own(folder: Path, out: Path, *more: Path | None) -> None:
    """InputError where a file to write is one of a data set's folder, or one more that was read: labels may be lost."""
    read = {path.resolve() for path in more if path is not None}
    if out.exists() and (out.resolve().is_relative_to(folder.resolve()) or out.resolve() in read):
        raise InputError(
            f"{out}: is there already and may be the data set's own; name another file for --out"
        )


def refuse_foreign(there: Sequence[Path], lacking: str) -> None:
    """InputError where files that are to be written are there already, without what would show that they are ours."""
    if there:
        raise InputError(f"{there[0]}: is there already, and no {lacking}; name another folder for --out")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to write into; its files are in the folder `path` when the block ends well, else nowhere.

    Files of other names that are in `path` already stay there.
    """
    part = part_of(path)
    shutil.rmtree(part, ignore_errors=True)  # what a killed process left
    try:
        with naming(path):
            part.mkdir()
            yield part
            _bring(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _bring(part: Path, path: Path) -> None:
    if not path.exists():
        os.replace(part, path)
        return
    for file in [found for found in part.rglob("*") if found.is_file()]:
        place = path / file.relative_to(part)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)


def sha256(path: Path) -> str:
    """The digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the path into an OSError that names none, as when a disk is full: "No space left" alone is no help."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
