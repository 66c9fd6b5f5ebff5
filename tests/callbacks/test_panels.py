from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import Panels, StageSwitch, WeightAverage
from tests.training import Callback, LightningModule, Trainer, random_codes
from zoo.errors import ConfigError
from zoo.fit import main
from zoo.modules import DeepSRITMModule, JSIGANModule, JSINetModule
from zoo.optim import Rate
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

from pytorch_lightning import LightningDataModule  # isort: skip
from pytorch_lightning.loggers import CSVLogger, Logger  # isort: skip

RATES = [Rate(1e-3), Rate(1e-3)]
JSINET = ["input", "prediction", "truth", "error", "base", "detail", "I", "D", "C"]
FEATURES = ["base", "detail", "conv1_base", "conv1_detail", "FE_b", "FE_d", "y_f"]
MAPS = ["modulation_base", "modulation_base_grey", "modulation_detail", "modulation_detail_grey"]


class Frames(LightningDataModule):
    """Two batches of noise for training, and ``count`` frames to validate on."""

    def __init__(self, count: int = 4, side: int = 8) -> None:
        super().__init__()
        self.frames = [{**random_codes(1, side, 2, seed), "key": [f"frame-{seed}"]} for seed in range(count)]

    def train_dataloader(self) -> DataLoader:
        return DataLoader([random_codes(1, 8, 2, seed) for seed in range(2)], batch_size=None)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.frames, collate_fn=lambda frames: frames[0])  # type: ignore[arg-type]


def fit(
    folder: Path,
    module: LightningModule,
    callbacks: list[Callback],
    epochs: int = 1,
    data: LightningDataModule | None = None,
    checkpoint: Path | None = None,
    loggers: Any = False,
) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=loggers,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=callbacks,
    )
    trainer.fit(module, datamodule=data or Frames(), ckpt_path=checkpoint)
    return trainer


def jsinet(seed: int = 0) -> JSINetModule:
    torch.manual_seed(seed)
    return JSINetModule(rates=RATES[:1])


def rounds(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "panels").glob("*"))


def figures(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "panels" / name / "figures.json").read_text())


def test_rounds_are_drawn_at_the_start_every_few_epochs_at_the_switch_and_at_the_end(tmp_path: Path) -> None:
    module = DeepSRITMModule(rates=RATES)
    fit(tmp_path, module, [StageSwitch(3), Panels(every=2)], epochs=5)
    drawn = ["epoch-0000", "epoch-0002", "epoch-0003-stage-2", "epoch-0004", "epoch-0005"]
    assert rounds(tmp_path) == drawn
    facts = [{key: figures(tmp_path, name)[key] for key in ("epoch", "step", "stage")} for name in drawn]
    assert facts == [
        {"epoch": 0, "step": 0, "stage": 1},
        {"epoch": 2, "step": 4, "stage": 1},
        {"epoch": 3, "step": 6, "stage": 2},
        {"epoch": 4, "step": 8, "stage": 2},
        {"epoch": 5, "step": 10, "stage": 2},
    ]
    for name in drawn:
        shown = ["input", "prediction", "truth", "error", *FEATURES] + (MAPS if drawn.index(name) >= 2 else [])
        # The same frames throughout, from both halves of the set.
        for frame in ("frame-0", "frame-2"):
            folder = tmp_path / "panels" / name
            assert sorted(path.stem for path in (folder / frame).glob("*.png")) == sorted(shown)
            for path in (*(folder / frame).glob("*.png"), folder / f"{frame}.png"):
                assert cv2.imread(str(path)) is not None
        assert len(list((tmp_path / "panels" / name).glob("*.png"))) == 2
    # The authors' maps start near 0 and not at 1.
    at_switch = figures(tmp_path, "epoch-0003-stage-2")["frames"]["frame-0"]
    assert all(abs(at_switch[name]["mean"]) < 0.2 for name in MAPS)


