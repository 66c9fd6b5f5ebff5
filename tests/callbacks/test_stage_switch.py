from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import StageSwitch, WeightAverage
from tests.training import Callback, LightningModule, Trainer, random_codes, train
from zoo.errors import ConfigError
from zoo.modules import DeepSRITMModule, JSIGANModule, JSINetModule
from zoo.optim import Rate

RATES = [Rate(1e-4), Rate(5e-5)]


class Stages(Callback):
    """Notes stage, modulation and rate of each batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool, float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append((pl_module.stage, pl_module.net.modulation_on, rate))


def test_the_stage_follows_the_epoch() -> None:
    stages = Stages()
    module = DeepSRITMModule(rates=RATES)
    train(module, [random_codes(1, 6, 2, 0)] * 2, [StageSwitch(2), stages], epochs=3)
    assert stages.seen == [(1, False, 1e-4)] * 4 + [(2, True, 5e-5)] * 2


def test_epoch_0_trains_the_second_stage_alone() -> None:
    stages = Stages()
    module = DeepSRITMModule(rates=RATES)
    train(module, [random_codes(1, 6, 2, 0)], [StageSwitch(0), stages])
    assert stages.seen == [(2, True, 5e-5)]


class Counts(Callback):
    """Notes how many updates the solver has counted for an old and for a modulation tensor; None for no state."""

    def __init__(self) -> None:
        self.counts: list[tuple[int | None, int | None]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        state = trainer.optimizers[0].state
        modulation = next(iter(pl_module.net.modulation_parameters().values()))
        old, new = (int(state[p]["step"]) if p in state else None for p in (pl_module.net.head.weight, modulation))
        self.counts.append((old, new))


@pytest.mark.parametrize(
    ("optimizer", "switch_state", "second"),
    [
        ("authors_adam", "fresh", [(1, 1), (2, 2)]),
        ("authors_adam", "keep", [(3, 1), (4, 2)]),
        ("adam", "keep", [(3, 1), (4, 2)]),
    ],
)
def test_solver_state_is_forgotten_once_at_the_switch_or_kept(
    optimizer: str, switch_state: Any, second: list[tuple[int, int]]
) -> None:
    counts = Counts()
    module = DeepSRITMModule(rates=RATES, optimizer=optimizer, switch_state=switch_state)
    batches = [random_codes(1, 6, 2, 0)] * 2
    train(module, batches, [StageSwitch(1), counts], epochs=2, precision="32-true")
    assert counts.counts == [(1, None), (2, None), *second]


def test_what_joins_a_kept_solver_begins_as_with_a_fresh_one() -> None:
    """Epsilon of the authors' Adam follows each tensor's own count: the first update of the maps is the same."""
    updates = []
    for switch_state in ("fresh", "keep"):
        torch.manual_seed(0)
        # A rate of nothing leaves the base network the same for both.
        module = DeepSRITMModule(rates=[Rate(0.0), Rate(1e-4)], switch_state=switch_state)
        before = {name: p.detach().clone() for name, p in module.net.modulation_parameters().items()}
        train(module, [random_codes(1, 6, 2, 0)], [StageSwitch(1)], epochs=2)
        updates.append({name: p.detach() - before[name] for name, p in module.net.modulation_parameters().items()})
    assert all(update.abs().max() > 0 for update in updates[0].values())
    for name, update in updates[0].items():
        assert torch.equal(updates[1][name], update), name


def test_stage_and_rates_are_logged() -> None:
    module = DeepSRITMModule(rates=RATES)
    steps = train(module, [random_codes(1, 6, 2, 0)], [StageSwitch(1)], epochs=2, precision="32-true")
    assert [step["stages/stage"] for step in steps] == [1, 2]
    assert [step["stages/rate"] for step in steps] == pytest.approx([1e-4, 5e-5])


def test_rates_of_discriminators_are_logged_where_they_are_others() -> None:
    def log(stage_epoch: int, batch: Any) -> dict[str, float]:
        gan = JSIGANModule(4, base_channels=2, rates=RATES, discriminator_rate=10)
        return train(
            gan, [batch], [StageSwitch(stage_epoch)], epochs=stage_epoch + 1, max_steps=1, precision="32-true"
        )[0]

    step = log(0, random_codes(4, 40, 4, 0))
    assert [step[f"stages/{key}"] for key in ("rate", "rate_D1", "rate_D2")] == pytest.approx([5e-5, 5e-4, 5e-4])
    resting = log(1, random_codes(1, 6, 4, 0))
    assert "stages/rate" in resting
    assert "stages/rate_D1" not in resting


class Saves(Callback):
    """Keeps a checkpoint after each update, and one between the switch and the first update that follows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and trainer.current_epoch == SWITCH:
            trainer.save_checkpoint(self.folder / "between.ckpt")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


