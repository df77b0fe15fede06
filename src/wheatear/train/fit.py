"""Lightning's Trainer as every stage uses it: a checkpoint each epoch, a history as CSV, a progress bar, resuming.

A resumed training equals an unbroken one because an epoch depends on nothing but the checkpoint before it: each epoch
seeds torch and shuffles from (seed, epoch), and the history travels in the checkpoint.
"""

import csv
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset, Sampler

from wheatear.errors import InputError
from wheatear.files import whole

CHECKPOINT = "last.ckpt"


class EpochShuffle(Sampler[int]):
    """A shuffle that depends on the seed and the epoch alone; Lightning calls `set_epoch`."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        return iter(torch.randperm(self.length, generator=generator).tolist())


def epoch_seed(seed: int, epoch: int) -> int:
    """One seed for each epoch of each run; 1,000,003 is prime and above any number of epochs."""
    return seed * 1_000_003 + epoch


def loader(data: Dataset[Any], batch_size: int, seed: int | None, collate: Any = None) -> DataLoader[Any]:
    """Batches in a new order each epoch, or in the data's own order without a seed.

    No worker processes: on few cores they take the time that the convolutions need.
    """
    sampler = None if seed is None else EpochShuffle(len(data), seed)  # type: ignore[arg-type]
    return DataLoader(data, batch_size, sampler=sampler, collate_fn=collate)


class History(Callback):
    """One row an epoch in metrics.csv: epoch, seconds since the stage began, learning rate, every logged metric."""

    def __init__(self, folder: Path) -> None:
        self.path, self.rows = folder / "metrics.csv", list[dict[str, float]]()
        self.seconds, self.began = 0.0, time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.monotonic() - self.seconds

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = time.monotonic() - self.began
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "seconds": round(self.seconds, 1)}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row |= {k: round(float(v), 6) for k, v in trainer.callback_metrics.items()}
        self.rows.append(row)
        write_csv(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Rows of the same keys as a CSV, written whole or not at all."""
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class StageProgress(Callback):
    """One bar over all steps of the stage with the time left, and a line for each finished epoch."""

    def __init__(self, stage: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.stage, self.progress = stage, Progress(*columns, transient=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        steps = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        self.task = self.progress.add_task(self.stage, total=steps, completed=trainer.global_step)
        self.progress.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.progress.advance(self.task)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        left = self.progress.tasks[0].time_remaining
        numbers = "  ".join(f"{k} {float(v):.4f}" for k, v in trainer.callback_metrics.items())
        minutes = "" if left is None else f"  {left / 60:.0f} min left"
        self.progress.console.print(
            f"{self.stage} {trainer.current_epoch + 1}/{trainer.max_epochs}  {numbers}{minutes}",
            highlight=False,
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.progress.stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.progress.stop()


class StopOnNonFinite(Callback):
    """A loss that is not finite ends the training at once, before it spoils a checkpoint."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not torch.isfinite(outputs["loss"]):
            raise InputError(
                f"epoch {trainer.current_epoch + 1}, step {batch_idx + 1}: the loss is {outputs['loss'].item()}; "
                "lower the learning rate"
            )


def hush() -> None:
    """Silence what Lightning says of things that are meant to be so; our own lines say how the training goes."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    meant = (
        "Checkpoint directory .* exists",  # the folder of a stage, made before
        "Found .* module.* in eval mode",  # frozen parts
        "The number of training batches",  # few photos
        "The '.*_dataloader' does not have many workers",  # see `loader`
        ".*treespec, LeafSpec",  # Lightning's own use of torch
    )
    for message in meant:
        warnings.filterwarnings("ignore", message)


def fit(
    module: L.LightningModule,
    train: DataLoader[Any],
    val: DataLoader[Any],
    *,
    name: str,
    folder: Path,
    epochs: int,
    precision: Any = "32-true",
    resume: bool = False,
) -> list[dict[str, float]]:
    """Train `module` for `epochs`, from the last checkpoint in `folder` when resuming. -> the history's rows."""
    folder.mkdir(parents=True, exist_ok=True)
    hush()
    history = History(folder)
    checkpoint = ModelCheckpoint(
        folder,
        filename=CHECKPOINT.removesuffix(".ckpt"),
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    trainer = L.Trainer(
        max_epochs=epochs,
        precision=precision,
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
        callbacks=[history, StageProgress(name), StopOnNonFinite(), checkpoint],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        default_root_dir=folder,
    )
    last = folder / CHECKPOINT
    trainer.fit(module, train, val, ckpt_path=last if resume and last.exists() else None, weights_only=True)
    return history.rows
