"""The run's file of weights, ready to load and to publish."""

from __future__ import annotations

import hashlib
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer

import zoo
from zoo.weights import WEIGHTS_NAME, write_weights

PACKAGES = ("torch", "pytorch-lightning", "numpy", "safetensors")


class PublishWeights(Callback):
    """Keep ``weights.safetensors`` of the best validation, or of the newest weights, in the run's folder.

    Rank 0 writes it, whole or not at all, whenever the best changes and at the end, so it is there after a kill. Best
    counts within a stage and starts anew at a switch.

    Args:
        run_dir: the run's folder.
        best: a logged metric, higher is better, or ``last`` for the newest weights; the module's own by default.
    """

    def __init__(self, run_dir: str | Path, best: str | None = None) -> None:
        self.path = Path(run_dir) / WEIGHTS_NAME
        self.best = best
        self._score: float | None = None
        self._stage = 1

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write if this validation is the stage's best, or the newest is asked for."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if pl_module.stage != self._stage:
            self._score, self._stage = None, pl_module.stage
        metric = self.best or pl_module.best
        if metric != "last":
            if metric not in trainer.callback_metrics:
                known = ", ".join(key for key in trainer.callback_metrics if key.startswith("val/"))
                raise zoo.ConfigError(f"--best {metric}: no such metric is logged; known: last, {known}")
            score = float(trainer.callback_metrics[metric])
            if self._score is not None and score <= self._score:
                return
            self._score = score
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the newest weights if they are asked for, or if nothing was ever validated."""
        if (self.best or pl_module.best) == "last" or self._score is None:
            self._write(trainer, pl_module)

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
            "commit": _git_commit(),
            "packages": {name: version(name) for name in PACKAGES},
        }
        write_weights(self.path, tensors, metadata)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far and its stage."""
        return {"score": self._score, "stage": self._stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from that score."""
        self._score, self._stage = state_dict["score"], state_dict["stage"]


def _git_commit() -> str | None:
    """The checkout's commit, with a plus where files differ from it; None outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
