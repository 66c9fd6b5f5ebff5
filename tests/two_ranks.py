"""Train one case on a number of gloo ranks, save each rank's parameters and losses; run by test_ranks.py as a program.

python -m tests.two_ranks CASE RANKS PRECISION SHARED OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from tests.training import Notes, random_codes
from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything  # noqa: E402

from callbacks import DivergenceGuard, StageSwitch  # noqa: E402
from zoo.errors import DivergenceError  # noqa: E402
from zoo.modules import DeepSRITMModule, JSIGANModule, JSINetModule, SRITMModule  # noqa: E402
from zoo.optim import Rate  # noqa: E402


class DivergingOnRank1(JSINetModule):
    """Gets a loss of NaN from its second batch, on rank 1 alone."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.global_rank == 1 and batch_idx == 1 else loss


RATE = Rate(1e-4)
# Module, stage.epoch, epochs, batches an epoch, images of a global batch, LR side: four steps each.
CASES: dict[str, tuple[Any, int | None, int, int, int, int]] = {
    "diverging": (lambda: DivergingOnRank1(2, rates=[RATE]), None, 1, 4, 4, 16),
    "jsinet": (lambda: JSINetModule(2, rates=[RATE]), None, 1, 4, 4, 16),
    "deep_sritm": (lambda: DeepSRITMModule(2, rates=[RATE, RATE]), 1, 2, 2, 4, 12),
    # Scale 4 for its small LR pictures; narrow discriminators; 160 HR pixels as the GAN stage demands.
    "jsigan": (lambda: JSIGANModule(4, base_channels=4, rates=[RATE, RATE]), 1, 2, 2, 8, 40),
}


class Batches(LightningDataModule):
    """Fixed batches; each rank takes its part, or all take the first half (``shared``)."""

    def __init__(self, count: int, images: int, side: int, scale: int, shared: bool) -> None:
        super().__init__()
        self.batches = [random_codes(images, side, scale, seed) for seed in range(count)]
        self.shared = shared

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        ranks = 2 if self.shared else self.trainer.world_size
        rank = 0 if self.shared else self.trainer.global_rank
        images = len(self.batches[0]["key"]) // ranks
        part = slice(rank * images, (rank + 1) * images)
        batches = [{key: value[part] for key, value in batch.items()} for batch in self.batches]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class SaveParameters(Callback):
    """Writes what each rank ended with, and the losses that it logged, one dictionary for each step."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.notes = Notes()

    def on_train_batch_end(self, *args: Any) -> None:
        self.notes.on_train_batch_end(*args)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.save(dict(pl_module.named_parameters()), self.out / f"rank{trainer.global_rank}.pt")
        (self.out / f"losses{trainer.global_rank}.json").write_text(json.dumps(self.notes.steps))


class NotedGuard(DivergenceGuard):
    """Writes what each rank was stopped with."""

    def __init__(self, out: Path) -> None:
        super().__init__(every=2)
        self.out = out

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        try:
            super().on_train_batch_end(trainer, *args)
        except DivergenceError as error:
            (self.out / f"rank{trainer.global_rank}.txt").write_text(str(error))
            raise


def main(case: str, ranks: int, precision: str, shared: bool, out: Path) -> None:
    """Train and save."""
    make, switch, epochs, batches, images, side = CASES[case]
    seed_everything(0, verbose=False)
    module: SRITMModule = make()
    trainer = Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp_fork_find_unused_parameters_true" if ranks > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
        default_root_dir=out,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[NotedGuard(out), StageSwitch(switch), SaveParameters(out)],
    )
    trainer.fit(module, datamodule=Batches(batches, images, side, module.net.scale, shared))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "shared", Path(sys.argv[5]))
