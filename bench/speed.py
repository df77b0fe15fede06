"""Seconds a 1024² photo and peak memory: the shipped detector beside torchvision's fasterrcnn_mobilenet_v3_large_fpn.

    python bench/speed.py [--model small] [--photos 8] [--rounds 3]

Each runs in processes of its own, in turn, on the same drawn photos with the same number of threads; the ratio is
taken round by round. torchvision's network is built without weights, as none can be assumed here: the time of its
convolutions does not depend on them, and it keeps its default input of 800 px and 1,000 proposals.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from wheatear.data.synth import draw_field

PEER = "torchvision fasterrcnn_mobilenet_v3_large_fpn"
WARM_UP = 2  # photos; the first calls allocate memory and choose kernels


def ours(model: str, threads: int) -> Callable[[np.ndarray], object]:
    from wheatear import load

    return load(model, threads=threads).detect


def torchvision_peer(threads: int) -> Callable[[np.ndarray], object]:
    import torch
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

    torch.set_num_threads(threads)
    network = fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None).eval()

    @torch.inference_mode()
    def detect(image: np.ndarray) -> object:
        return network([torch.from_numpy(image).permute(2, 0, 1).float() / 255])

    return detect


def measure(detect: Callable[[np.ndarray], object], photos: int) -> dict[str, float]:
    """Median seconds a photo, and the peak memory of this process in MB."""
    images = [draw_field(np.random.default_rng(i))[0] for i in range(photos)]
    for image in images[:WARM_UP]:
        detect(image)
    seconds = []
    for image in images:
        start = time.perf_counter()
        detect(image)
        seconds.append(time.perf_counter() - start)
    unit = 1024 if sys.platform != "darwin" else 1024**2  # Linux counts in KiB, macOS in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / (1024 * unit)
    return {"seconds": statistics.median(seconds), "megabytes": peak}


def in_process(arguments: list[str]) -> dict[str, float]:
    output = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(output.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["ours", "peer"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        detect = ours(given.model, given.threads) if given.only == "ours" else torchvision_peer(given.threads)
        print(json.dumps(measure(detect, given.photos)))
        return
    rounds = [
        {only: in_process([*sys.argv[1:], "--only", only]) for only in ("ours", "peer")}
        for _ in range(given.rounds)
    ]
    print(f"{given.photos} drawn photos of 1024², {given.threads} threads, {given.rounds} rounds; medians")
    for only, name in (("ours", f"wheatear {given.model}"), ("peer", PEER)):
        seconds, memory = (
            statistics.median(r[only][key] for r in rounds) for key in ("seconds", "megabytes")
        )
        print(f"{name:<46} {seconds:6.3f} s a photo   peak {memory:6.0f} MB")
    ratios = [r["ours"]["seconds"] / r["peer"]["seconds"] for r in rounds]
    memory = statistics.median(r["ours"]["megabytes"] / r["peer"]["megabytes"] for r in rounds)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"ratio: {statistics.median(ratios):.2f} of the time ({spread}), {memory:.2f} of the memory")


if __name__ == "__main__":
    main()
