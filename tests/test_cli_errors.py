"""What goes wrong, in one line."""

import errno
import subprocess
import sys

import pytest
import torch
import typer

from wheatear.cli_errors import friendly_errors


def too_large_for_torch() -> None:
    torch.zeros(10**15)


def too_large_for_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def too_large_for_numpy() -> None:
    raise MemoryError


@pytest.mark.parametrize("fail", [too_large_for_torch, too_large_for_a_gpu, too_large_for_numpy])
def test_a_lack_of_memory_is_one_line(capsys, fail):
    with pytest.raises(typer.Exit) as raised, friendly_errors():
        fail()
    assert raised.value.exit_code == 1
    said = capsys.readouterr().err
    assert said == "wheatear: there is not enough memory; close other programs\n"


def test_what_else_helps_where_memory_lacks(capsys):
    with pytest.raises(typer.Exit), friendly_errors(", or take less"):
        too_large_for_numpy()
    assert capsys.readouterr().err.endswith("close other programs, or take less\n")


def test_of_a_copy_that_does_not_fit_the_place_is_named(capsys):
    """shutil.copyfile names both, first what is copied, which may be on another disk."""
    with pytest.raises(typer.Exit), friendly_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "photo.jpg", None, "copy.jpg")
    assert capsys.readouterr().err == "wheatear: copy.jpg: No space left on device; make room on that disk\n"


def interrupted_while_it_is_loaded() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error


def test_ctrl_c_of_which_a_library_makes_an_import_error_is_ctrl_c():
    """As onnxruntime does."""
    with pytest.raises(KeyboardInterrupt), friendly_errors():
        interrupted_while_it_is_loaded()


def test_a_package_that_is_missing_is_not_hidden():
    with pytest.raises(ImportError, match="no such package"), friendly_errors():
        raise ImportError("no such package")


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(RuntimeError, match="sizes differ"), friendly_errors():
        raise RuntimeError("sizes differ")


def test_the_command_line_needs_no_package_that_only_the_extras_bring():
    """As typer's own copy of click may be the only one."""
    absent = (
        "import sys; sys.modules |= dict.fromkeys(('click', 'torch', 'lightning', 'rasterio', 'uvicorn'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{absent}; import wheatear.cli, wheatear.cli_count_run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
