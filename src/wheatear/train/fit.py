"""Lightning's Trainer as every stage uses it: a checkpoint each epoch, a history as CSV, a progress bar, resuming.

A resumed run equals an uninterrupted one because an epoch depends only on the checkpoint before it: each
epoch seeds torch and shuffles from (seed, epoch) (`order`), and the history is stored in the checkpoint.
"""

import logging
import threading
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from wheatear.csv_files import write_table
from wheatear.errors import InputError, first_line
from wheatear.files import naming, whole
from wheatear.train.checkpoint import HISTORY, NOT_LOADED
from wheatear.train.machine import HERE, Machine, first_process
from wheatear.train.order import EpochShuffle

CHECKPOINT = "last.ckpt"
LOOKED_BACK = 3600.0  # seconds of steps to estimate the time left from; rich's 30 may hold only one


@dataclass(frozen=True)
class Care:
    """Validation, gradient clipping and weight averaging of a training.

    val_every: epochs from one validation to the next; 0: none. clip_norm: largest gradient norm; None: any.
    ema: decay per step of the averaged weights, which start after ema_from steps and are then the ones
    evaluated and kept; 0: no averaging.
    """

    val_every: int = 1
    clip_norm: float | None = None
    ema: float = 0.0
    ema_from: int = 0


PLAIN = Care()


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints written completely or not at all, and never with weights that are no longer finite.

    Lightning would write them to the system's temporary folder and copy them from there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # When weights are averaged, Lightning stores the network's own separately.
        states = [checkpoint["state_dict"], checkpoint.get("current_model_state", {})]
        if not all(weights.isfinite().all() for state in states for weights in state.values()):
            raise InputError("the weights are not finite any more; lower the learning rate")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole(Path(path)) as part, part.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # torch.save hides the OSError of a failed write, such as on a full disk.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return super().load_checkpoint(path, *arguments, **options)
        except NOT_LOADED as error:
            what = f"cannot be read ({first_line(error)})"
            raise InputError(f"{path}: {what}; remove it, and the stage begins anew") from error


class Curves(TensorBoardLogger):
    """TensorBoard's files; an error in writing them, such as a full disk, names their folder."""

    @property
    def experiment(self) -> Any:
        with naming(Path(self.log_dir)):
            return super().experiment

    def log_metrics(self, *arguments: Any, **options: Any) -> None:
        with naming(Path(self.log_dir)):
            super().log_metrics(*arguments, **options)

    def save(self) -> None:
        with naming(Path(self.log_dir)):
            super().save()

    def finalize(self, status: str) -> None:
        with naming(Path(self.log_dir)):
            super().finalize(status)


class History(Callback):
    """One row per epoch in metrics.csv: epoch, seconds spent on the stage, learning rate, all logged metrics."""

    def __init__(self, folder: Path) -> None:
        self.path, self.rows = folder / HISTORY, list[dict[str, float]]()
        self.seconds, self.began = 0.0, time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.monotonic() - self.seconds

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = time.monotonic() - self.began
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "seconds": round(self.seconds, 1)}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        row |= {name: round(value, 6) for name, value in new_metrics(trainer).items()}
        self.rows.append(row)
        if trainer.is_global_zero:
            write_csv(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]


def new_metrics(trainer: L.Trainer) -> dict[str, float]:
    """The metrics of this epoch alone; Lightning keeps those of the last validation, however long ago."""
    judged = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {name: value for name, value in metrics.items() if judged or not name.startswith("val_")}


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Write rows as a CSV, completely or not at all; a key that a row lacks is left empty."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    write_table(path, [header, *([row.get(key, "") for key in header] for row in rows)])


