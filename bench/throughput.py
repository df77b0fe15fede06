"""Photos per second of `wheatear count`, of one photo at a time, and of torchvision's mobilenet Faster R-CNN.

    python bench/throughput.py [--model small] [--photos 60] [--rounds 3] [--jobs 1 2]

All read the same synthetic 1024² JPEGs from disk and use as many threads as there are cores. Each run is a separate
process. `one at a time` and `count` write the same tables and pictures; the peer only reads and detects. Memory is
also measured on a tenth of the photos, to show that it does not grow with their number. Torchvision's network is built
without trained weights, as these may not be available: the time of its convolutions does not depend on them.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from peak import megabytes
from script import run_script
from speed import PEER, torchvision_peer
from wheatear.data.synth import draw_field

CORES = os.cpu_count() or 1


def draw_photos(folder: Path, number: int) -> None:
    for i in range(number):
        Image.fromarray(draw_field(np.random.default_rng(i))[0]).save(folder / f"{i:04}.jpg", quality=90)


Work = Callable[[list[Path], Path], None]  # from photos, into a folder


def one_at_a_time(model: str) -> Work:
    """The work of `count`, with each step waiting for the one before."""
    from wheatear import load
    from wheatear.detections import HEADER, rows
    from wheatear.images import open_photo
    from wheatear.outputs import draw_picture
    from wheatear.pixels import InMemory
    from wheatear.tables import table

    detector = load(model, threads=CORES)

    def run(photos: list[Path], out: Path) -> None:
        with (
            table(out / "counts.csv", ("image", "heads")) as counts,
            table(out / "detections.csv", HEADER) as boxes,
        ):
            for path in photos:
                image = open_photo(path)
                heads = detector.detect(image)
                draw_picture(InMemory(image), heads, out / "annotated" / path.name)
                boxes(rows(path.name, heads))
                counts([[path.name, len(heads)]])

    return run


def count(model: str, jobs: int) -> Work:
    from wheatear import load
    from wheatear.count import Options, count_photos
    from wheatear.photo_names import name_photos

    detector = load(model, threads=max(1, CORES // jobs))

    def run(photos: list[Path], out: Path) -> None:
        for each in count_photos(detector, name_photos(photos), out, Options(jobs=jobs)):
            assert not each.error

    return run


def torchvision_mobilenet() -> Work:
    from wheatear.images import open_photo

    detect = torchvision_peer(PEER, CORES)

    def run(photos: list[Path], out: Path) -> None:
        for path in photos:
            detect(open_photo(path))

    return run


def prepared(name: str, model: str) -> Work:
    """Return the work of that name, with its network loaded."""
    if name.startswith("count"):
        return count(model, int(name.rpartition(" ")[2]))
    return one_at_a_time(model) if name == "one at a time" else torchvision_mobilenet()


def measure(name: str, folder: Path, model: str, number: int) -> dict[str, float]:
    """Return photos per second, without loading the model, and the peak memory of this process in MB."""
    work, photos = prepared(name, model), sorted(folder.glob("*.jpg"))[:number]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as out:
        work(photos[:1], Path(first))  # loads libraries and warms the disk cache
        start = time.perf_counter()
        work(photos, Path(out))
        seconds = time.perf_counter() - start
    peak = megabytes(resource.getrusage(resource.RUSAGE_SELF))
    return {"rate": number / seconds, "megabytes": peak}


def in_process(*arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    if sys.argv[1:2] == ["--only"]:
        name, folder, model, number = sys.argv[2:]
        print(json.dumps(measure(name, Path(folder), model, int(number))))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    names = ["one at a time", *(f"count --jobs {jobs}" for jobs in given.jobs), "torchvision mobilenet"]
    with tempfile.TemporaryDirectory() as folder:
        draw_photos(Path(folder), given.photos)
        rounds = [
            {name: in_process(name, folder, given.model, given.photos) for name in names}
            for _ in range(given.rounds)
        ]
        few = in_process(names[1], folder, given.model, max(1, given.photos // 10))
    print(f"{given.photos} drawn photos of 1024², {CORES} cores, {given.rounds} rounds; medians")
    for name in names:
        rate, memory = (
            statistics.median(each[name][key] for each in rounds) for key in ("rate", "megabytes")
        )
        ratio = statistics.median(each[name]["rate"] / each[names[0]]["rate"] for each in rounds)
        print(f"{name:<22} {rate:6.2f} photos/s  {ratio:5.2f} times one at a time  peak {memory:6.0f} MB")
    print(f"{names[1]} over {max(1, given.photos // 10)} photos: peak {few['megabytes']:.0f} MB")


if __name__ == "__main__":
    run_script(main)
