"""When a run saves, and how many of its checkpoints it keeps."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from callbacks.checkpoint_files import PART, WholeFiles
from callbacks.stop_request import STOP_SIGNALS, RunStopped, StopRequest, requeue, requeue_signal
from zoo.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
OPTIMIZERS = "optimizers"  # where a checkpoint says what its optimisers are
_LOOK_SECONDS = 2.0  # between two looks of several ranks at whether to save


class SaveCheckpoints(Checkpoint):
    """Save after every epoch, every few minutes, and when the run is told to stop.

    Files are ``checkpoints/epoch=E-step=S.ckpt`` in the trainer's ``default_root_dir``, each whole or not there. A
    checkpoint is taken right after an update, never between batches that are accumulated, and holds all that a run
    needs to end as if it hadn't been broken off. One that is due where a validation follows is taken before it, and the
    resumed run begins with that validation.

    SIGTERM and SIGINT stop the run after the update in hand, or the validation, with a checkpoint; so does SLURM's
    signal that the job ends, which also queues the job again. One process looks after each update; several ranks agree
    every two seconds, by rank 0's clock, and before each validation.

    A run that ``max_time`` or ``max_steps`` ends within an epoch is saved there, and goes on there.

    A disk that is full ends the run only if there is no earlier checkpoint, or if it is still full at the end.

    Args:
        minutes: between two checkpoints at most, an update or a validation more.
        keep: checkpoints that are kept, the newest.

    Attributes:
        stop: the signals; a context to be entered around the fit, so that it stops from its beginning to its end.
        last_model_path: the newest checkpoint; empty before the first.
        began: whether a batch was trained on.

    Raises:
        ConfigError: the arguments make no sense, or the folder can't be made.
        CheckpointError: nothing could be saved.
        RunStopped: after the checkpoint.
    """

    def __init__(self, minutes: float = 10.0, keep: int = 2) -> None:
        if not minutes > 0:
            raise ConfigError(f"checkpoint.minutes is {minutes}: give more than 0")
        if keep < 1:
            raise ConfigError(f"checkpoint.keep is {keep}: give at least 1")
        self.minutes = minutes
        self.keep = keep
        self.stop = StopRequest()
        self.last_model_path = ""
        self.began = False
        self._folder = Path(FOLDER)
        self._files = WholeFiles()
        self._saved_at = 0.0
        self._seen_step = 0
        self._saved_step = -1
        self._looked_at = 0.0
        self._updates_since_look = 0
        self._updates_to_look = 1
        self._point = "update"
        self._failed = False
        self._reason = ""
        self._leaving: int | None = None
        self._fresh = False  # saved since the last batch began

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder, clear it of what a kill left half written, and have files written whole."""
        if stage != "fit":
            return
        self._folder = Path(trainer.default_root_dir) / FOLDER
        trainer.strategy.checkpoint_io = self._files
        if trainer.is_global_zero:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                for part in self._folder.glob(f"*{PART}"):
                    part.unlink()
            except OSError as error:
                raise ConfigError(
                    f"can't write to {self._folder} ({error.strerror}); give another --run_dir"
                ) from error

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, which Lightning has by now."""
        number = requeue_signal(trainer)
        self.stop.listen(*STOP_SIGNALS, *([] if number is None else [number]))
        # Lightning has all ranks ask rank 0 before every batch whether it got SIGTERM, which a GPU must wait for.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        self._saved_at = self._looked_at = time.monotonic()
        self._seen_step = trainer.global_step
        self._updates_since_look, self._updates_to_look = 0, 1
        resumed = Path(trainer.ckpt_path) if trainer.ckpt_path else None
        if resumed is not None and trainer.is_global_zero and resumed.parent.samefile(self._folder):
            # What the run went on from counts as its newest again: neither what lies after it nor damage goes before.
            with suppress(OSError):
                os.utime(resumed)
        if resumed is not None and self._ours(resumed):
            self._note(resumed)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch from its first batch: resumed between two, Lightning would begin the old one's end anew."""
        if trainer.fit_loop.epoch_loop.restarting:
            trainer.fit_loop.epoch_loop.restarting = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Leave if that was agreed; from here on there is something to save."""
        self._leave_or_flush(trainer)
        self.began = self.stop.unsaved = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave if that was agreed."""
        if trainer.state.fn == "fit":
            self._leave_or_flush(trainer)

    def _leave_or_flush(self, trainer: Trainer) -> None:
        """What waits until the update that was saved has been logged."""
        if self._fresh and trainer.is_global_zero:
            for each in trainer.loggers:
                each.save()
        self._fresh = False
        if self._leaving is not None:
            self._leave(trainer, self._leaving)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time to, or if the run is told to stop."""
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        validates = _validation_follows(trainer)
        if trainer.is_last_batch and not validates:
            return  # the epoch's end saves
        number, due = self._look(trainer, now=validates)
        cut = trainer.fit_loop.epoch_loop.done and not trainer.is_last_batch
        if number or due or cut:
            self._save(trainer, "validation" if validates else "update")
            self._leaving = number or None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and leave if the run is told to stop."""
        if trainer.is_last_batch:
            self._save(trainer, "epoch")
        elif self._saved_step != trainer.global_step:
            self._save(trainer, "update")  # a validation within the epoch was its last
        number, _ = self._look(trainer, now=True)
        if number:
            self._leave(trainer, number)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try once more what failed last."""
        if self._failed:
            self._save(trainer, self._point)
        if self._failed:
            raise CheckpointError(
                f"the last checkpoint can't be saved in {self._folder} ({self._reason}); free some room, then go on "
                "with --ckpt_path last"
            )

    def _look(self, trainer: Trainer, now: bool) -> tuple[int, bool]:
        """The signal that any rank got, 0 without one, and whether a checkpoint is due; alike on all ranks."""
        number = self.stop.signal or 0
        due = time.monotonic() - self._saved_at >= 60 * self.minutes
        if trainer.world_size == 1:
            return number, due
        self._updates_since_look += 1
        if self._updates_since_look < self._updates_to_look and not now:
            return 0, False
        # A look costs a collective that a GPU must wait for: one in two seconds, however long an update takes.
        took = (time.monotonic() - self._looked_at) / self._updates_since_look
        to_look = max(1.0, min(_LOOK_SECONDS, 60 * self.minutes) / max(took, 1e-6))
        first = trainer.is_global_zero
        mine = [float(number), float(due and first), to_look if first else 0.0]
        agreed = trainer.strategy.reduce(torch.tensor(mine, device=trainer.strategy.root_device), reduce_op="max")
        self._looked_at, self._updates_since_look = time.monotonic(), 0
        any_number, any_due, self._updates_to_look = (int(value) for value in agreed.tolist())
        return any_number, bool(any_due)

    def _save(self, trainer: Trainer, point: str) -> None:
        """Save, and forget the oldest; ``point`` says what the run does next: update, validation or a new epoch."""
        path = self._folder / f"epoch={trainer.current_epoch}-step={trainer.global_step}.ckpt"
        self._point = point
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()
        # Rank 0 alone has written. Without an error number the text of the error is all there is.
        error = self._files.failure
        outcome = None if error is None else (error.strerror or str(error), self._newest())
        outcome = trainer.strategy.broadcast(outcome)
        self._failed = outcome is not None
        self._saved_step = trainer.global_step
        if outcome is None:
            self._note(path)
            self._fresh = True
            # Several ranks must leave together, so they wait for a look also with everything saved.
            self.stop.unsaved = trainer.world_size > 1
            if trainer.is_global_zero:
                self._forget()
            return
        self._reason, newest = outcome
        if newest is None:
            raise CheckpointError(
                f"no checkpoint can be saved in {self._folder} ({self._reason}); free some room, or give another "
                "--run_dir"
            )
        if trainer.is_global_zero:
            logger.warning(
                "can't save a checkpoint (%s): training goes on and tries again; the newest is %s", self._reason, newest
            )

    def _note(self, path: Path) -> None:
        self.last_model_path = str(path)
        self.stop.saved = path

    def _ours(self, path: Path) -> bool:
        return path.parent.absolute() == self._folder.absolute()

    def _kept(self) -> list[Path]:
        """This run's checkpoints, the newest first."""
        return sorted(self._folder.glob("epoch=*-step=*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)

    def _newest(self) -> str | None:
        return next((str(path) for path in self._kept()), None)

    def _forget(self) -> None:
        for path in self._kept()[self.keep :]:
            with suppress(OSError):  # a file too many is no reason to stop
                path.unlink()

    def _leave(self, trainer: Trainer, number: int) -> None:
        if number == requeue_signal(trainer) and trainer.is_global_zero and (code := requeue()):
            logger.warning("scontrol exits with %s: the job isn't queued again", code)
        raise RunStopped(number, self.stop.saved, complete=not self._failed)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say what the optimisers are, and put the loops' counters where resuming from them is exact."""
        checkpoint[OPTIMIZERS] = [type(optimizer).__name__ for optimizer in trainer.optimizers]
        loops = checkpoint["loops"]["fit_loop"]
        validation = loops["epoch_loop.val_loop.batch_progress"]
        for counts in (validation["total"], validation["current"]):
            counts.update(dict.fromkeys(counts, 0))
        validation["is_last_batch"] = False
        if self._point == "epoch":
            # The epoch is over. Lightning counts it after its hooks; if steps end the run, it would repeat its end.
            _complete(loops["epoch_progress"])
        if self._point == "validation":
            # The batch is over, and a validation has begun, none of whose batches is done: Lightning goes on with it.
            # Left as it is, it would skip the validation.
            _complete(loops["epoch_loop.batch_progress"])
            for counts in (validation["total"], validation["current"]):
                counts.update(ready=1, started=1)


def _complete(progress: dict[str, Any]) -> None:
    for counts in (progress["total"], progress["current"]):
        counts["completed"] = counts["processed"]


def _validation_follows(trainer: Trainer) -> bool:
    """Whether Lightning validates after this batch."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
