"""The validation scores of every frame, epoch by epoch."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from zoo.errors import ZooError
from zoo.files import replacing
from zoo.metrics import Suite
from zoo.ranks import ranks
from zoo.run_files import SCORES_NAME

logger = logging.getLogger(__name__)

COLUMNS = ("epoch", "step", "stage", "frame", "scene")  # before those of the metrics
TABLE = "val/frames"  # its name in the loggers that take tables


class ScoreTable(Callback):
    """Write the scores of each validation frame of each epoch into ``scores.csv`` of the run's folder.

    A row is a frame of a validation: ``epoch`` from 0, ``step``, ``stage``, ``frame`` (its key), ``scene``, and a
    column for each metric, empty for a frame that can't be scored or whose score is no finite number. Each frame is
    there once, on however many ranks. A resumed run first drops what came after its checkpoint.

    Loggers that take tables get the newest validation's as ``val/frames``. Means over the frames are logged as
    ``val/NAME``, but for ``val/psnr``, which is the module's own. Scored is the prediction that validation made: no
    frame passes the network again.

    Args:
        metrics: names of ``zoo.metrics.METRICS``. The default's take a few hundredths of a forward pass on a CPU.

    Raises:
        ConfigError: an unknown metric, or one that can't run here.
    """

    def __init__(self, metrics: Sequence[str] = ("psnr", "psnr_rgb", "pu21_psnr", "delta_e_itp")) -> None:
        self.metrics = list(metrics)
        self._suite = Suite(metrics)
        self._scores: dict[str, Tensor] = {}  # of this rank's frames by key: one for each metric, on the device
        self._table: dict[str, list[float]] = {}  # of all ranks'
        self._rows: list[list[str]] = []  # of the file

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Drop what a resumed run will score again."""
        if trainer.is_global_zero:
            self._rows = [row for row in _read(self._path(trainer), self._header) if int(row[1]) <= trainer.global_step]

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a table."""
        self._scores, self._table = {}, {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the frames of a batch one by one."""
        if trainer.state.fn == "fit":
            for key, preds, target in zip(batch["key"], outputs.split(1), batch["hdr"].split(1), strict=True):
                self._scores[key] = self._score(preds, target)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Bring the frames of all ranks together, and log the means."""
        own = dict(zip(self._scores, _to_lists(list(self._scores.values())), strict=True))
        self._table = dict(sorted(_of_all_ranks(own).items()))
        for name, scores in zip(self.metrics, zip(*self._table.values(), strict=True), strict=bool(self._table)):
            if name != "psnr":
                mean = torch.tensor(scores, dtype=torch.float64).mean()
                pl_module.log(f"val/{name}", mean.float(), sync_dist=True)  # alike on all ranks already

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the table and log it."""
        if not self._table or not trainer.is_global_zero:
            return
        place = (trainer.current_epoch, trainer.global_step, pl_module.stage)
        table = [
            [*place, key, _scene(key), *(score if isfinite(score) else None for score in scores)]
            for key, scores in self._table.items()
        ]
        self._rows = [row for row in self._rows if row[1] != str(trainer.global_step)]
        self._rows += [["" if cell is None else str(cell) for cell in row] for row in table]
        path = self._path(trainer)
        try:
            _write(path, [self._header, *self._rows])
        except OSError as error:  # no table is worth a run
            logger.warning("no scores in %s (%s)", path, error.strerror or error)
        for run in trainer.loggers:
            if (log_table := getattr(run, "log_table", None)) is not None:
                log_table(TABLE, columns=self._header, data=table, step=trainer.global_step)

    @property
    def _header(self) -> list[str]:
        return [*COLUMNS, *self.metrics]

    def _path(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / SCORES_NAME

    def _score(self, preds: Tensor, target: Tensor) -> Tensor:
        try:
            return torch.cat(list(self._suite.score(preds, target).values()))
        except ZooError:  # a diverging network's values
            return preds.new_full((len(self.metrics),), nan, dtype=torch.float64)


def _to_lists(scores: list[Tensor]) -> list[list[float]]:
    """All in one transfer from the device."""
    return torch.stack(scores).tolist() if scores else []


def _of_all_ranks(own: dict[str, list[float]]) -> dict[str, list[float]]:
    """The frames of all ranks on each of them; all must call this."""
    if ranks() == 1:
        return own
    parts: list[Any] = [None] * ranks()
    dist.all_gather_object(parts, own)
    return {key: scores for part in parts for key, scores in part.items()}


def _scene(key: str) -> str:
    """A frame's key is its scene and its number in it."""
    return key.rpartition("-")[0]


def _read(path: Path, header: list[str]) -> list[list[str]]:
    """The rows of a table; none where there is no such table."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        found, *rows = list(csv.reader(file)) or [[]]
    return rows if found == header else []


def _write(path: Path, rows: list[list[str]]) -> None:
    """Write a table whole, or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
