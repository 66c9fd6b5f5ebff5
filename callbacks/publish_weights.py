"""The run's file of weights, ready to load and to publish."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

import zoo
from zoo.runs import git_commit
from zoo.weights import WEIGHTS_NAME, write_weights

PACKAGES = ("torch", "pytorch-lightning", "numpy", "safetensors")


class PublishWeights(Callback):
    """Keep ``weights.safetensors`` of the best validation, or of the newest weights, in the run's folder.

    Rank 0 writes it, whole or not at all, whenever the best changes and at the end, so it is there after a kill. Best
    counts within a stage and starts anew at a switch; a stage that ends without a score publishes its last weights. The
    last epoch of ``trainer.max_epochs`` is always validated; where ``max_steps`` or ``max_time`` ends the run, what
    follows its last validation isn't considered.

    Args:
        run_dir: the run's folder.
        best: one of the module's ``scores``, or ``last`` for the newest weights; the module's own by default.

    Raises:
        ConfigError: at the start, if the module has no such score.
    """

    def __init__(self, run_dir: str | Path, best: str | None = None) -> None:
        self.path = Path(run_dir) / WEIGHTS_NAME
        self.best = best
        self._score: float | None = None
        self._stage = 1

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check that the score exists."""
        check_best(self.best, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the epoch also where a run is resumed within it; without the best's file its score is no rival."""
        if not trainer.strategy.broadcast(self.path.is_file()):
            self._score = None
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Have the last epoch validated whatever the interval: its weights may be the best."""
        if trainer.check_val_every_n_epoch is not None and trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write if this validation is the stage's best, or the newest is asked for."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metric = self.best or pl_module.best
        if metric != "last":
            best, score = self._best_of(pl_module.stage), float(trainer.callback_metrics[metric])
            if isnan(score) or (best is not None and score <= best):
                return
            self._score = score
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the newest weights if they are asked for, or if the stage has no score."""
        if (self.best or pl_module.best) == "last" or self._best_of(pl_module.stage) is None:
            self._write(trainer, pl_module)

    def _best_of(self, stage: int) -> float | None:
        if stage != self._stage:
            self._score, self._stage = None, stage
        return self._score

    def _write(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        tensors, args = pl_module.published_weights()
        card = zoo.info(pl_module.model_name)
        config = self.path.with_name("config.yaml")
        metadata = {
            "name": card.name,
            "net": card.net,
            "args": args,
            "input": card.input,
            "output": card.output,
            "stage": pl_module.stage,
            "step": trainer.global_step,
            "data": getattr(getattr(trainer, "datamodule", None), "digest", None),
            "config": hashlib.sha256(config.read_bytes()).hexdigest() if config.is_file() else None,
            "commit": git_commit(),
            "packages": {name: version(name) for name in PACKAGES},
        }
        write_weights(self.path, tensors, metadata)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far and its stage."""
        return {"score": self._score, "stage": self._stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that score."""
        self._score, self._stage = state_dict["score"], state_dict["stage"]


def check_best(best: str | None, pl_module: Any) -> None:
    """Refuse a score that the module doesn't have.

    Raises:
        ConfigError: it is neither one of the module's ``scores`` nor ``last``.
    """
    known = ("last", *pl_module.scores)
    if best is not None and best not in known:
        raise zoo.ConfigError(f"--best {best}: {pl_module.model_name} has no such score; known: {', '.join(known)}")
