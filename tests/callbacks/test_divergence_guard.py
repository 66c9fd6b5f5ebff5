from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import DivergenceGuard, StageSwitch
from tests.training import Callback, LightningModule, Trainer, random_codes, train
from zoo.errors import DivergenceError
from zoo.modules import JSIGANModule, JSINetModule
from zoo.optim import Rate


class Poison(Callback):
    """Spoils a weight before a given batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            with torch.no_grad():
                pl_module.net.ir.head.weight.fill_(float("nan"))


def automatic() -> tuple[LightningModule, list[Callback]]:
    return JSINetModule(rates=[Rate(1e-4)]), []


def manual() -> tuple[LightningModule, list[Callback]]:
    return JSIGANModule(rates=[Rate(1e-4)] * 2, base_channels=2), [StageSwitch(1)]


@pytest.mark.parametrize("make", [automatic, manual])
def test_a_loss_of_nan_ends_the_run_at_the_next_look_and_its_step_is_named(make: Any) -> None:
    module, callbacks = make()
    batches = [random_codes(1, 6, 2, seed) for seed in range(6)]
    with pytest.raises(DivergenceError, match=r"diverged at step 3: the loss is nan; lower the rates") as error:
        train(module, batches, [*callbacks, Poison(2), DivergenceGuard(every=4)], epochs=2)
    assert len(str(error.value).splitlines()) == 1
    assert module.trainer.global_step == 4


def test_a_run_shorter_than_the_interval_is_looked_at_in_the_end() -> None:
    module, _ = automatic()
    with pytest.raises(DivergenceError, match="at step 2"):
        train(module, [random_codes(1, 6, 2, 0)] * 2, [Poison(1), DivergenceGuard(every=100)])


def test_a_gradient_that_is_not_finite_is_found_though_the_loss_was(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spoil(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.net.ir.head.weight.grad.fill_(float("inf"))

    module, _ = automatic()
    with pytest.raises(DivergenceError, match=r"diverged by step 1: weights are NaN or infinite, though the loss was"):
        train(module, [random_codes(1, 6, 2, 0)], [Spoil(), DivergenceGuard()])


def test_a_sound_run_goes_through() -> None:
    module, _ = automatic()
    train(module, [random_codes(1, 6, 2, 0)] * 3, [DivergenceGuard(every=2)])
    assert module.trainer.global_step == 3


def test_the_last_good_state_is_named(tmp_path: Path) -> None:
    guard, module = DivergenceGuard(), automatic()[0]

    class Saved:
        last_model_path = "runs/a/checkpoints/last.ckpt"

    class Stopped(Trainer):
        checkpoint_callback = Saved()

    trainer = Stopped(accelerator="cpu", logger=False, enable_checkpointing=False)
    guard.on_train_batch_end(trainer, module, {"loss": torch.tensor(float("inf"))}, None, 0)
    with pytest.raises(
        DivergenceError, match=r"the loss is inf; .*the last good state is runs/a/checkpoints/last\.ckpt"
    ):
        guard.on_train_epoch_end(trainer, module)
