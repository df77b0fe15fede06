"""`wheatear serve`: it starts, answers and ends; what keeps it from starting is one line."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving import PATIENCE, ask
from wheatear.cli import app
from wheatear.serve.app import HOST


def complaint(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["serve", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line.removeprefix("wheatear: ")


def test_it_serves_until_ctrl_c(model):
    command = [sys.executable, "-u", "-m", "wheatear", "serve", "--model", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            line = serving.stdout.readline()
            address = re.fullmatch(rf"Open (http://{HOST}:\d+) in a browser; Ctrl-C ends it\n", line)
            assert address
            assert ask(f"{address[1]}/model").json()["name"] == "tiny"
            serving.send_signal(signal.SIGINT)
            out, errors = serving.communicate(timeout=PATIENCE)
        finally:
            serving.kill()
    assert (out, errors) == ("", "")


def test_a_port_that_another_program_has(model):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert re.fullmatch(
            rf"--port {port}: .* in use; give another", complaint("--model", model, "--port", port)
        )


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_a_server_it_says_what_to_install(monkeypatch, model, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert "run pip install '.[serve]' in wheatear's folder" in complaint("--model", model)


def test_what_other_commands_refuse_is_refused(tmp_path, model):
    assert "no such model" in complaint("--model", tmp_path / "none.onnx")
    assert complaint("--model", model, "--head-px", "large").startswith("--head-px large: not a size")
