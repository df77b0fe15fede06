"""Write files whole or not at all, protect those of others, and compute digests."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wheatear.errors import InputError

SHAPEFILE = (".shx", ".dbf", ".prj", ".cpg")  # the other files of a Shapefile
LOCK, TRIAL = ".wheatear.lock", ".wheatear.part"  # names that no file of the user will have


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Reserve a folder for this process until the block ends; InputError if another process has it.

    It is created if it does not exist, and then removed again if nothing was put into it. The lock is the
    operating system's: it ends with the process, however that ends.
    """
    from filelock import FileLock, Timeout  # not loaded by `wheatear --help`

    was_there = folder.exists()
    make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        with naming(folder):
            lock.acquire(timeout=0)
    except Timeout as error:
        wait = "wait for it, or name another folder for --out"
        raise InputError(f"{folder}: another run is writing there; {wait}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows the library removes it itself
            (folder / LOCK).unlink()
        lock.release()
        if not was_there:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to; it is renamed to `path` if the block ends well, and removed if it does not.

    So `path` is always either the old file or the whole new one, even if the program is killed.
    """
    part = part_of(path)
    try:
        with naming(path):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON, whole or not at all."""
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def part_of(path: Path) -> Path:
    """The path of a file until it is complete."""
    return path.with_name(f"{path.name}.part")


def make_way(path: Path) -> None:
    """Create the folder into which a file will be written, before the work whose results it will contain.

    InputError if `path` is a folder or its folder is a file; OSError if nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    make_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder, before the work whose results it will contain.

    InputError if it is a file; OSError if nothing can be written into it.
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
    """InputError if `out` exists and is one of a dataset's files, or of `more` that were read: labels may be lost."""
    read = {path.resolve() for path in more if path is not None}
    if out.exists() and (out.resolve().is_relative_to(folder.resolve()) or out.resolve() in read):
        raise InputError(
            f"{out}: is there already and may be the data set's own; name another file for --out"
        )


def refuse_foreign(there: Sequence[Path], lacking: str) -> None:
    """InputError if files to be written exist already, without anything that would show that they are ours.

    there: the existing files. lacking: what would show it, for the message.
    """
    if there:
        raise InputError(f"{there[0]}: is there already, and no {lacking}; name another folder for --out")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to write into; its files move to the folder `path` if the block ends well.

    Otherwise they are removed. Files of other names that are already in `path` stay there.
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


def parts_of_plots(path: Path) -> list[Path]:
    """The files that a file of plots consists of, sorted: itself, or all of a Shapefile.

    What was saved to a GeoPackage while QGIS has it open is in a file beside it, SQLite's write-ahead log.
    """
    if path.suffix.lower() != ".shp":
        log = path.with_name(f"{path.name}-wal")
        return [path, log] if log.is_file() and log.stat().st_size else [path]
    # Not compared with the names in the folder: macOS and Windows know a file by its name in other letters, too.
    others = (path.with_suffix(form) for suffix in SHAPEFILE for form in (suffix, suffix.upper()))
    return sorted([path, *(file for file in others if file.is_file())])


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError that names none, as on a full disk: "No space left" alone does not help."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
