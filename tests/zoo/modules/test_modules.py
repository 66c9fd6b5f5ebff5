from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import PublishWeights, StageSwitch, WeightAverage
from tests.training import Callback, LightningModule, Trainer, codes, random_codes, train
from zoo.errors import ConfigError, WeightsError
from zoo.modules import DeepSRITMModule, JSIGANModule, JSINetModule
from zoo.modules.base import codes_to_signal
from zoo.nets import JSINet
from zoo.optim import Rate
from zoo.weights import read_weights, write_weights


def test_codes_become_signals_in_float32_even_for_a_float64_network() -> None:
    batch = random_codes(1, 3, 2, 0)
    signals = codes_to_signal(batch, JSINet(2).double())
    assert signals["sdr"].dtype == signals["hdr"].dtype == torch.float64
    assert torch.equal(signals["sdr"], (batch["sdr"].float() / 255).double())
    assert torch.equal(signals["hdr"], (batch["hdr"].float() / 1023).double())
    assert signals["key"] == batch["key"]


def halves(batch: dict[str, Any]) -> list[dict[str, Any]]:
    middle = len(batch["key"]) // 2
    return [{key: value[part] for key, value in batch.items()} for part in (slice(middle), slice(middle, None))]


def test_an_epochs_last_update_is_the_mean_over_the_batches_it_has() -> None:
    batches = [random_codes(2, 6, 2, seed) for seed in range(4)]
    automatic: dict[str, Any] = {"rates": [Rate(0.1)]}
    manual: dict[str, Any] = {"rates": [Rate(0.1)] * 2, "base_channels": 2}
    ends = []
    for module, options in ((JSINetModule, automatic), (JSIGANModule, manual)):
        torch.manual_seed(0)
        net = module(optimizer="sgd", accumulate=3, **options)
        train(net, batches, max_steps=2)
        assert net.trainer.global_step == 2
        ends.append(net.net.state_dict())
    for name, expected in ends[0].items():
        torch.testing.assert_close(ends[1][name], expected, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("module", [JSINetModule, DeepSRITMModule])
def test_accumulated_halves_equal_the_whole_batch(module: Any) -> None:
    batches = [random_codes(4, 6, 2, seed) for seed in range(2)]
    options = {"rates": [Rate(1e-4)]} | ({"modulation": False} if module is DeepSRITMModule else {})
    ends = []
    for accumulate, data in ((1, batches), (2, [half for batch in batches for half in halves(batch)])):
        torch.manual_seed(0)
        net = module(accumulate=accumulate, **options)
        train(net, data)
        assert net.trainer.global_step == 2
        ends.append(net.net.state_dict())
    for name, expected in ends[0].items():
        torch.testing.assert_close(ends[1][name], expected, rtol=1e-9, atol=1e-12, msg=name)


def test_accumulation_in_the_first_gan_stage_equals_the_whole_batch() -> None:
    batch = random_codes(4, 6, 2, 0)
    ends = []
    for accumulate, data in ((1, [batch] * 2), (2, halves(batch) * 2)):
        torch.manual_seed(0)
        module = JSIGANModule(base_channels=2, rates=[Rate(1e-4), Rate(1e-4)], accumulate=accumulate)
        train(module, data, max_steps=2)
        assert module.trainer.global_step == 2
        ends.append(module.net.state_dict())
    for name, expected in ends[0].items():
        torch.testing.assert_close(ends[1][name], expected, rtol=1e-9, atol=1e-12, msg=name)


class Steps(Callback):
    """Notes the trainer's step after each batch."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps.append(trainer.global_step)


def gan_batches(count: int) -> list[dict[str, Any]]:
    return [random_codes(4, 40, 4, seed) for seed in range(count)]


def test_an_update_of_net_is_one_step_in_both_stages() -> None:
    """Three optimisers step in stage 2; private hooks of Lightning keep the count, so this may break with it."""
    steps = Steps()
    module = JSIGANModule(4, base_channels=2, rates=[Rate(1e-4), Rate(1e-5)], accumulate=2)
    train(module, gan_batches(4), [StageSwitch(1), steps], epochs=2, precision="32-true")
    assert steps.steps == [0, 1, 1, 2, 2, 3, 3, 4]


def test_discriminators_rest_in_the_first_stage() -> None:
    module = JSIGANModule(base_channels=2, rates=[Rate(1e-3), Rate(1e-3)])
    before = {name: tensor.clone() for name, tensor in module.state_dict().items() if not name.startswith("net.")}
    train(module, [random_codes(1, 6, 2, 0)] * 2, precision="32-true")
    after = module.state_dict()
    assert before
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_discriminators_learn_at_their_multiple_of_the_rate() -> None:
    module = JSIGANModule(4, base_channels=2, rates=[Rate(1e-4), Rate(1e-5)], discriminator_rate=10)
    train(module, gan_batches(1), [StageSwitch(0)], precision="32-true")
    assert [o.param_groups[0]["lr"] for o in module.trainer.optimizers] == pytest.approx([1e-5, 1e-4, 1e-4])


def test_clipping_limits_the_gradient_of_each_optimizer() -> None:
    class Norms(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            gradients = [p.grad for p in pl_module.net.parameters()]
            self.norm = torch.nn.utils.get_total_norm(gradients)

    for limit in (None, 1e-3):
        norms = Norms()
        torch.manual_seed(0)
        train(JSINetModule(rates=[Rate(1e-4)], clip_norm=limit), [random_codes(1, 6, 2, 0)], [norms])
        assert norms.norm == pytest.approx(1e-3) if limit else norms.norm > 1e-2


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_both_stages_stay_finite(precision: str) -> None:
    module = JSIGANModule(4, base_channels=2, rates=[Rate(1e-4), Rate(1e-6)])
    steps = train(module, gan_batches(1), [StageSwitch(1)], epochs=2, precision=precision)
    assert all(torch.isfinite(torch.tensor(list(step.values()))).all() for step in steps)
    assert {"train/loss_d1", "train/loss_d2", "train/loss_adv", "train/loss_fm"} <= steps[-1].keys()
    assert all(torch.isfinite(p).all() for p in module.parameters())


@pytest.mark.parametrize(("images", "side"), [(3, 40), (4, 36)])
def test_a_gan_batch_that_batch_norm_cannot_use_is_refused(images: int, side: int) -> None:
    module = JSIGANModule(4, base_channels=2)
    with pytest.raises(ConfigError, match="at least 4 images a rank of 160x160 HR pixels"):
        train(module, [random_codes(images, side, 4, 0)], [StageSwitch(0)], precision="32-true")


def test_plain_hinge_is_an_option() -> None:
    module = JSIGANModule(4, base_channels=2, relativistic=False, rates=[Rate(1e-4), Rate(1e-6)])
    (step,) = train(module, gan_batches(1), [StageSwitch(0)], precision="32-true")
    assert torch.isfinite(torch.tensor(step["train/loss_adv"]))


def test_rates_of_a_run_follow_stage_and_length() -> None:
    class Rates(Callback):
        def __init__(self) -> None:
            self.rates: list[float] = []

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    rates = Rates()
    first, second = Rate(1.0, "cosine"), Rate(2.0, "tenths")
    module = DeepSRITMModule(rates=[first, second])
    train(module, [random_codes(1, 6, 2, 0)] * 2, [StageSwitch(2), rates], epochs=7)
    assert rates.rates == [first(done, 4) for done in range(4)] + [second(done, 10) for done in range(10)]


def test_a_run_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="the run has no end"):
        train(JSINetModule(), [random_codes(1, 6, 2, 0)], epochs=-1)


def test_deep_sritm_starts_from_a_base_network_with_fresh_modulation(tmp_path: Path) -> None:
    base = DeepSRITMModule(modulation=False, rates=[Rate(1e-4)])
    path = tmp_path / "base.safetensors"
    write_weights(path, base.net.state_dict(), {})
    full = DeepSRITMModule(weights=str(path))
    assert torch.equal(full.net.head.weight, base.net.head.weight)
    assert len(full.net.state_dict()) == 148
    with pytest.raises(WeightsError, match="it is not for this DeepSRITM"):
        DeepSRITMModule(scale=4, weights=str(path))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_with_maps_of_one_the_switch_changes_nothing(precision: Any) -> None:
    """What the base network has learned is what the whole one gives at the switch; not so from the authors' start."""
    sdr = codes_to_signal(random_codes(1, 9, 2, 1), JSINet(2))["sdr"]
    for start in ("identity", "authors"):
        module = DeepSRITMModule(rates=[Rate(1e-3), Rate(1e-3)], start=start)
        train(module, [random_codes(1, 6, 2, seed) for seed in range(2)], precision=precision)
        assert module.stage == 1
        preds = []
        for on in (False, True):
            module.net.modulation_on = on
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true"):
                preds.append(module.net(sdr))
        # A product with 1 is exact.
        assert torch.equal(*preds) == (start == "identity")


def test_maps_of_one_learn() -> None:
    """The last convolutions move with the first update, and through them all that lies before with the second."""
    module = DeepSRITMModule(rates=[Rate(1e-4), Rate(1e-4)], start="identity", weight_decay=0)
    before = {name: p.detach().clone() for name, p in module.net.modulation_parameters().items()}
    moved = []

    class Moved(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            moved.append({n for n, p in pl_module.net.modulation_parameters().items() if not torch.equal(p, before[n])})

    train(module, [random_codes(1, 6, 2, 0)] * 2, [StageSwitch(0), Moved()])
    assert moved[0] == {name for name in before if ".modulation.2." in name}
    assert moved[1] == set(before)


def test_a_start_of_maps_needs_maps() -> None:
    with pytest.raises(ConfigError, match=r"model\.start is identity, but model\.modulation is false"):
        DeepSRITMModule(modulation=False, start="identity", rates=[Rate(1e-4)])


@pytest.mark.parametrize("start", ["authors", "identity"])
def test_the_second_stage_alone_starts_from_a_base_network(tmp_path: Path, start: Any) -> None:
    base = DeepSRITMModule(modulation=False, rates=[Rate(1e-4)])
    path = tmp_path / "base.safetensors"
    write_weights(path, *base.published_weights())
    module = DeepSRITMModule(weights=str(path), start=start, rates=[Rate(1e-4), Rate(0.0)])
    train(module, [random_codes(1, 6, 2, 0)], [StageSwitch(0)], precision="32-true")
    assert module.stage == 2
    assert module.net.modulation_on
    sdr = codes_to_signal(random_codes(1, 9, 2, 1), base.net)["sdr"]
    with torch.no_grad():
        assert torch.equal(module.net(sdr), base.net(sdr)) == (start == "identity")


def test_weights_with_a_modulation_go_before_its_start(tmp_path: Path) -> None:
    whole = DeepSRITMModule()
    path = tmp_path / "whole.safetensors"
    write_weights(path, whole.net.state_dict(), {})
    again = DeepSRITMModule(weights=str(path), start="identity")
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], tensor), name