SWITCH, EPOCHS = 2, 4


@pytest.mark.parametrize(("start", "switch_state"), [("authors", "fresh"), ("identity", "keep")])
def test_a_run_resumed_around_the_switch_ends_as_the_unbroken_one(
    tmp_path: Path, start: Any, switch_state: Any
) -> None:
    """Weights, average and solver state to the bit."""
    ends: dict[str, tuple[DeepSRITMModule, dict[str, Any]]] = {}

    def fit(name: str, *callbacks: Callback) -> None:
        torch.manual_seed(len(ends))  # a resumed run has nothing from its own start
        module = DeepSRITMModule(rates=[Rate(1e-4), Rate(1e-4, "cosine")], start=start, switch_state=switch_state)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[StageSwitch(SWITCH), WeightAverage(0.5), *callbacks],
        )
        data = DataLoader([random_codes(1, 6, 2, 0)], batch_size=None)
        trainer.fit(module, data, ckpt_path=None if name == "whole" else str(tmp_path / f"{name}.ckpt"))
        ends[name] = module, trainer.optimizers[0].state_dict()["state"]

    fit("whole", Saves(tmp_path))
    module, state = ends["whole"]
    assert module.stage == 2
    for name in ("1", "2", "between", "3"):  # by their steps, one an epoch: before, at and after the switch
        fit(name)
        resumed, resumed_state = ends[name]
        assert resumed.stage == 2
        assert resumed.net.modulation_on
        for key, expected in module.net.state_dict().items():
            assert torch.equal(resumed.net.state_dict()[key], expected), (name, key)
            assert torch.equal(resumed.published.state_dict()[key], module.published.state_dict()[key]), (name, key)
        assert resumed_state.keys() == state.keys()
        for index, moments in state.items():
            assert all(torch.equal(resumed_state[index][key], value) for key, value in moments.items()), (name, index)


def test_a_resumed_run_is_not_taken_back_to_its_first_stage(tmp_path: Path) -> None:
    path = tmp_path / "second.ckpt"

    class Save(Callback):
        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.save_checkpoint(path)

    data = DataLoader([random_codes(1, 6, 2, 0)], batch_size=None)
    for epochs, switch, callbacks in ((2, 1, [Save()]), (4, 3, [])):
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            callbacks=[StageSwitch(switch), *callbacks],
        )
        if callbacks:
            trainer.fit(DeepSRITMModule(rates=RATES), data)
        else:
            with pytest.raises(
                ConfigError, match=r"stage\.epoch is 3, but the checkpoint is of epoch 2 and in stage 2"
            ):
                trainer.fit(DeepSRITMModule(rates=RATES), data, ckpt_path=str(path))


@pytest.mark.parametrize(
    ("module", "epoch", "message"),
    [
        (lambda: JSINetModule(), 1, "JSINetModule trains in one stage here"),
        (lambda: DeepSRITMModule(modulation=False, rates=[Rate(1e-4)]), 1, "DeepSRITMModule trains in one stage here"),
        (lambda: DeepSRITMModule(), None, "DeepSRITMModule trains in two stages: give stage.epoch"),
        (lambda: JSIGANModule(base_channels=2), 2, "the run has epochs 0 to 1: the second stage would never begin"),
        (lambda: JSIGANModule(base_channels=2), -1, "stage.epoch is -1"),
    ],
)
def test_a_boundary_that_does_not_fit_is_refused(module: Any, epoch: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(module(), [random_codes(4, 40, 2, 0)], [StageSwitch(epoch)], epochs=2)