def test_figures_are_those_of_the_published_network_in_float32(tmp_path: Path) -> None:
    """The average and not the live network, and without the training's autocast."""
    module = jsinet()
    trainer = Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        max_epochs=1,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[WeightAverage(0.9), Panels(frames=1)],
    )
    data = Frames()
    trainer.fit(module, datamodule=data)
    codes = data.frames[0]
    sdr, hdr = codes["sdr"].float() / SDR_VIDEO.peak, codes["hdr"].float() / HDR10_VIDEO.peak
    found = figures(tmp_path, "epoch-0001")["frames"]["frame-0"]
    for net, equal in ((module.published, True), (module.net, False)):
        with torch.no_grad():
            parts = net.components(sdr)
        error = 1023 * (parts.pred.clamp(0, 1) - hdr).abs().mean().item()
        assert (found["error"]["mean"] == pytest.approx(error, rel=1e-5)) == equal
        assert (found["C"]["max"] == pytest.approx(parts.C[:, 0].max().item(), rel=1e-6)) == equal
        assert (found["I"]["min"] == pytest.approx(parts.I[:, 0].min().item(), rel=1e-6)) == equal
    assert list(found) == ["error", "detail", "I", "D", "C"]


def test_training_does_not_notice_panels(tmp_path: Path) -> None:
    ends = []
    for callbacks in ([], [Panels(every=1)]):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        module = DeepSRITMModule(rates=RATES)
        fit(tmp_path, module, [StageSwitch(1), *callbacks], epochs=2)
        states = [torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].copy())]  # noqa: NPY002
        ends.append([*module.state_dict().values(), *states, torch.tensor(random.getstate()[1])])
        assert module.net.training
    assert rounds(tmp_path) == ["epoch-0000", "epoch-0001", "epoch-0001-stage-2", "epoch-0002"]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_jsi_gan_shows_what_its_generator_does() -> None:
    torch.manual_seed(0)
    module, sdr = JSIGANModule(base_channels=2), torch.rand(3, 6, 8)
    with torch.no_grad():
        pred, panels = module.look_inside(module.net, sdr)
        assert torch.equal(pred, module.net(sdr[None])[0])
    assert list(panels) == JSINET[4:]
    assert all(panel.picture.shape[1] == 16 for panel in panels.values())


