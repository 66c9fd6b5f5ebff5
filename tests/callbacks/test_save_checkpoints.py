from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from callbacks import RandomState, SaveCheckpoints, StageSwitch, WeightAverage
from callbacks.stop_request import RunStopped
from datamodules.loader import SlotBatches, SlotLoader
from datamodules.order import Slot
from tests.training import random_codes
from zoo.errors import CheckpointError, ConfigError
from zoo.modules import JSIGANModule
from zoo.nets import JSINet
from zoo.optim import Rate

BATCHES = 4  # an epoch


class Toy(LightningModule):
    """A few weights, with dropout, so that a step depends on the random state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(), nn.Linear(8, 1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.net(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/score", self.net(batch).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


class Numbers(Dataset):
    """The slot as a sample, so that the order counts."""

    def __getitem__(self, slot: Any) -> Tensor:
        epoch, place = slot if isinstance(slot, Slot) else (0, slot)
        return torch.tensor([1.0, epoch + 1, place + 1])

    def __len__(self) -> int:
        return 3


class ToyData(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        assert trainer is not None
        batches = SlotBatches(2 * BATCHES * trainer.world_size, 2, trainer.global_rank, trainer.world_size)
        return SlotLoader(Numbers(), batches, {})

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Numbers(), generator=torch.Generator())


class Notes(Callback):
    """What happened, and something to do at a certain place.

    Attributes:
        events: steps trained and steps after which validation ended.
    """

    def __init__(self, at: tuple[str, int] | None = None, do: Callable[[], None] | None = None) -> None:
        self.events: list[tuple[str, int]] = []
        self.at = at
        self.do = do

    def _note(self, event: str, step: int) -> None:
        self.events.append((event, step))
        if (event, step) == self.at and self.do is not None:
            self.do()

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self._note("trained", trainer.fit_loop.total_batch_idx + 1)

    def on_validation_start(self, trainer: Trainer, *args: Any) -> None:
        self._note("validating", trainer.fit_loop.total_batch_idx + 1)

    def on_validation_end(self, trainer: Trainer, *args: Any) -> None:
        self._note("validated", trainer.fit_loop.total_batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, *args: Any) -> None:
        self._note("epoch", trainer.current_epoch)

    def on_train_end(self, *args: Any) -> None:
        self.events.append(("end", 0))


def fit(
    folder: Path,
    saver: SaveCheckpoints,
    *others: Callback,
    resume: Path | None = None,
    module: Callable[[], LightningModule] = Toy,
    data: type[LightningDataModule] = ToyData,
    **options: Any,
) -> None:
    options = {"max_epochs": 3, "devices": 1, "logger": False} | options
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[*others, RandomState(), saver],
        default_root_dir=folder,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(module(), datamodule=data(), ckpt_path=resume, weights_only=True)


def every_update() -> SaveCheckpoints:
    return SaveCheckpoints(minutes=1e-9, keep=99)


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


def differences(first: Any, second: Any, place: str = "") -> Iterator[str]:
    """Where two nests of plain values and tensors differ by a bit."""
    if isinstance(first, Tensor):
        if not (isinstance(second, Tensor) and torch.equal(first, second)):
            yield place
    elif isinstance(first, dict) and isinstance(second, dict):
        for key in first.keys() | second.keys():
            yield from differences(first.get(key), second.get(key), f"{place}/{key}")
    elif isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second, strict=True)):
            yield from differences(*pair, f"{place}/{index}")
    elif first != second:
        yield f"{place}: {first} {second}"


def last_event(path: Path) -> tuple[str, int]:
    """What came before a checkpoint, by its counters."""
    loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
    epochs, batches = loops["epoch_progress"]["total"], loops["epoch_loop.batch_progress"]["total"]
    over = epochs["completed"] == epochs["started"]
    return ("epoch", epochs["completed"] - 1) if over else ("trained", batches["processed"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_epochs": -1, "max_steps": 10},
        {"val_check_interval": 2},
        {"val_check_interval": 3, "check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": 2},
        {"limit_train_batches": 3},
        {"limit_val_batches": 0},
        {"accumulate_grad_batches": 3},
        {"max_epochs": -1, "max_steps": 5, "val_check_interval": 2, "accumulate_grad_batches": 2},
    ],
    ids=str,
)
def test_a_run_goes_on_from_each_of_its_updates_as_if_it_had_not_stopped(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Weights, optimiser, random state, order of the data, validations, counters."""
    whole = Notes()
    fit(tmp_path, every_update(), whole, **options)
    saved = checkpoints(tmp_path)
    assert len(saved) > 4
    for path in saved[:-1]:
        rest = Notes()
        fit(tmp_path / path.stem, every_update(), rest, resume=path, **options)
        ends = [torch.load(checkpoints(folder)[-1], weights_only=True) for folder in (tmp_path, tmp_path / path.stem)]
        assert list(differences(*ends)) == [], path.stem
        assert rest.events == whole.events[whole.events.index(last_event(path)) + 1 :], path.stem


