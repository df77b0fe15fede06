"""The public API is exactly this, and none of it needs torch."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wheatear
from tiny_model import red_cells, write_tiny_model

TRAINING_ONLY = ("torch", "torchvision", "lightning", "onnx", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after this code."""
    report = "\nimport sys; print('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_the_public_names():
    assert set(wheatear.__all__) == {
        *("load", "Detector", "Detections", "InputError", "__version__"),
        *("evaluate", "read_dataset", "write_dataset", "Sample"),
    }
    assert set(dir(wheatear)) == set(wheatear.__all__)
    for name in wheatear.__all__:
        assert getattr(wheatear, name) is not None
    assert wheatear.__version__ == version("wheatear")


def test_other_names_are_errors():
    with pytest.raises(AttributeError, match="no attribute 'train_it'"):
        wheatear.train_it  # noqa: B018


def test_importing_wheatear_loads_next_to_nothing():
    loaded = loaded_by("import wheatear; wheatear.__version__")
    assert not loaded & {*TRAINING_ONLY, "numpy", "PIL", "onnxruntime", "pydantic"}


def test_detecting_loads_no_torch(tmp_path: Path):
    model = write_tiny_model(tmp_path)
    photo = tmp_path / "photo.png"
    Image.fromarray(red_cells([(0, 0)])).save(photo)
    code = f"from wheatear import load\nassert len(load({str(model)!r}).detect({str(photo)!r})) == 1"
    loaded = loaded_by(code)
    assert "onnxruntime" in loaded
    assert not loaded & set(TRAINING_ONLY)


def test_onnxruntime_is_told_not_to_report():
    code = "import wheatear, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert told.stdout.split() == [b"1"]


def test_help_on_counting_loads_neither_torch_nor_the_detector():
    code = (
        "import typer\nfrom wheatear.cli_count import count_command\n"
        "app = typer.Typer()\napp.command('count')(count_command)\napp(['--help'], standalone_mode=False)"
    )
    assert not loaded_by(code) & {*TRAINING_ONLY, "numpy", "PIL", "onnxruntime", "pydantic"}


@pytest.mark.parametrize(
    "code",
    [
        "from wheatear import evaluate\nfrom wheatear import evaluate",
        "import wheatear\nwheatear.evaluate\nevaluate = wheatear.evaluate",
        "import wheatear.evaluation\nfrom wheatear import evaluate",
    ],
)
def test_evaluate_is_the_function_however_it_is_imported(code):
    loaded_by(code + "\nassert callable(evaluate), evaluate")


def test_the_example_in_the_docstring(tmp_path: Path):
    heads = wheatear.load(write_tiny_model(tmp_path)).count(red_cells([(0, 0)]))
    assert isinstance(heads, wheatear.Detections)
    assert isinstance(heads.boxes, np.ndarray)