class SaveEach(Callback):
    """Saves a checkpoint after each epoch, named by how many are done."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / f"{trainer.current_epoch + 1}.ckpt")


def test_a_resumed_run_draws_no_round_twice(tmp_path: Path) -> None:
    """Resumed after epoch 2, before the switch, and after epoch 3, whose round was drawn."""

    def go(folder: Path, checkpoint: Path | None = None) -> list[str]:
        callbacks = [StageSwitch(2), Panels(every=3, frames=1), SaveEach()]
        fit(folder, DeepSRITMModule(rates=RATES), callbacks, epochs=4, checkpoint=checkpoint)
        return rounds(folder)

    assert go(tmp_path / "whole") == ["epoch-0000", "epoch-0002-stage-2", "epoch-0003", "epoch-0004"]
    torch.load(tmp_path / "whole" / "2.ckpt", weights_only=True)
    assert go(tmp_path / "2", tmp_path / "whole" / "2.ckpt") == ["epoch-0002-stage-2", "epoch-0003", "epoch-0004"]
    assert go(tmp_path / "3", tmp_path / "whole" / "3.ckpt") == ["epoch-0004"]


def test_a_round_takes_the_place_of_an_older_one_whole(tmp_path: Path) -> None:
    for left in ("epoch-0000/old.png", ".next/frame-9.png"):
        (tmp_path / "panels" / left).parent.mkdir(parents=True)
        (tmp_path / "panels" / left).touch()
    fit(tmp_path, jsinet(), [Panels()])
    assert rounds(tmp_path) == ["epoch-0000", "epoch-0001"]
    found = sorted(path.name for path in (tmp_path / "panels/epoch-0000").glob("*"))
    assert found == ["figures.json", "frame-0", "frame-0.png", "frame-2", "frame-2.png"]


def test_a_folder_that_can_not_be_written_costs_the_pictures_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "panels").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        trainer = fit(tmp_path, jsinet(), [Panels()])
    assert trainer.global_step == 2
    (first, _) = [record.message for record in caplog.records if record.name == "callbacks.panels"]
    assert first == f"no panels in {tmp_path}/panels/epoch-0000 (Not a directory)"


class ImageLogger(Logger):
    """Notes pictures; takes them as W&B's logger does, or as TensorBoard's."""

    def __init__(self, form: str) -> None:
        self.seen: list[tuple[str, tuple[int, ...], int]] = []
        if form == "wandb":
            self.log_image = lambda key, images, step: self.seen.append((key, images[0].shape, step))
        else:
            self.add_image = lambda key, image, global_step, dataformats: self.seen.append(
                (key, image.shape, global_step)
            )

    name, version = "notes", 0

    @property
    def experiment(self) -> Any:
        return self

    def log_metrics(self, *args: Any) -> None:
        pass

    def log_hyperparams(self, *args: Any) -> None:
        pass


def test_loggers_that_take_pictures_get_every_panel_at_its_step(tmp_path: Path) -> None:
    wandb, tensorboard = ImageLogger("wandb"), ImageLogger("tensorboard")
    loggers = [wandb, tensorboard, CSVLogger(tmp_path)]
    fit(tmp_path, jsinet(), [Panels(frames=1)], loggers=loggers)
    for logger in (wandb, tensorboard):
        assert [(key, step) for key, _, step in logger.seen] == [
            (f"panels/frame-0/{name}", step) for step in (0, 2) for name in JSINET
        ]
        assert all(shape[1:] == (16, 3) for _, shape, _ in logger.seen)


def test_of_a_large_frame_the_middle_is_shown(tmp_path: Path) -> None:
    data = Frames(side=24)
    fit(tmp_path, jsinet(), [Panels(size=20)], data=data)
    folder = tmp_path / "panels/epoch-0001/frame-2"
    fit(tmp_path / "middle", jsinet(), [Panels()], data=(middle := Frames(side=24)))
    assert cv2.imread(str(folder / "truth.png")).shape == (20, 20, 3)
    whole = cv2.imread(str(tmp_path / "middle/panels/epoch-0001/frame-2/truth.png"))
    assert whole.shape == (48, 48, 3)
    assert np.array_equal(cv2.imread(str(folder / "truth.png")), whole[14:34, 14:34])
    assert middle.frames[0]["sdr"].shape == (1, 3, 24, 24)


@pytest.mark.parametrize(("frames", "count"), [(0, 4), (2, 0)])
def test_without_frames_nothing_is_drawn(tmp_path: Path, frames: int, count: int) -> None:
    fit(tmp_path, jsinet(), [Panels(frames=frames)], data=Frames(count))
    assert not (tmp_path / "panels").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"every": 0}, r"panels\.every is 0; it must be at least 1"),
        ({"frames": -1}, r"panels\.frames is -1; it must be at least 0"),
        ({"size": 3}, r"panels\.size is 3; it must be at least 16"),
    ],
)
def test_numbers_that_can_not_be_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Panels(**wrong)


def test_a_run_from_a_recipe_leaves_panels_in_its_folder_and_in_wandb(
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callbacks.run_report.BASELINES", ())  # their scores take most of such a run
    stage_1 = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null"]
    options = ["--data.crop", "[32]", "--panels.every", "1", "--panels.frames", "1"]
    assert main(["--config", str(recipe), *stage_1, *options]) == 0
    run = Path("runs/tiny")
    assert rounds(run) == ["epoch-0000", "epoch-0001", "epoch-0002"]
    (frame,) = figures(run, "epoch-0002")["frames"]
    # Panels of 256x256 photographs; wide enough for the figures below them.
    assert cv2.imread(str(run / "panels" / "epoch-0002" / frame / "C.png")).shape[1] == 256
    media = run.glob(f"wandb/offline-run-*/files/media/images/panels/{frame}/*.png")
    assert len(list(media)) == 3 * len(JSINET)
