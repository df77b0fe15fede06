"""Training as every stage does it: its history, going on after a stop, a loss that explodes."""

import csv
import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor, nn

from wheatear.errors import InputError
from wheatear.train.fit import CHECKPOINT, AveragedWeights, Care, WholeCheckpoints, fit, write_csv
from wheatear.train.order import epoch_seed, loader

torch.set_num_threads(1)

SEED = 3
POINTS = [(torch.tensor([float(x)]), torch.tensor([2.0 * x + 1])) for x in range(10)]


class Line(L.LightningModule):
    """Learns 2x + 1 with noise from torch's own generator, as dropout has it, from a seed for each epoch."""

    def __init__(self, spoil: Callable[[int, int], bool] = lambda epoch, step: False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.spoil = nn.Linear(1, 1), spoil

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(epoch_seed(SEED, self.current_epoch))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = ((self.layer(x) - y + torch.randn(len(x), 1)) ** 2).mean()
        if self.spoil(self.current_epoch, batch_idx):
            loss = loss * math.inf
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", ((self.layer(x) - y) ** 2).mean())


def train(
    module: L.LightningModule, folder: Path, epochs: int, *, resume: bool = False
) -> list[dict[str, float]]:
    batches, held = loader(POINTS, 3, SEED), loader(POINTS, 4, None)
    return fit(module, batches, held, name="line", folder=folder, epochs=epochs, resume=resume)


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(module: nn.Module) -> list[list[float]]:
    return [p.flatten().tolist() for p in module.parameters()]


# what a training leaves


def test_the_history_and_the_checkpoint_of_a_training(tmp_path, capsys):
    module = Line()
    rows = train(module, tmp_path / "line", 3)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert list(rows[0]) == ["epoch", "seconds", "lr", "val_loss", "train_loss"]
    assert {row["lr"] for row in rows} == {0.1}
    assert rows[0]["seconds"] <= rows[1]["seconds"] <= rows[2]["seconds"]
    assert [{key: float(value) for key, value in row.items()} for row in metrics(tmp_path / "line")] == rows
    checkpoint = torch.load(tmp_path / "line" / CHECKPOINT, weights_only=True)
    assert checkpoint["epoch"] == 2  # counted from 0
    assert checkpoint["state_dict"]["layer.weight"].flatten().tolist() == weights(module)[0]
    assert [path.name for path in tmp_path.glob("line/*.ckpt")] == [CHECKPOINT]
    assert list(tmp_path.glob("line/tensorboard/events.*"))
    printed = capsys.readouterr().out
    for epoch in (1, 2, 3):
        assert f"line {epoch}/3  val_loss {rows[epoch - 1]['val_loss']:.4f}" in printed


def test_the_means_of_an_epoch_are_over_all_of_its_data(tmp_path):
    module = Line()
    rows = train(module, tmp_path, 1)
    with torch.no_grad():
        expected = sum((module.layer(x) - y).square().item() for x, y in POINTS) / 10
    assert rows[0]["val_loss"] == pytest.approx(expected, abs=1e-5)  # batches of 4, 4 and 2


def test_training_twice_gives_the_same_bits(tmp_path):
    modules = Line(), Line()
    rows = [train(module, tmp_path / str(i), 2) for i, module in enumerate(modules)]
    assert weights(modules[0]) == weights(modules[1])
    assert without_seconds(rows[0]) == without_seconds(rows[1])


# going on


@pytest.mark.parametrize("done", [0, 1, 2, 3, 4])
def test_a_training_that_goes_on_equals_an_unbroken_one(tmp_path, done):
    unbroken, broken = Line(), Line()
    rows = train(unbroken, tmp_path / "unbroken", 4)
    if done:
        train(Line(), tmp_path / "broken", done)
    torch.manual_seed(99)  # another program may have drawn any numbers
    gone_on = train(broken, tmp_path / "broken", 4, resume=True)
    assert weights(broken) == weights(unbroken)
    assert without_seconds(gone_on) == without_seconds(rows)
    assert without_seconds(metrics(tmp_path / "broken")) == without_seconds(metrics(tmp_path / "unbroken"))


def test_seconds_go_on_too(tmp_path):
    first = train(Line(), tmp_path, 1)
    rows = train(Line(), tmp_path, 2, resume=True)
    assert rows[0] == first[0]
    assert rows[1]["seconds"] >= rows[0]["seconds"]


def test_without_resuming_a_training_begins_anew(tmp_path):
    train(Line(), tmp_path, 3)
    module = Line()
    rows = train(module, tmp_path, 1)
    assert [row["epoch"] for row in rows] == [1]
    assert len(metrics(tmp_path)) == 1
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["epoch"] == 0


@pytest.mark.parametrize("left", [0, 50, 500])
def test_a_checkpoint_that_is_cut_short_is_named(tmp_path, left):
    train(Line(), tmp_path, 1)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[:left])
    with pytest.raises(
        InputError, match=rf"{CHECKPOINT}: cannot be read \(.*\); remove it, and the stage begins anew"
    ):
        train(Line(), tmp_path, 2, resume=True)


