from __future__ import annotations

from typing import Any

import pytest
import torch

from callbacks import StageSwitch
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


def test_solver_state_is_cleared_once_at_the_switch() -> None:
    class Counts(Callback):
        def __init__(self) -> None:
            self.counts: list[int] = []

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            state = trainer.optimizers[0].state
            kernel = pl_module.net.head.weight
            modulation = next(iter(pl_module.net.modulation_parameters().values()))
            self.counts.append((int(state[kernel]["step"]), modulation in state))

    counts = Counts()
    module = DeepSRITMModule(rates=RATES)
    train(module, [random_codes(1, 6, 2, 0)] * 2, [StageSwitch(1), counts], epochs=3)
    assert counts.counts == [(1, False), (2, False), (1, True), (2, True), (3, True), (4, True)]


def test_a_resumed_run_enters_its_stage_without_clearing_again(tmp_path: Any) -> None:
    """Two epochs in one go, and one epoch resumed into the second, end in the same weights."""

    def fit(epochs: int, checkpoint: str | None, module: DeepSRITMModule) -> DeepSRITMModule:
        from torch.utils.data import DataLoader

        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[StageSwitch(1)],
        )
        trainer.fit(module, DataLoader([random_codes(1, 6, 2, 0)] * 2, batch_size=None), ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return module

    def fresh() -> DeepSRITMModule:
        torch.manual_seed(0)
        return DeepSRITMModule(rates=RATES)

    for switch_at in (2, 3):  # resume at the switch's own stage, and one epoch later
        whole = fit(switch_at + 1, None, fresh())
        fit(switch_at, None, fresh())
        resumed = fit(switch_at + 1, str(tmp_path / f"{switch_at}.ckpt"), fresh())
        assert resumed.stage == 2
        assert resumed.net.modulation_on
        for (name, expected), parameter in zip(whole.named_parameters(), resumed.parameters(), strict=True):
            assert torch.equal(parameter, expected), name


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