@pytest.mark.parametrize("side", ["input", "output"])
def test_weights_for_other_signals_are_no_start(tmp_path: Path, side: str) -> None:
    net = JSINet(2)
    path = tmp_path / "foreign.safetensors"
    signals = {"input": str(net.input_signal), "output": str(net.output_signal)}
    write_weights(path, net.state_dict(), signals)
    JSINetModule(weights=str(path))
    write_weights(path, net.state_dict(), signals | {side: "bt709-srgb-rgb-full-8"})
    message = rf"foreign\.safetensors is not for jsinet_x2: its {side} is bt709-srgb-rgb-full-8, not bt"
    with pytest.raises(WeightsError, match=message):
        JSINetModule(weights=str(path))


@pytest.mark.parametrize(("epochs", "tensors", "modulation"), [(1, 112, False), (2, 148, True)])
def test_deep_sritm_publishes_its_modulation_only_once_it_is_on(
    tmp_path: Path, epochs: int, tensors: int, modulation: bool
) -> None:
    module = DeepSRITMModule(rates=[Rate(1e-4), Rate(1e-4)])
    callbacks = [StageSwitch(1), WeightAverage(0.5), PublishWeights(tmp_path)]
    train(module, [random_codes(1, 6, 2, 0)], callbacks, epochs=2, max_steps=epochs, precision="32-true")
    state, metadata = read_weights(tmp_path / "weights.safetensors")
    assert len(state) == tensors
    assert metadata["args"] == {"scale": 2, "modulation": modulation}


def test_a_batch_is_taken_as_the_data_module_gives_it() -> None:
    import numpy as np

    batch = codes(np.full((1, 4, 5, 3), 235), np.full((1, 8, 10, 3), 940))
    assert batch["sdr"].shape == (1, 3, 4, 5)
    assert batch["sdr"].dtype == torch.uint8
    assert batch["hdr"].dtype == torch.int16
