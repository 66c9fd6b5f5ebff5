from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import ScoreTable
from tests.training import Trainer, random_codes
from zoo.errors import ConfigError
from zoo.metrics import delta_e_itp, psnr
from zoo.modules import JSINetModule
from zoo.modules.base import codes_to_signal
from zoo.nets import JSINet
from zoo.optim import Rate

from pytorch_lightning import LightningDataModule  # isort: skip
from pytorch_lightning.loggers import Logger  # isort: skip

SCENES = ("hall", "hall", "road-2", "road-2", "sky")
METRICS = ["psnr", "psnr_rgb", "pu21_psnr", "delta_e_itp"]


class Frames(LightningDataModule):
    """Two batches of noise for training, and five frames to validate on, dealt to the ranks in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = [
            {**random_codes(1, 8, 2, seed), "key": [f"{scene}-{seed:05}"]} for seed, scene in enumerate(SCENES)
        ]

    def train_dataloader(self) -> DataLoader:
        return DataLoader([random_codes(1, 8, 2, seed) for seed in range(2)], batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        frames = self.frames[self.trainer.global_rank :: self.trainer.world_size]
        pairs = [frames[place : place + 2] for place in range(0, len(frames), 2)]
        return DataLoader([_batch(pair) for pair in pairs], batch_size=None)  # type: ignore[arg-type]


def _batch(frames: list[dict[str, Any]]) -> dict[str, Any]:
    tensors = {name: torch.cat([frame[name] for frame in frames]) for name in ("sdr", "hdr")}
    return {**tensors, "key": [frame["key"][0] for frame in frames]}


class Tables(Logger):
    """A logger that keeps the tables and scalars it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[str], list[list[Any]], int]] = []
        self.scalars: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        return "tables"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.scalars.append(dict(metrics))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass

    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int) -> None:
        self.tables.append((key, columns, data, step))


def fit(
    folder: Path,
    epochs: int,
    checkpoint: Path | None = None,
    ranks: int = 1,
    rate: float = 1e-3,
    logger: Logger | bool = False,
) -> Trainer:
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    trainer = Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp_fork" if ranks > 1 else "auto",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=[ScoreTable()],
    )
    trainer.fit(JSINetModule(rates=[Rate(rate)]), datamodule=Frames(), ckpt_path=checkpoint)
    return trainer


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_frame_of_each_validation_has_a_row_with_its_scores(tmp_path: Path) -> None:
    logger = Tables()
    trainer = fit(tmp_path, 2, logger=logger)
    table = rows(tmp_path)
    assert list(table[0]) == ["epoch", "step", "stage", "frame", "scene", *METRICS]
    assert [(row["epoch"], row["step"], row["stage"]) for row in table] == [("0", "2", "1")] * 5 + [("1", "4", "1")] * 5
    assert [row["frame"] for row in table[5:]] == [
        "hall-00000",
        "hall-00001",
        "road-2-00002",
        "road-2-00003",
        "sky-00004",
    ]
    assert [row["scene"] for row in table[5:]] == list(SCENES)

    # Those of the last epoch are the net's as it is now.
    net = trainer.lightning_module.net.eval()
    for row, frame in zip(table[5:], Frames().frames, strict=True):
        signals = codes_to_signal(frame, net)
        with torch.no_grad():
            preds = net(signals["sdr"])
        assert float(row["psnr"]) == pytest.approx(float(psnr(preds, signals["hdr"])), abs=1e-4)
        assert float(row["delta_e_itp"]) == pytest.approx(float(delta_e_itp(preds, signals["hdr"])), rel=1e-4)

    # Means over frames are logged, and val/psnr, the module's own, agrees with the table.
    logged = {key: value for scalars in logger.scalars for key, value in scalars.items() if key.startswith("val/")}
    assert set(logged) == {f"val/{name}" for name in METRICS}
    for name in METRICS:
        mean = sum(float(row[name]) for row in table[5:]) / 5
        assert logged[f"val/{name}"] == pytest.approx(mean, rel=1e-5)
    assert [(key, step, len(data)) for key, _, data, step in logger.tables] == [
        ("val/frames", 2, 5),
        ("val/frames", 4, 5),
    ]
    assert logger.tables[1][2][0][:5] == [1, 4, 1, "hall-00000", "hall"]


def test_frames_pass_the_network_once(tmp_path: Path) -> None:
    forwards = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, output: forwards.append(len(output)) if isinstance(module, JSINet) else None
    )
    try:
        fit(tmp_path, 1)
    finally:
        handle.remove()
    assert sorted(forwards) == [1, 1, 1, 2, 2]  # two batches of training, and the five frames


def test_a_resumed_run_writes_no_row_twice(tmp_path: Path) -> None:
    trainer = fit(tmp_path, 1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    first = rows(tmp_path)
    fit(tmp_path, 3, tmp_path / "one.ckpt")
    whole = rows(tmp_path)
    assert [row["step"] for row in whole] == ["2"] * 5 + ["4"] * 5 + ["6"] * 5
    # Killed after the third epoch, it goes on from the first's checkpoint.
    fit(tmp_path, 2, tmp_path / "one.ckpt")
    assert rows(tmp_path) == whole[:10]
    assert whole[:5] == first


def test_two_ranks_write_the_table_of_one(tmp_path: Path) -> None:
    for ranks in (1, 2):
        # At a rate of 0: it is the tables that are compared, not the training.
        fit(tmp_path / str(ranks), 1, ranks=ranks, rate=0.0)
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert [row["frame"] for row in two] == [row["frame"] for row in one]
    for a, b in zip(one, two, strict=True):
        for name in METRICS:
            assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-6)


def test_a_network_that_gives_no_numbers_leaves_its_cells_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "zoo.nets.JSINet.forward",
        lambda self, sdr: self.ir.head.bias.sum() * torch.full((len(sdr), 3, 16, 16), torch.nan),
    )
    logger = Tables()
    fit(tmp_path, 1, logger=logger)
    assert [[row[name] for name in METRICS] for row in rows(tmp_path)] == [[""] * 4] * 5
    assert logger.tables[0][2][0][5:] == [None] * 4


def test_a_table_that_cannot_be_written_is_said_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scores.csv").mkdir()
    with caplog.at_level(logging.WARNING):
        trainer = fit(tmp_path, 1)
    assert trainer.global_step == 2
    assert f"no scores in {tmp_path / 'scores.csv'} (Is a directory)" in caplog.messages


def test_a_table_of_other_columns_makes_way(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("epoch,step,stage,frame,scene,psnr\n0,1,1,hall-00000,hall,30.0\n")
    fit(tmp_path, 1)
    assert [row["step"] for row in rows(tmp_path)] == ["2"] * 5


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no metric .psnrr.*psnr_matched"):
        ScoreTable(["psnrr"])
