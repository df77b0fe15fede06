"""The hardware that a training runs on, and the precision that it computes in."""

from dataclasses import dataclass

import torch
from lightning.pytorch.utilities import rank_zero_only

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # those of Lightning's that keep boxes exact
# x86 and ARM instruction sets, as torch.cpu.get_capabilities names them; plain AVX-512 includes none of them
MULTIPLY_BFLOAT16 = ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "sve_bf16")


def first_process() -> bool:
    """Whether this is the one of the training processes that writes files; true if it is the only one."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


@dataclass(frozen=True)
class Machine:
    """What a stage runs on: Lightning's accelerator, devices, strategy and precision, one of `PRECISIONS`.

    workers: processes that load photos, as many for train as for val; 0 loads them between the steps.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    workers: int = 0
    precision: str = "32-true"

    def has_gpu(self) -> bool:
        """Whether a stage runs on anything but a CPU."""
        if self.accelerator == "auto":
            return bool(torch.accelerator.current_accelerator(check_available=True))
        return self.accelerator != "cpu"

    def only_imitates(self) -> bool:
        """Whether bfloat16 is requested on a CPU that only emulates it, which is slower than float32."""
        if self.precision != "bf16-mixed" or self.has_gpu():
            return False
        has = torch.cpu.get_capabilities()
        return not any(has.get(name) for name in MULTIPLY_BFLOAT16)


HERE = Machine()
