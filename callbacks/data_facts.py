"""What a run has taken of its data."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer


class DataFacts(Callback):
    """Log what training has taken in the section ``data``, with the trainer's other scalars, from rank 0.

    - ``samples``, of all ranks since the run began, resumed or not;
    - ``crop``, HR pixels of a crop's sides;
    - ``lost_samples``, of the local training shards: those that can't be read, where the data module tolerates damage.
      A shard that is damaged while the run reads it isn't counted; the log names it.
    """

    def __init__(self) -> None:
        self._samples = 0
        self._lost: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Count what is lost."""
        data: Any = getattr(trainer, "datamodule", None)
        if trainer.is_global_zero and getattr(data, "tolerate_damage", False):
            shards = [shard for each in data.sets for shard in each.shards("train") if not shard.remote]
            self._lost = sum(
                shard.entry.samples - int(shard.index(True)["whole"][: shard.entry.samples].sum()) for shard in shards
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: dict[str, Any], batch_idx: int) -> None:
        """Count a batch; now, since a checkpoint may be written as soon as it is done."""
        self._samples += len(batch["key"]) * trainer.world_size

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Log when the trainer does."""
        if trainer.is_global_zero and trainer._logger_connector.should_update_logs:
            facts = {"samples": self._samples, "crop": batch["hdr"].shape[-1]}
            if self._lost is not None:
                facts["lost_samples"] = self._lost
            # Tensors on the CPU: plain numbers would be sent to the device.
            pl_module.log_dict({f"data/{name}": torch.tensor(float(value)) for name, value in facts.items()})

    def state_dict(self) -> dict[str, Any]:
        """The samples so far."""
        return {"samples": self._samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._samples = state_dict["samples"]
