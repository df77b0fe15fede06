"""What goes wrong, in one line."""

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
    assert said.startswith("wheatear: there is not enough memory")
    assert said.count("\n") == 1


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(RuntimeError, match="sizes differ"), friendly_errors():
        raise RuntimeError("sizes differ")
