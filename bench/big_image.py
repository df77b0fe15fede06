"""Peak memory and time of `wheatear count` on a GeoTIFF of 20,000 × 20,000 pixels, compared with 5,000 × 5,000.

    python bench/big_image.py [--model small] [--side 20000] [--limit-mb 1500]

The image is generated here from synthetic fields, as a tiled JPEG GeoTIFF with 1 mm pixels in UTM. Counting runs in a
separate process and writes everything that a user gets: boxes, picture, maps. The exit code is 1 if the memory
exceeds the limit. Needs the extra `geo`.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from memory import peak_of
from script import run_script
from wheatear.data.synth import draw_field

BLOCK = 1024  # side of a synthetic field, in pixels
FIELDS = 8  # different fields, repeated in turn


def make(path: Path, side: int) -> None:
    """Write a GeoTIFF of side × side pixels, block by block."""
    fields = [draw_field(np.random.default_rng(i))[0].transpose(2, 0, 1) for i in range(FIELDS)]
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", crs="EPSG:32631",
        transform=from_origin(500_000, 5_538_630, 0.001, 0.001), tiled=True, blockxsize=512, blockysize=512,
        compress="jpeg", photometric="ycbcr",
    ) as file:  # fmt: skip
        for number, (row, column) in enumerate(np.ndindex(-(-side // BLOCK), -(-side // BLOCK))):
            height, width = (min(BLOCK, side - place * BLOCK) for place in (row, column))
            field = fields[number % FIELDS][:, :height, :width]
            file.write(field, window=Window(column * BLOCK, row * BLOCK, width, height))


def measure(image: Path, out: Path, model: str) -> tuple[float, float, int]:
    """Return seconds, peak memory in MB and heads of `wheatear count` on one image."""
    seconds, megabytes = peak_of(["count", image, "--out", out, "--model", model])
    with (out / "counts.csv").open() as file:
        heads = int(next(csv.DictReader(file))["heads"])
    return seconds, megabytes, heads


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--limit-mb", type=float, default=1500)
    given = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for side in (given.side // 4, given.side):
            image = Path(folder, f"field_{side}.tif")
            make(image, side)
            seconds, megabytes, heads = measure(image, Path(folder, f"out_{side}"), given.model)
            peaks.append(megabytes)
            size = f"{image.stat().st_size / 1024**2:,.0f} MB on disk"
            print(
                f"{side:>6} × {side:<6} {size}  {heads:>8,} heads  {seconds:7.1f} s  peak {megabytes:6.0f} MB",
                flush=True,
            )
    print(f"16 times the pixels, {peaks[1] / peaks[0]:.2f} times the memory")
    raise SystemExit(peaks[1] > given.limit_mb)


if __name__ == "__main__":
    run_script(main)
