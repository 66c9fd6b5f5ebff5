"""Pictures of what the network makes of fixed validation frames, every few epochs."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from zoo.errors import ConfigError
from zoo.pictures import Panel, error_panel, hdr_panel, sdr_panel, sheet, write_png
from zoo.precision import without_autocast
from zoo.run_files import PANELS_NAME

logger = logging.getLogger(__name__)


class Panels(Callback):
    """Draw panels of fixed validation frames into ``panels/`` of the run's folder, and log them.

    A round is drawn at the start (``epoch-0000``), after every ``every``-th epoch and the last one (``epoch-0005``: 5
    epochs are done), and at a switch of stages before the new stage's first update (``epoch-0005-stage-2``). Its folder
    holds for each frame a sheet, ``FRAME.png``, and the same panels one by one, ``FRAME/NAME.png``; ``figures.json``
    says epoch, step, stage and, by frame and panel, the ``min``, ``mean`` and ``max`` of what is drawn by a scale. It
    appears whole, in the place of an older one.

    What is shown is the published network (its average, if one is kept) in the parameters' own precision; at a switch
    it is the live one, with which an average begins anew. Rank 0 draws, frames of its share; the others don't wait for
    it before they need it. Neither random state nor training sees any of it. Every logger that takes pictures gets the
    panels as ``panels/FRAME/NAME``. Without a data module, or where it has no validation frames, nothing is drawn.

    Args:
        every: epochs from one round to the next.
        frames: how many frames, spread over the scenes; 0 draws nothing.
        size: HR pixels of a frame's sides at most; of larger ones the middle is taken.

    Raises:
        ConfigError: a number that can't be.
    """

    def __init__(self, every: int = 5, frames: int = 2, size: int = 512) -> None:
        for name, value, least in (("every", every, 1), ("frames", frames, 0), ("size", size, 16)):
            if value < least:
                raise ConfigError(f"panels.{name} is {value}; it must be at least {least}")
        self.every = every
        self.frames = frames
        self.size = size
        self._stage: int | None = None
        self._step = -1  # of the newest round
        self._batches: list[dict[str, Any]] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Show what a fresh run starts from."""
        if self._stage is None:
            self._stage = pl_module.stage
        if trainer.global_step == 0:
            self._draw(trainer, pl_module, pl_module.published)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Show what a new stage starts from."""
        if pl_module.stage != self._stage:
            self._stage = pl_module.stage
            self._draw(trainer, pl_module, pl_module.net, f"-stage-{pl_module.stage}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Show what every so many epochs have brought."""
        if (trainer.current_epoch + 1) % self.every == 0:
            self._draw(trainer, pl_module, pl_module.published, done=1)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Show what the run ends in."""
        if trainer.global_step != self._step:
            self._draw(trainer, pl_module, pl_module.published)

    def _draw(self, trainer: Trainer, pl_module: Any, net: Any, suffix: str = "", done: int = 0) -> None:
        """One round; ``done`` counts the epoch that is just ending, which the trainer doesn't yet."""
        self._step = trainer.global_step
        if not trainer.is_global_zero:
            return
        if self._batches is None:
            self._batches = list(_fixed_frames(trainer, self.frames, self.size))
        if not self._batches:
            return
        epochs = trainer.current_epoch + done
        panels = {batch["key"][0]: _panels(net, pl_module, batch) for batch in self._batches}
        facts = {"epoch": epochs, "step": trainer.global_step, "stage": pl_module.stage}
        folder = Path(trainer.default_root_dir) / PANELS_NAME / f"epoch-{epochs:04}{suffix}"
        try:
            _write(folder, panels, facts)
        except OSError as error:  # no picture is worth a run
            logger.warning("no panels in %s (%s)", folder, error.strerror or error)
        _log(trainer, panels)

    def state_dict(self) -> dict[str, Any]:
        """Which round was the newest: a resumed run doesn't repeat it."""
        return {"step": self._step, "stage": self._stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after that round."""
        self._step, self._stage = state_dict["step"], state_dict["stage"]


def _fixed_frames(trainer: Trainer, count: int, size: int) -> Iterator[dict[str, Any]]:
    """Batches of one frame's codes: always the same frames, as far from each other in the set as can be."""
    data = getattr(trainer, "datamodule", None)
    if data is None:
        return
    loader = data.val_dataloader()
    frames = loader.dataset
    for index in range(0, len(frames), max(1, len(frames) // max(1, count)))[:count]:
        batch = loader.collate_fn([frames[index]])
        scale = batch["hdr"].shape[-1] // batch["sdr"].shape[-1]
        yield {
            "sdr": _middle(batch["sdr"], size // scale, 1),
            "hdr": _middle(batch["hdr"], size // scale, scale),
            "key": batch["key"],
        }


def _middle(pictures: Tensor, size: int, scale: int) -> Tensor:
    """The middle of pictures ``scale`` times as large as those whose sides are cut to ``size``."""
    for axis in (-2, -1):
        length = pictures.shape[axis] // scale
        if length > size:
            pictures = pictures.narrow(axis, scale * ((length - size) // 2), scale * size)
    return pictures


def _panels(net: Any, pl_module: Any, batch: dict[str, Any]) -> dict[str, Panel]:
    """All panels of one frame, by title."""
    codes = {key: batch[key].to(pl_module.device) for key in ("sdr", "hdr")}
    signals = pl_module.on_after_batch_transfer({**batch, **codes}, 0)
    sdr, hdr = signals["sdr"][0], signals["hdr"][0]
    training = net.training
    net.eval()
    with torch.inference_mode(), without_autocast(sdr):
        pred, inside = pl_module.look_inside(net, sdr)
        panels = {
            "input": sdr_panel(sdr, net.scale),
            "prediction": hdr_panel(pred),
            "truth": hdr_panel(hdr),
            "error": error_panel(pred, hdr),
            **inside,
        }
    net.train(training)
    return panels


def _write(folder: Path, panels: dict[str, dict[str, Panel]], facts: dict[str, Any]) -> None:
    """Write a round beside its place, then move it there."""
    growing = folder.with_name(".next")
    shutil.rmtree(growing, ignore_errors=True)  # what a killed run left
    try:
        for frame, parts in panels.items():
            write_png(growing / f"{frame}.png", sheet(parts))
            for name, panel in parts.items():
                write_png(growing / frame / f"{name}.png", panel.picture)
        figures = {
            frame: {name: _plain(panel.figures) for name, panel in parts.items() if panel.figures}
            for frame, parts in panels.items()
        }
        text = json.dumps({**facts, "frames": figures}, indent=2, allow_nan=False)
        (growing / "figures.json").write_text(text + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        growing.replace(folder)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    """Figures as JSON can hold them: None for what isn't finite."""
    return {name: value if isfinite(value) else None for name, value in figures.items()}


def _log(trainer: Trainer, panels: dict[str, dict[str, Panel]]) -> None:
    """Hand the panels to every logger that takes pictures: W&B's form, then TensorBoard's."""
    pictures: dict[str, np.ndarray] = {
        f"{PANELS_NAME}/{frame}/{name}": panel.picture
        for frame, parts in panels.items()
        for name, panel in parts.items()
    }
    for run in trainer.loggers:
        if (log_image := getattr(run, "log_image", None)) is not None:
            for key, picture in pictures.items():
                log_image(key, [picture], step=trainer.global_step)
        elif (add_image := getattr(getattr(run, "experiment", None), "add_image", None)) is not None:
            for key, picture in pictures.items():
                add_image(key, picture, global_step=trainer.global_step, dataformats="HWC")