class StageProgress(Callback):
    """One progress bar for all steps of the stage, with the time left, and a line for each finished epoch."""

    def __init__(self, stage: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.stage = stage
        self.progress = Progress(
            *columns,
            transient=True,
            disable=not first_process(),
            speed_estimate_period=LOOKED_BACK,
        )

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
        if not trainer.is_global_zero:
            return
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in new_metrics(trainer).items())
        minutes = "" if left is None else f"  {left / 60:.0f} min left"
        self.progress.console.print(
            f"{self.stage} {trainer.current_epoch + 1}/{trainer.max_epochs}  {numbers}{minutes}",
            highlight=False,
            soft_wrap=True,
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.progress.stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.progress.stop()


class AveragedWeights(WeightAveraging):
    """The exponential moving average of the weights and buffers, which is evaluated and kept in their place.

    Until it includes a step, the weights themselves are. decay: per step, from step `start` on. The average is on the
    training device: Lightning would take the network's, before it is moved there.
    """

    def __init__(self, decay: float, start: int = 0) -> None:
        super().__init__(avg_fn=partial(_averaged, share=1 - decay))
        self.start = start

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and step_idx >= self.start

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def is_begun(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.is_begun():
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.is_begun():
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.keep(pl_module)

    def keep(self, module: L.LightningModule) -> None:
        """Copy the average, if there is one yet, into the module that it averages."""
        if self.is_begun():
            self._copy_average_to_current(module)


def _averaged(average: Tensor, current: Tensor, number: Tensor | int, share: float) -> Tensor:
    """The average moved by a share of the way; of equal tensors exactly these, so that constants stay as they are."""
    return average.lerp(current, share) if average.is_floating_point() else current


class EpochOfCheckpoint(Callback):
    """Tell the shuffle the epoch in which a resumed run goes on.

    Lightning does so, too, but only after it has opened the loader, when its worker processes already have photos of
    the first epoch.
    """

    def __init__(self, shuffle: EpochShuffle) -> None:
        self.shuffle = shuffle

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.shuffle.set_epoch(checkpoint["epoch"] + 1)


class StopOnNonFinite(Callback):
    """Stop training with an InputError once a loss is not finite, before it spoils a checkpoint."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not torch.isfinite(outputs["loss"]):
            raise InputError(
                f"epoch {trainer.current_epoch + 1}, step {batch_idx + 1}: the loss is {outputs['loss'].item()}; "
                "lower the learning rate"
            )


def hush() -> None:
    """Silence Lightning's messages about what is intended; our own lines report the progress of training."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    meant = (
        "Checkpoint directory .* exists",  # the stage's folder, created beforehand
        "Found .* module.* in eval mode",  # frozen parts
        "The number of training batches",  # few photos
        "The '.*_dataloader' does not have many workers",  # see `order.loader`
        "The dirpath has changed",  # a run folder that was moved
        "It is recommended to use .self.log",  # every process evaluates all val photos
        ".*treespec, LeafSpec",  # Lightning's own use of torch
    )
    for message in meant:
        warnings.filterwarnings("ignore", message)
    threading.excepthook = hush_writer


def hush_writer(error: threading.ExceptHookArgs) -> None:
    """No traceback of TensorBoard's thread for an OSError, which comes up again when more is to be written."""
    if not issubclass(error.exc_type, OSError):
        threading.__excepthook__(error)


def fit(
    module: L.LightningModule,
    train: DataLoader[Any],
    val: DataLoader[Any],
    *,
    name: str,
    folder: Path,
    epochs: int,
    resume: bool = False,
    machine: Machine = HERE,
    care: Care = PLAIN,
) -> list[dict[str, float]]:
    """Train `module` for `epochs`, with `resume` from the last checkpoint in `folder` -> the history's rows.

    Raises InputError for an accelerator, strategy or precision that is not available.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hush()
    history = History(folder)
    checkpoint = ModelCheckpoint(
        folder,
        filename=CHECKPOINT.removesuffix(".ckpt"),
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    callbacks: list[Callback] = [history, StageProgress(name), StopOnNonFinite(), checkpoint]
    if isinstance(train.sampler, EpochShuffle):
        callbacks.append(EpochOfCheckpoint(train.sampler))
    averaged = AveragedWeights(care.ema, care.ema_from) if care.ema else None
    if averaged:
        callbacks.insert(0, averaged)
    logger = Curves(folder, name="tensorboard", version="")
    try:
        trainer = L.Trainer(
            max_epochs=epochs,
            precision=machine.precision,  # type: ignore[arg-type]  # one of PRECISIONS
            accelerator=machine.accelerator,
            devices=machine.devices,
            strategy=machine.strategy,
            use_distributed_sampler=False,  # EpochShuffle divides the items between the processes
            logger=logger,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            check_val_every_n_epoch=care.val_every or 1,
            limit_val_batches=1.0 if care.val_every else 0,
            gradient_clip_val=care.clip_norm,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
            default_root_dir=folder,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        options = ("accelerator", "devices", "strategy", "precision")
        given = ", ".join(f"--{option} {getattr(machine, option)}" for option in options)
        raise InputError(f"{given}: {first_line(error)}") from None
    last = folder / CHECKPOINT
    trainer.fit(module, train, val, ckpt_path=last if resume and last.exists() else None, weights_only=True)
    if averaged:
        # Resuming after the last epoch, Lightning calls no hooks, not even on_train_end.
        averaged.keep(module)
    return history.rows