@pytest.mark.parametrize("content", [b"hello", b"access denied", b"GIF89a"])
def test_a_checkpoint_that_is_none_is_named(tmp_path, content):
    train(Line(), tmp_path, 1)
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match=rf"{CHECKPOINT}: cannot be read"):
        train(Line(), tmp_path, 2, resume=True)


# a loss that explodes


def test_a_loss_that_is_not_finite_stops_the_training_and_leaves_the_last_good_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"^epoch 2, step 3: the loss is inf; lower the learning rate$"):
        train(Line(spoil=lambda epoch, step: (epoch, step) == (1, 2)), tmp_path, 4)
    good = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert good["epoch"] == 0
    assert all(value.isfinite().all() for value in good["state_dict"].values())
    assert [row["epoch"] for row in metrics(tmp_path)] == ["1"]


def test_a_training_goes_on_after_a_loss_that_was_not_finite(tmp_path):
    with pytest.raises(InputError):
        train(Line(spoil=lambda epoch, step: epoch == 1), tmp_path, 4)
    unbroken, mended = Line(), Line()
    train(unbroken, tmp_path / "unbroken", 4)
    train(mended, tmp_path, 4, resume=True)
    assert weights(mended) == weights(unbroken)


def test_a_loss_that_is_not_finite_from_the_start_leaves_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match=r"^epoch 1, step 1: the loss is inf"):
        train(Line(spoil=lambda epoch, step: True), tmp_path, 2)
    assert not (tmp_path / CHECKPOINT).exists()
    assert not (tmp_path / "metrics.csv").exists()


def test_weights_that_the_last_step_spoilt_are_not_kept(tmp_path):
    """The loss of the last step is finite and its gradient is not: no later loss of this epoch tells."""
    line = Line()
    line.on_train_epoch_end = lambda: [p.data.fill_(float("nan")) for p in line.parameters()]
    with pytest.raises(InputError, match="the weights are not finite any more; lower the learning rate"):
        train(line, tmp_path, 2)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_checkpoint_for_which_the_disk_has_no_room(tmp_path):
    path = tmp_path / CHECKPOINT
    path.with_name(f"{CHECKPOINT}.part").symlink_to("/dev/full")
    path.write_text("the last one")
    with pytest.raises(OSError, match="No space") as raised:
        WholeCheckpoints().save_checkpoint({"state_dict": {"a": torch.zeros(100_000)}}, path)
    assert raised.value.filename == str(path)
    assert path.read_text() == "the last one"
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


def test_curves_for_which_the_disk_has_no_room(tmp_path, monkeypatch, capfd):
    """TensorBoard writes them in a thread."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    train(Line(), tmp_path, 1)
    with monkeypatch.context() as disk:
        disk.setattr(RecordWriter, "write", full)
        with pytest.raises(OSError, match="No space") as raised:
            train(Line(), tmp_path, 4, resume=True)
    assert raised.value.filename == str(tmp_path / "tensorboard")
    assert "Traceback" not in capfd.readouterr().err
    unbroken, gone_on = Line(), Line()
    train(unbroken, tmp_path / "unbroken", 4)
    train(gone_on, tmp_path, 4, resume=True)
    assert weights(gone_on) == weights(unbroken)


def test_write_csv(tmp_path):
    write_csv(tmp_path / "metrics.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert (tmp_path / "metrics.csv").read_text() == "epoch,loss\n1,0.5\n2,0.25\n"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_averaged_weights_lie_where_the_network_is_trained(monkeypatch):
    made = []
    monkeypatch.setattr(WeightAveraging, "setup", lambda self, *_: made.append(self._device))
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    AveragedWeights(0.9).setup(trainer, nn.Linear(1, 1), "fit")
    assert made == [torch.device("meta")]


def test_averaging_changes_no_constant(tmp_path):
    """As the mean and spread of the photos' colours, which a training that goes on has anew."""
    line, mean = Line(), torch.tensor([123.675, 116.28, 103.53])
    line.layer.register_buffer("mean", mean.clone(), persistent=False)
    batches, held = loader(POINTS, 3, SEED), loader(POINTS, 4, None)
    fit(line, batches, held, name="line", folder=tmp_path, epochs=20, care=Care(ema=0.9))
    torch.testing.assert_close(line.layer.mean, mean, rtol=0, atol=0)
