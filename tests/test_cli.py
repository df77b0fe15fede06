"""The command line as a whole: what it offers, what it loads, what it returns."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from wheatear import __version__
from wheatear.cli import app

COMMANDS = ("average", "count", "data", "evaluate", "explain", "export", "serve", "train")
TRAINING_ONLY = {"torch", "torchvision", "lightning", "onnx", "matplotlib", "tensorboard", "safetensors"}
SLOW = {"numpy", "PIL", "onnxruntime", "faster_coco_eval"}  # pydantic is typer's own need

runner = CliRunner()


def loaded_by(*arguments: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `wheatear ARGUMENTS`, which must end well."""
    code = (
        "import sys\nfrom wheatear.cli import app\n"
        f"sys.argv = ['wheatear', *{arguments!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "wheatear", "count", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: wheatear count" in done.stdout


def test_ctrl_c_while_it_is_loaded_shows_no_traceback():
    code = (
        "import runpy, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'wheatear.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "runpy.run_module('wheatear', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_version_is_the_package_s():
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"wheatear {__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["count", "--help"]])
def test_help_loads_nothing_slow(arguments):
    loaded = loaded_by(*arguments)
    assert "typer" in loaded
    assert not loaded & (TRAINING_ONLY | SLOW)


def test_checking_a_data_set_loads_no_torch(field_dir):
    loaded = loaded_by("data", "check", str(field_dir))
    assert "numpy" in loaded
    assert not loaded & TRAINING_ONLY


def test_every_command_is_listed_with_a_line():
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        (line,) = (line for line in result.stdout.splitlines() if line.strip(" │").startswith(f"{command} "))
        assert len(line.strip(" │").split()) > 3


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS), ["data", "check"], ["data", "split"], ["data", "draw"]]
)
def test_every_command_has_help(command):
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"{' '.join(command)} [OPTIONS]" in result.stdout


def test_no_command_gives_help():
    result = runner.invoke(app, [])
    assert result.exit_code == 2
    assert "Usage" in result.output


@pytest.mark.parametrize(
    "arguments", [["cuont"], ["count"], ["train"], ["evaluate", "--fast"], ["count", "--threshold", "x"]]
)
def test_a_command_that_cannot_be_understood_is_exit_code_2(arguments):
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Traceback" not in result.output
