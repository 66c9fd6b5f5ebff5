from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from callbacks import DataFacts
from datamodules import SRITMDataModule
from tests.training import Trainer, random_codes
from zoo.modules import JSINetModule
from zoo.optim import Rate

from pytorch_lightning.loggers import CSVLogger  # isort: skip


def fit(
    folder: Path, data: Any, epochs: int = 1, checkpoint: Path | None = None
) -> tuple[Trainer, list[dict[str, float]]]:
    """A run of two updates an epoch, and what it logged of its data."""
    logger = CSVLogger(folder)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=logger,
        log_every_n_steps=1,
        limit_train_batches=2,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[DataFacts()],
    )
    module = JSINetModule(rates=[Rate(1e-3)])
    if isinstance(data, DataLoader):
        logged = _noted(logger, lambda: trainer.fit(module, data, ckpt_path=checkpoint))
    else:
        logged = _noted(logger, lambda: trainer.fit(module, datamodule=data, ckpt_path=checkpoint))
    return trainer, logged


def _noted(logger: CSVLogger, run: Any) -> list[dict[str, float]]:
    notes: list[dict[str, float]] = []
    log = logger.log_metrics

    def noting(metrics: dict[str, float], step: int | None = None) -> None:
        notes.append({key: value for key, value in metrics.items() if key.startswith("data/")})
        log(metrics, step)

    logger.log_metrics = noting  # type: ignore[method-assign]
    run()
    return [each for each in notes if each]


def test_samples_are_counted_over_epochs_and_resumed_runs(tmp_path: Path) -> None:
    batches = DataLoader([random_codes(3, 8, 2, seed) for seed in range(2)], batch_size=None)  # type: ignore[arg-type]
    trainer, logged = fit(tmp_path, batches, epochs=2)
    assert logged == [{"data/samples": 3.0 * n, "data/crop": 16.0} for n in (1, 2, 3, 4)]
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, logged = fit(tmp_path, batches, epochs=3, checkpoint=tmp_path / "last.ckpt")
    assert [each["data/samples"] for each in logged] == [15.0, 18.0]


@pytest.mark.parametrize("tolerate", [True, False])
def test_tolerated_damage_is_counted(photographs: Path, tmp_path: Path, tolerate: bool) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for path in photographs.iterdir():
        if path.is_file():
            (root / path.name).write_bytes(path.read_bytes())
    if tolerate:
        (shard,) = root.glob("train-*.tar")
        content = bytearray(shard.read_bytes())
        shard.write_bytes(content[: len(content) // 2])
    data = SRITMDataModule(root=str(root), scale=2, batch_size=2, crop=[32], tolerate_damage=tolerate, num_workers=0)
    _, logged = fit(tmp_path, data)
    if tolerate:
        assert 1 <= logged[-1]["data/lost_samples"] < 16
        assert logged[-1]["data/crop"] == 32
    else:
        assert "data/lost_samples" not in logged[-1]