def test_a_gradient_scaler_goes_on(tmp_path: Path) -> None:
    """Its scale doubles every third update."""

    def plugins() -> list[MixedPrecision]:
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        return [MixedPrecision("16-mixed", "cpu", scaler)]

    fit(tmp_path, every_update(), plugins=plugins())
    whole = torch.load(checkpoints(tmp_path)[-1], weights_only=True)
    assert whole["MixedPrecision"]["scale"] == 8 * 2**4
    for path in checkpoints(tmp_path)[3:9:2]:
        fit(tmp_path / path.stem, every_update(), resume=path, plugins=plugins())
        end = torch.load(checkpoints(tmp_path / path.stem)[-1], weights_only=True)
        assert list(differences(whole, end)) == [], path.stem


class SmallNet(nn.Module):
    """Stands for JSInet, whose steps take seconds."""

    input_signal, output_signal = JSINet.input_signal, JSINet.output_signal

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(nn.Conv2d(3, 3 * scale * scale, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, sdr: Tensor) -> Tensor:
        return self.layers(sdr).sigmoid()


class GANData(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return SlotLoader(self, SlotBatches(2, 1, 0, 1), {}, collate_fn=lambda batch: batch[0])  # type: ignore[arg-type]

    def __getitem__(self, slot: Slot) -> dict[str, Any]:
        return random_codes(2, 40, 4, seed=100 * slot.epoch + slot.slot)


def test_a_gan_goes_on_before_at_and_after_its_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage, three optimisers, spectral norms and the average, in manual optimisation."""
    monkeypatch.setattr("zoo.modules.jsigan.JSINet", SmallNet)
    monkeypatch.setattr("zoo.modules.jsigan.GAN_BATCH", 2)
    rates = [Rate(1e-3), Rate(1e-3)]

    def run(name: str, resume: Path | None = None) -> dict[str, Any]:
        torch.manual_seed(0)
        fit(
            tmp_path / name,
            every_update(),
            StageSwitch(1),
            WeightAverage(0.9),
            resume=resume,
            module=lambda: JSIGANModule(4, base_channels=2, rates=rates),
            data=GANData,
            max_steps=5,
        )
        return torch.load(checkpoints(tmp_path / name)[-1], weights_only=True)

    whole = run("whole")
    assert (whole["global_step"], whole["sritm"]["stage"]) == (5, 2)
    assert all(states["state"] for states in whole["optimizer_states"])
    # In the middle of the first epoch, at the switch, in the middle of the second, after it.
    for path in checkpoints(tmp_path / "whole")[:4]:
        assert list(differences(whole, run(path.stem, path))) == [], path.stem


@pytest.mark.parametrize(
    ("rank", "at", "saved"),
    [
        (None, None, None),
        (0, ("trained", 2), "epoch=0-step=2"),
        (1, ("trained", 2), "epoch=0-step=2"),
        (1, ("trained", 4), "epoch=0-step=4"),
        (1, ("epoch", 1), "epoch=1-step=8"),
    ],
)
def test_two_ranks_stop_together_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int | None, at: tuple[str, int] | None, saved: str | None
) -> None:
    """Whichever of them is told to; each has random state of its own, which dropout draws from."""
    monkeypatch.setattr("callbacks.save_checkpoints._LOOK_SECONDS", 0)

    class SeedOfRank(Callback):
        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seed_everything(trainer.global_rank, verbose=False)

    class Signalled(Notes):
        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.do = (lambda: os.kill(os.getpid(), signal.SIGTERM)) if trainer.global_rank == rank else None

    ranks = {"devices": 2, "strategy": "ddp_fork"}
    fit(tmp_path / "whole", every_update(), SeedOfRank(), **ranks)
    if at is None:
        # Time alone: the clock of rank 0 decides.
        paths = checkpoints(tmp_path / "whole")
        assert len(paths) == 12
        path = paths[4]
        run = tmp_path / "rest"
    else:
        run = tmp_path / "broken"
        with pytest.raises(BaseException, match="143"):
            fit(run, SaveCheckpoints(), SeedOfRank(), Signalled(at), **ranks)
        path = checkpoints(run)[-1]
        assert path.stem == saved
    fit(run, every_update(), SeedOfRank(), resume=path, **ranks)
    ends = [torch.load(checkpoints(folder)[-1], weights_only=True) for folder in (tmp_path / "whole", run)]
    assert list(differences(*ends)) == []
    first, second = ends[0]["random_state"]
    assert not torch.equal(first["torch"], second["torch"])


def test_the_last_few_are_kept_each_written_once(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch=0-step=1.ckpt.part").touch()  # of a run that was killed
    (tmp_path / "checkpoints" / "mine.ckpt").touch()
    saver = SaveCheckpoints(minutes=1e-9, keep=2)
    fit(tmp_path, saver)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "epoch=2-step=11.ckpt",
        "epoch=2-step=12.ckpt",
        "mine.ckpt",
    }
    assert Path(saver.last_model_path).name == "epoch=2-step=12.ckpt"


def test_between_epochs_time_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 40))  # seconds at each look
    monkeypatch.setattr("callbacks.save_checkpoints.time.monotonic", lambda: next(clock))
    fit(tmp_path, SaveCheckpoints(minutes=2, keep=99), max_epochs=1, limit_val_batches=0)
    assert [path.stem for path in checkpoints(tmp_path)] == ["epoch=0-step=3", "epoch=0-step=4"]


@pytest.mark.parametrize(
    ("at", "saved"),
    [
        (("trained", 2), "epoch=0-step=2"),
        (("trained", 4), "epoch=0-step=4"),  # the validation that follows is left to the resumed run
        (("validating", 4), "epoch=0-step=4"),
        (("epoch", 0), "epoch=0-step=4"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(
    tmp_path: Path, number: signal.Signals, at: tuple[str, int], saved: str
) -> None:
    fit(tmp_path / "whole", every_update(), whole := Notes())
    before = signal.getsignal(number)
    broken = Notes(at, lambda: os.kill(os.getpid(), number))
    saver = SaveCheckpoints()
    logger = CSVLogger(tmp_path / "broken", name="csv")
    with pytest.raises(RunStopped) as stopped, saver.stop:
        fit(tmp_path / "broken", saver, broken, logger=logger)
    assert signal.getsignal(number) == before
    assert stopped.value.code == 128 + number
    assert stopped.value.complete
    assert stopped.value.saved == checkpoints(tmp_path / "broken")[-1]
    assert stopped.value.saved.stem == saved
    # What was logged is on the disk, the last update included.
    rows = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    assert any(line.split(",")[1:3].count(str(int(saved.rpartition("=")[2]) - 1)) for line in rows[1:])

    rest = Notes()
    fit(tmp_path / "broken", every_update(), rest, resume=stopped.value.saved)
    done = broken.events[:-1] if broken.events[-1][0] == "validating" else broken.events  # it left as one began
    assert done + rest.events == whole.events
    ends = [torch.load(checkpoints(tmp_path / name)[-1], weights_only=True) for name in ("whole", "broken")]
    assert list(differences(*ends)) == []


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    saver = SaveCheckpoints()
    with pytest.raises(RunStopped) as stopped, saver.stop:
        fit(tmp_path, saver, Notes(("trained", 6), twice))
    assert not stopped.value.complete
    assert stopped.value.saved is not None
    assert stopped.value.saved.stem == "epoch=0-step=4"


@pytest.mark.parametrize(("hook", "saved"), [("on_fit_start", None), ("on_train_end", "epoch=2-step=12")])
def test_a_signal_that_finds_nothing_to_save_ends_at_once(tmp_path: Path, hook: str, saved: str | None) -> None:
    """The starting weights and the report take a while to score."""
    scoring = Callback()
    setattr(scoring, hook, lambda *args: os.kill(os.getpid(), signal.SIGTERM))
    saver = SaveCheckpoints()
    with pytest.raises(RunStopped) as stopped, saver.stop:
        fit(tmp_path, saver, scoring)
    assert stopped.value.complete
    assert (stopped.value.saved and stopped.value.saved.stem) == saved


class FullDisk:
    """Stands for ``os.fsync``: the disk is full at certain saves."""

    def __init__(self, full: Callable[[int], bool]) -> None:
        self.saves = 0
        self.full = full

    def __call__(self, descriptor: int) -> None:
        self.saves += 1
        if self.full(self.saves):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_does_not_end_a_run_that_has_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("callbacks.checkpoint_files._sync_folder", lambda folder: None)
    monkeypatch.setattr("callbacks.checkpoint_files.os.fsync", FullDisk(lambda save: save == 2))
    fit(tmp_path, saver := SaveCheckpoints(keep=9))
    (line,) = [record.message for record in caplog.records if record.name == "callbacks.save_checkpoints"]
    assert line.startswith("can't save a checkpoint (No space left on device): training goes on and tries again")
    assert "epoch=0-step=4.ckpt" in line
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "epoch=0-step=4.ckpt",
        "epoch=2-step=12.ckpt",
    }
    assert Path(saver.last_model_path).name == "epoch=2-step=12.ckpt"


@pytest.mark.parametrize(
    ("full", "message"),
    [
        (lambda save: True, r"no checkpoint can be saved in .*checkpoints \(No space left on device\); free some room"),
        (lambda save: save > 1, r"the last checkpoint can't be saved in .*\(No space left on device\)"),
    ],
    ids=["from the start", "to the end"],
)
def test_a_disk_that_stays_full_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Callable[[int], bool], message: str
) -> None:
    monkeypatch.setattr("callbacks.checkpoint_files._sync_folder", lambda folder: None)
    monkeypatch.setattr("callbacks.checkpoint_files.os.fsync", FullDisk(full))
    with pytest.raises(CheckpointError, match=message):
        fit(tmp_path, SaveCheckpoints())
    assert not list(tmp_path.rglob("*.part"))


def test_a_disk_that_is_freed_before_the_end_takes_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbacks.checkpoint_files._sync_folder", lambda folder: None)
    monkeypatch.setattr("callbacks.checkpoint_files.os.fsync", FullDisk(lambda save: save == 3))
    fit(tmp_path, SaveCheckpoints())
    end = torch.load(checkpoints(tmp_path)[-1], weights_only=True)
    assert end["global_step"] == 12
    fit(tmp_path, SaveCheckpoints(), rest := Notes(), resume=checkpoints(tmp_path)[-1])
    assert rest.events == []  # nothing is left to train


def test_what_a_run_went_on_from_counts_as_its_newest(tmp_path: Path) -> None:
    """A damaged or abandoned newer file is the first to go."""
    fit(tmp_path, every_update(), max_epochs=1)
    for number, path in enumerate(checkpoints(tmp_path)):
        os.utime(path, (number, number))
    fit(tmp_path, SaveCheckpoints(keep=2), resume=checkpoints(tmp_path)[1], max_epochs=1)
    assert [path.stem for path in checkpoints(tmp_path)] == ["epoch=0-step=2", "epoch=0-step=4"]


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").touch()
    with pytest.raises(ConfigError, match=r"can't write to .*checkpoints"):
        fit(tmp_path, SaveCheckpoints())


@pytest.mark.parametrize(("arguments", "message"), [({"minutes": 0}, "minutes is 0"), ({"keep": 0}, "keep is 0")])
def test_arguments_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SaveCheckpoints(**arguments)


def test_slurm_jobs_are_saved_and_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    job = {"NTASKS": "1", "JOB_ID": "77", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    saver = SaveCheckpoints()
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(RunStopped) as stopped, saver.stop:
        fit(tmp_path, saver, Notes(("trained", 2), lambda: os.kill(os.getpid(), signal.SIGUSR1)))
    assert signal.getsignal(signal.SIGUSR1) == before
    assert stopped.value.saved == checkpoints(tmp_path)[-1]
    assert stopped.value.saved.stem == "epoch=0-step=2"
    assert (tmp_path / "said").read_text() == "requeue 77\n"
    assert not list(tmp_path.glob("hpc_ckpt*"))


def test_lightning_still_has_what_is_replaced() -> None:
    """Private names; a release that renames them would bring back a wait before each batch, or break saving."""
    trainer = Trainer(accelerator="cpu", logger=False)
    assert callable(trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor)
    assert isinstance(SaveCheckpoints(), Checkpoint)
