"""The one line that a terminal shows while a run trains."""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import ExitStack
from typing import Any, TextIO

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from callbacks.speed import Speed

_REDRAW_SECONDS = 0.2
_WAIT_WORTH_SAYING = 0.05  # share of the time


class ProgressLine(ProgressBar):
    """Epoch, stage, updates, time left, loss, validation score, samples per second, and waiting for data above 5 %.

    The time left is that of the whole run, validations included, at the pace of the present stage since it began in
    this process; in a first stage it is the time to the second, whose pace nobody knows yet. Loss and score are those
    that were logged last, so nothing here waits for a GPU.

    In a terminal the line is drawn over and over, and log messages appear above it. Elsewhere, such as in a pipe or a
    file, a new line is written from time to time and after each validation, without control characters.

    Args:
        every: seconds from one line to the next where there is no terminal.
        file: where to write; standard error by default.
    """

    def __init__(self, every: float = 30.0, file: TextIO | None = None) -> None:
        super().__init__()
        self.every = every
        self.file = file
        self._enabled = True
        self._bar: tqdm | None = None
        self._messages = ExitStack()
        self._speed: Speed | None = None
        self._drawn = 0.0
        self._written = ""
        self._total: int | None = None
        self._loss: float | None = None
        self._score: float | None = None
        self._stage: int | None = None
        self._pace_from: tuple[float, int] | None = None  # time and step after the stage's first update
        self._doing = ""

    def disable(self) -> None:
        """Say nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Say something again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the line."""
        with tqdm.external_write_mode(file=kwargs.get("file") or sys.stdout):
            print(*args, **kwargs)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin the line."""
        self._total = run_updates(trainer, pl_module)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._speed = next((callback for callback in callbacks if isinstance(callback, Speed)), None)
        self._stage = self._pace_from = None
        self._drawn = time.monotonic()
        if not self._enabled:
            return
        file = self.file or sys.stderr
        if _is_terminal(file):
            self._messages.enter_context(logging_redirect_tqdm())
            self._bar = tqdm(
                desc=self._text(trainer, pl_module),
                total=self._total,
                initial=trainer.global_step,
                file=file,
                dynamic_ncols=True,
                bar_format="{desc} |{bar}|",
                mininterval=0,
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Draw, if it is time to."""
        now = time.monotonic()
        if pl_module.stage != self._stage:
            self._stage, self._pace_from = pl_module.stage, (now, trainer.global_step)
        if self._enabled and trainer._logger_connector.should_update_logs:
            # Loggers are about to wait for the same numbers.
            self._read(trainer)
        if now - self._drawn >= (self.every if self._bar is None else _REDRAW_SECONDS):
            self._draw(trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Show in a terminal how far the validation is."""
        if trainer.state.fn == "fit" and self._bar is not None and time.monotonic() - self._drawn >= _REDRAW_SECONDS:
            self._doing = f", validating {batch_idx + 1}/{sum(trainer.num_val_batches)}"
            self._draw(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Show the score."""
        if trainer.state.fn == "fit" and self._enabled:
            self._doing = ""
            self._read(trainer)
            self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Show in a terminal that the run has come to its last part, the report's."""
        if self._bar is not None and trainer.global_step == self._total:
            self._doing = ", scoring the weights"
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """End the line as it stands when the run is over."""
        self._doing = ""
        self._draw(trainer, pl_module)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the line as it stands, and what is said next below it."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._messages.close()

    def _read(self, trainer: Trainer) -> None:
        metrics = trainer.callback_metrics
        for attribute, key in (("_loss", "train/loss"), ("_score", "val/psnr")):
            if key in metrics:
                setattr(self, attribute, float(metrics[key]))

    def _draw(self, trainer: Trainer, pl_module: Any) -> None:
        if not self._enabled:
            return
        self._drawn = time.monotonic()
        text = self._text(trainer, pl_module)
        if self._bar is None:
            if text != self._written:
                print(text, file=self.file or sys.stderr, flush=True)
            self._written = text
        else:
            self._bar.n = trainer.global_step
            self._bar.set_description_str(text)

    def _text(self, trainer: Trainer, pl_module: Any) -> str:
        # The trainer counts an epoch only after its last hook.
        epochs = trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None
        epoch = trainer.current_epoch + 1
        words = [f"epoch {epoch}" if epochs is None else f"epoch {min(epoch, epochs)}/{epochs}"]
        if pl_module.stages > 1:
            words.append(f"stage {pl_module.stage}")
        words.append(f"step {trainer.global_step}" + (f"/{self._total}" if self._total is not None else ""))
        if (left := self._left(trainer, pl_module)) is not None:
            words.append(f"{tqdm.format_interval(left)} left" + " in stage 1" * (pl_module.stage < pl_module.stages))
        if self._loss is not None:
            words.append(f"loss {self._loss:.3g}")
        if self._score is not None and math.isfinite(self._score):
            words.append(f"val {self._score:.2f} dB")
        figures = self._speed.figures if self._speed is not None else {}
        if figures:
            words.append(f"{figures['samples_per_second']:.3g} samples/s")
            if figures["data_wait"] > _WAIT_WORTH_SAYING:
                words.append(f"waits for data {figures['data_wait']:.0%}")
        return ", ".join(words) + self._doing

    def _left(self, trainer: Trainer, pl_module: Any) -> float | None:
        """Seconds to the end of the stage."""
        if self._pace_from is None or trainer.global_step <= self._pace_from[1]:
            return None
        done, length = pl_module.stage_updates()
        start, first = self._pace_from
        return (time.monotonic() - start) / (trainer.global_step - first) * (length - done)


def _is_terminal(file: TextIO) -> bool:
    """Whether a line can be drawn over and over: in a terminal that says how large it is, which not all of CI do."""
    return file.isatty() and min(os.get_terminal_size(file.fileno())) > 0


def run_updates(trainer: Trainer, pl_module: Any) -> int | None:
    """Updates of ``net`` in the whole run, once its data is there; None if it has no end."""
    ends = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append(trainer.max_epochs * math.ceil(trainer.num_training_batches / pl_module.accumulate))
    if trainer.max_steps >= 0:
        ends.append(trainer.max_steps)
    return min(ends, default=None)
