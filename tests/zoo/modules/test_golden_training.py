"""Training steps equal the authors' (float64, where the figures are sharp)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from callbacks import StageSwitch
from tests.golden_parameters import (
    array_in_hwio,
    deep_sritm_shapes,
    golden_deep_sritm,
    golden_discriminator,
    golden_jsinet,
    jsinet_array,
    tensor_from_hwio,
)
from tests.training import Callback, LightningModule, Trainer, codes, train
from zoo.modules import DeepSRITMModule, JSIGANModule, JSINetModule
from zoo.nets.authors import deep_sritm_names, discriminator_names, jsinet_names
from zoo.optim import Rate


def copy_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().double() for name, tensor in net.named_parameters()}


def test_three_jsinet_steps_equal_the_authors(golden: Path) -> None:
    reference = np.load(golden / "jsi_gan_pretrain_x2.npz")
    module = JSINetModule(rates=[Rate(1e-4)])
    module.net.load_state_dict(golden_jsinet(2).state_dict())
    start = copy_of(module.net)
    steps = train(module, [codes(reference["input_u8"], reference["label_u16"])] * 3)
    # TensorFlow keeps betas and their powers in float32 in a float64 graph too: worth 2e-8 here.
    np.testing.assert_allclose([s["train/loss"] for s in steps], reference["f64/rec_loss"], rtol=0, atol=5e-8)
    end = copy_of(module.net)
    names = {f"Network/{theirs}": (theirs, ours) for theirs, ours in jsinet_names().items()}
    for name, expected in zip(reference["names"], reference["f64/step3_delta_abssum"], strict=True):
        theirs, ours = names[str(name)]
        delta = jsinet_array(theirs, end[ours] - start[ours], 2)
        np.testing.assert_allclose(np.abs(delta).sum(), expected, rtol=2e-5, err_msg=theirs)


def test_torch_adam_is_not_the_authors(golden: Path) -> None:
    reference = np.load(golden / "jsi_gan_pretrain_x2.npz")
    module = JSINetModule(rates=[Rate(1e-4)], optimizer="adam")
    module.net.load_state_dict(golden_jsinet(2).state_dict())
    steps = train(module, [codes(reference["input_u8"], reference["label_u16"])] * 3)
    assert abs(steps[2]["train/loss"] - reference["f64/rec_loss"][2]) > 5e-6


def test_a_gan_step_equals_the_authors(golden: Path) -> None:
    reference = np.load(golden / "jsi_gan_gan_step_x2.npz")
    module = JSIGANModule(rates=[Rate(1e-6), Rate(1e-6)])
    module.net.load_state_dict(golden_jsinet(2).state_dict())
    module.D1.load_state_dict(golden_discriminator("Discriminator_FM").state_dict())
    module.D2.load_state_dict(golden_discriminator("Discriminator_Detail").state_dict())
    module.stage = 2
    start = {"G": copy_of(module.net), "D1": copy_of(module.D1), "D2": copy_of(module.D2)}
    (step,) = train(module, [codes(reference["input_u8"], reference["label_u16"])])

    expected = {key: float(reference[f"f64/step_{key}"]) for key in _LOSSES}
    losses = {
        "d_adv_loss": step["train/loss_d1"],
        "d_detail_adv_loss": step["train/loss_d2"],
        "rec_loss": step["train/loss_rec"],
        "g_final_loss": step["train/loss"],
    }
    for key, value in losses.items():
        assert value == pytest.approx(expected[key], abs=5e-8), key
    assert step["train/loss_adv"] == pytest.approx(expected["g_adv_loss"] + expected["g_detail_adv_loss"], abs=5e-8)
    assert step["train/loss_fm"] == pytest.approx(expected["FM_loss"] + expected["FM_detail_loss"], abs=5e-8)

    for part, net in (("G", module.net), ("D1", module.D1), ("D2", module.D2)):
        end = copy_of(net)
        for name, want in zip(reference[f"{part}_names"], reference[f"f64/delta_{part}_abssum"], strict=True):
            scope, _, theirs = str(name).partition("/")
            if theirs == "d_bn/11/beta":
                continue  # its gradient is zero up to rounding
            ours = (jsinet_names() if part == "G" else discriminator_names())[theirs]
            delta = (end[ours] - start[part][ours]).abs().sum()
            np.testing.assert_allclose(float(delta), want, rtol=1e-4, atol=5e-7, err_msg=f"{scope}/{theirs}")

    for name in [key for key in reference.files if key.startswith("after:")]:
        scope, _, theirs = name.removeprefix("after:").partition("/")
        net = module.D1 if scope == "Discriminator_FM" else module.D2
        u = net.state_dict()[discriminator_names()[theirs]]
        np.testing.assert_allclose(u.numpy(), reference[name].ravel(), atol=1e-5, err_msg=name)


_LOSSES = (
    "d_adv_loss",
    "d_detail_adv_loss",
    "g_adv_loss",
    "g_detail_adv_loss",
    "FM_loss",
    "FM_detail_loss",
    "rec_loss",
    "g_final_loss",
)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_deep_sritm_steps_equal_the_authors_across_the_modulation_switch(golden: Path, solver: str) -> None:
    reference = np.load(golden / "deep_sritm_x2_training.npz")
    rate = float(reference[f"{solver}/lr"])
    module = DeepSRITMModule(rates=[Rate(rate), Rate(rate)], optimizer={"adam": "authors_adam", "sgd": "sgd"}[solver])
    base = golden_deep_sritm(2, modulation=True).state_dict()
    fresh = golden_deep_sritm(2, modulation=True, seed=12).state_dict()
    module.net.load_state_dict(base | {key: fresh[key] for key in module.net.modulation_parameters()})
    start = copy_of(module.net)
    after: dict[int, dict[str, Tensor]] = {}

    steps = train(
        module,
        [codes(reference["sdr_u8"], reference["hdr_u10"])] * 3,
        [StageSwitch(1), _Snapshots(after)],
        epochs=2,
    )
    for epoch, stage in enumerate(("base", "full")):
        losses = [s["train/loss"] for s in steps[3 * epoch : 3 * epoch + 3]]
        expected = reference[f"{solver}/{stage}/clipped_loss_per_image"]
        np.testing.assert_allclose(losses, expected[:3], rtol=1e-9)
        names = deep_sritm_names(2, stage == "full")
        for step in (1, 3):
            for index, theirs in enumerate(reference[f"{stage}_names"]):
                ours = names[str(theirs)]
                tensor = after[3 * epoch + step][ours]
                begin = start[ours] if epoch == 0 else after[3][ours]
                want = reference[f"{solver}/{stage}/delta_norm_{step}"][index]
                np.testing.assert_allclose(float((tensor - begin).norm()), want, rtol=1e-7, err_msg=str(theirs))
                total = reference[f"{solver}/{stage}/param_sum_{step}"][index]
                size = reference[f"{solver}/{stage}/param_abs_{step}"][index]
                np.testing.assert_allclose(float(tensor.sum()), total, rtol=0, atol=1e-9 * size, err_msg=str(theirs))
    for name in module.net.modulation_parameters():
        assert torch.equal(after[3][name], start[name]), f"{name} moved while modulation was off"


class _Snapshots(Callback):
    """Keeps the parameters after each step, by the number of steps done."""

    def __init__(self, after: dict[int, dict[str, Tensor]]) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.after[trainer.global_step] = copy_of(pl_module.net)


def test_a_kernel_survives_the_way_to_the_authors_layout_and_back() -> None:
    kernel = deep_sritm_shapes.deep_sritm_params(2, False, 11)["conv_1f"]
    np.testing.assert_array_equal(array_in_hwio(tensor_from_hwio(kernel)), kernel)
