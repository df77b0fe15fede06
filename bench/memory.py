"""Peak memory of `wheatear count` on 10 photos and on 1,000, with all of its outputs.

    python bench/memory.py [--model small] [--few 10] [--many 1000] [--side 256] [--limit 1.2]

A few synthetic photos are repeated under many names (hard links). Counting runs in a separate process and writes
tables, pictures, all formats and the page. The exit code is 1 if the many photos take more than `limit` times the
memory of the few.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from peak import megabytes
from script import run_script
from wheatear.data.synth import draw_field
from wheatear.exports import EXPORTS

DRAWN = 8  # different photos


def peak_of(arguments: Sequence[object]) -> tuple[float, float]:
    """Return seconds and peak memory in MB of `wheatear ARGUMENTS` in a separate process, which must succeed."""
    command = [sys.executable, "-c", "from wheatear.cli import app; app()", *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"counting failed with status {status}")
    return time.perf_counter() - start, megabytes(usage)


def draw_photos(folder: Path, number: int, side: int) -> None:
    """Write `number` photos, of which DRAWN are different."""
    folder.mkdir()
    for i in range(number):
        if i < DRAWN:
            field = draw_field(np.random.default_rng(i), side)[0]
            Image.fromarray(field).save(folder / f"{i:05}.jpg", quality=90)
        else:
            os.link(folder / f"{i % DRAWN:05}.jpg", folder / f"{i:05}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--limit", type=float, default=1.2)
    given = parser.parse_args()
    outputs = ["--report", *(word for name in EXPORTS for word in ("--format", name))]
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for number in (given.few, given.many):
            photos, out = Path(folder, f"photos_{number}"), Path(folder, f"out_{number}")
            draw_photos(photos, number, given.side)
            seconds, peak = peak_of(["count", photos, "--out", out, "--model", given.model, *outputs])
            peaks.append(peak)
            print(f"{number:>6,} photos  {seconds:7.1f} s  peak {peak:6.0f} MB", flush=True)
    ratio = peaks[1] / peaks[0]
    print(f"{given.many / given.few:g} times the photos, {ratio:.2f} times the memory")
    raise SystemExit(ratio > given.limit)


if __name__ == "__main__":
    run_script(main)
