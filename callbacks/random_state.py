"""Random state in checkpoints: a resumed run draws what the unbroken one would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

KEY = "random_state"


class RandomState(Callback):
    """Keep the state of Python's, NumPy's and torch's generators of every rank in checkpoints.

    A rank that the saving run didn't have keeps the state that its seed gave it.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gather the states; every rank calls this, one writes."""
        states: list[dict[str, Any]] = [random_state(pl_module.device)]
        if trainer.world_size > 1:
            states = [{}] * trainer.world_size
            torch.distributed.all_gather_object(states, random_state(pl_module.device))
        checkpoint[KEY] = states

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take this rank's."""
        states = checkpoint.get(KEY, [])
        self._restored = states[trainer.global_rank] if trainer.global_rank < len(states) else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set it after all that a start draws."""
        if self._restored is not None:
            set_random_state(self._restored, pl_module.device)
            self._restored = None


def random_state(device: torch.device) -> dict[str, Any]:
    """The global generators' state, those of CPU and ``device``, as plain values and tensors."""
    # The global generator is the one that other people's code draws from.
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    assert kind == "MT19937"
    assert not isinstance(keys, str)
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Make the global generators go on from ``state``."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
