"""`wheatear serve`: it starts, answers and ends; what keeps it from starting is one line."""

import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving import PATIENCE, ask, write_three_heads
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


# Counts a photo until a line is sent to it.
SLOWLY = """
import sys, wheatear.serve.app as app
from wheatear.cli import app as command
found_in = app.found_in
def slowly(*photo):
    print("counting", flush=True)
    sys.stdin.readline()
    return found_in(*photo)
app.found_in = slowly
command(["serve", "--model", sys.argv[1], "--port", "0"])
"""


def test_ctrl_c_lets_the_photo_be_counted_first_and_says_so(tmp_path, model):
    photo = write_three_heads(tmp_path / "photo.png").read_bytes()
    command = [sys.executable, "-u", "-c", SLOWLY, str(model)]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as serving,
        ThreadPoolExecutor() as other,
    ):
        try:
            assert serving.stdout is not None
            assert serving.stderr is not None
            address = serving.stdout.readline().split()[1]
            answer = other.submit(ask, f"{address}/detect?name=photo.png", photo)
            assert serving.stdout.readline() == "counting\n"
            serving.send_signal(signal.SIGINT)
            line = serving.stderr.readline()
            assert line == "wheatear: ends once the photo that is being counted is finished\n"
            assert serving.communicate("go on\n", timeout=PATIENCE) == ("", "")
        finally:
            serving.kill()
        assert len(answer.result().json()["boxes"]) == 3


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
