from __future__ import annotations

from typing import Any

import pytest
import torch

from callbacks import StageSwitch, WeightAverage
from tests.training import Callback, LightningModule, Trainer, random_codes, train
from zoo.errors import ConfigError
from zoo.modules import DeepSRITMModule, JSINetModule
from zoo.optim import Rate


class Live(Callback):
    """Keeps the live weights after each step."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.weights.append(pl_module.net.state_dict()["base.first.weight"].clone())


def test_the_average_is_the_exponential_average_of_the_live_weights() -> None:
    module, live, average = JSINetModule(rates=[Rate(1e-3)]), Live(), WeightAverage(0.25)
    start = module.net.ir.head.weight.detach().clone().double()
    weights: list[torch.Tensor] = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            weights.append(pl_module.net.ir.head.weight.detach().clone())

    train(module, [random_codes(1, 6, 2, seed) for seed in range(4)], [average, Keep()])
    expected = start
    for n, weight in enumerate(weights, start=1):
        decay = min(0.25, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(module.published.ir.head.weight, expected)
    assert module.published is not module.net
    assert torch.equal(module.net.ir.head.weight, weights[-1])
    assert not live.weights


def test_the_average_starts_anew_at_the_switch_with_the_modulation_on() -> None:
    module, live = DeepSRITMModule(rates=[Rate(1e-3), Rate(1e-3)]), Live()
    train(module, [random_codes(1, 6, 2, 0)] * 3, [StageSwitch(1), WeightAverage(0.999), live], epochs=2)
    assert module.published.modulation_on
    # Three updates of the second stage: the first is taken whole, the others with weights 1 - 2/11 and 1 - 3/12.
    expected = live.weights[3]
    for n, weight in enumerate(live.weights[4:], start=1):
        expected = expected + (1 - (1 + n) / (10 + n)) * (weight - expected)
    torch.testing.assert_close(module.published.base.first.weight, expected)


def test_the_average_is_no_part_of_the_module() -> None:
    module = JSINetModule(rates=[Rate(1e-3)])
    names = set(module.state_dict())
    train(module, [random_codes(1, 6, 2, 0)], [WeightAverage()])
    assert set(module.state_dict()) == names
    assert all(name.startswith("net.") for name in names)


def test_a_state_of_plain_tensors_comes_back() -> None:
    module, average = JSINetModule(rates=[Rate(1e-3)]), WeightAverage(0.5)
    train(module, [random_codes(1, 6, 2, 0)] * 2, [average])
    state = average.state_dict()
    assert state["updates"] == 2
    assert all(type(value) is torch.Tensor for value in state["average"].values())

    again, other = WeightAverage(0.5), JSINetModule(rates=[Rate(0.0)])
    again.load_state_dict(state)
    train(other, [random_codes(1, 6, 2, 0)], [again], max_steps=0)
    assert torch.equal(other.published.ir.head.weight, state["average"]["ir.head.weight"])


@pytest.mark.parametrize("decay", [-1.0, 1.0, 2.0, float("nan")])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        WeightAverage(decay)
