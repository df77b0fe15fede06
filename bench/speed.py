"""Seconds per 1024² photo and peak memory: the shipped detector compared with alternatives.

    python bench/speed.py [--model small] [--peers fasterrcnn_mobilenet_v3_large_fpn …] [--photos 8] [--rounds 3]

A peer is the name of a torchvision detector (retinanet_resnet50_fpn is DeepForest's), run in eager torch at its default
input of 800 px with 1,000 proposals; or one of Ultralytics', such as yolo11n@640 or yolo11s@1024. The latter is a
network and its input size, exported to ONNX and run by onnxruntime through the library (`pip install ultralytics`).

The detectors take turns, each in a separate process, on the same synthetic photos with the same number of threads.
Ratios are computed within each round. Peers are built without trained weights, as these may not be available: the time
of their convolutions does not depend on them, but an untrained YOLO finds no boxes for its NMS to process.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from peak import megabytes
from script import run_script
from wheatear.data.synth import draw_field

PEER = "fasterrcnn_mobilenet_v3_large_fpn"
OURS = "wheatear"
WARM_UP = 2  # photos; the first calls allocate memory and select kernels


def ours(model: str, threads: int) -> Callable[[np.ndarray], object]:
    from wheatear import load

    return load(model, threads=threads).detect


def torchvision_peer(name: str, threads: int) -> Callable[[np.ndarray], object]:
    import torch
    from torchvision.models import get_model

    torch.set_num_threads(threads)
    network = get_model(name, weights=None, weights_backbone=None).eval()

    @torch.inference_mode()
    def detect(image: np.ndarray) -> object:
        return network([torch.from_numpy(image).permute(2, 0, 1).float() / 255])

    return detect


def export_ultralytics(detector: str, folder: Path) -> None:
    """Export a peer such as yolo11n@640 to FOLDER/yolo11n@640.onnx."""
    os.environ["YOLO_VERBOSE"] = "False"
    try:
        from ultralytics import YOLO
        from ultralytics.nn.tasks import yaml_model_load
    except ModuleNotFoundError as error:
        raise SystemExit(f"{detector}: {error}") from None

    name, side = detector.split("@")
    with contextlib.chdir(folder):  # where it exports to
        one_class = Path(f"{detector}.yaml")  # instead of COCO's 80; JSON is also YAML
        one_class.write_text(json.dumps(yaml_model_load(f"{name}.yaml") | {"nc": 1}), "utf-8")
        YOLO(one_class, verbose=False).export(format="onnx", imgsz=int(side))


def ultralytics_peer(file: Path, side: int) -> Callable[[np.ndarray], object]:
    from ultralytics import YOLO

    network = YOLO(file, task="detect", verbose=False)

    def detect(image: np.ndarray) -> object:
        return network(image, imgsz=side, verbose=False)  # it expects BGR, but untrained weights do not care

    return detect


def built(detector: str, given: argparse.Namespace) -> Callable[[np.ndarray], object]:
    """Return the function that detects in one photo, for OURS or a peer."""
    if detector == OURS:
        return ours(given.model, given.threads)
    if "@" in detector:
        return ultralytics_peer(given.exported / f"{detector}.onnx", int(detector.split("@")[1]))
    return torchvision_peer(detector, given.threads)


def measure(detect: Callable[[np.ndarray], object], photos: int) -> dict[str, float]:
    """Return the median seconds per photo and the peak memory of this process in MB."""
    images = [draw_field(np.random.default_rng(i))[0] for i in range(photos)]
    for image in images[:WARM_UP]:
        detect(image)
    seconds = []
    for image in images:
        start = time.perf_counter()
        detect(image)
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": statistics.median(seconds),
        "megabytes": megabytes(resource.getrusage(resource.RUSAGE_SELF)),
    }


def in_process(given: argparse.Namespace, detector: str) -> dict[str, float]:
    """Measure a detector, OURS or a peer, in a separate process."""
    same = [f"--{key}={getattr(given, key)}" for key in ("model", "photos", "threads", "exported")]
    command = [sys.executable, __file__, *same, "--measure", detector]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{detector}: {done.stderr.strip().splitlines()[-1]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="small")
    parser.add_argument("--peers", nargs="+", default=[PEER], metavar="NAME")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="Ultralytics takes all cores")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--exported", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(built(given.measure, given), given.photos)))
        return
    detectors = [OURS, *given.peers]
    with tempfile.TemporaryDirectory() as folder:
        given.exported = Path(folder)
        for peer in given.peers:
            if "@" in peer:  # not in this process: on Linux its children would inherit its peak
                export = get_context("spawn").Process(target=export_ultralytics, args=(peer, given.exported))
                export.start()
                export.join()
                if export.exitcode:
                    raise SystemExit(1)
        rounds = [{each: in_process(given, each) for each in detectors} for _ in range(given.rounds)]
    print(f"{given.photos} drawn photos of 1024², {given.threads} threads, {given.rounds} rounds; medians")
    print(f"{'':<36} {'s a photo':>9} {'MB at peak':>10}   time and memory of {given.model}, of this one's")
    for each in detectors:
        seconds, memory = (
            statistics.median(r[each][key] for r in rounds) for key in ("seconds", "megabytes")
        )
        line = f"{given.model if each == OURS else each:<36} {seconds:9.3f} {memory:10.0f}"
        if each != OURS:
            ratios = [r[OURS]["seconds"] / r[each]["seconds"] for r in rounds]
            of_memory = statistics.median(r[OURS]["megabytes"] / r[each]["megabytes"] for r in rounds)
            line += f"   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})   {of_memory:.2f}"
        print(line)


if __name__ == "__main__":
    run_script(main)
