"""Tests of the discriminator against the authors' TensorFlow code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden_parameters import golden_discriminator, params, pictures
from zoo.errors import DataError
from zoo.nets import Discriminator
from zoo.nets.authors import discriminator_names


def golden_pictures(golden: Path, run: str) -> torch.Tensor:
    if run == "train":
        return pictures(np.load(golden / "jsi_gan_gan_step_x2.npz")["label_u16"], peak=1023)
    name, shape = "discriminator_odd/u", (3, 140, 150, 3)  # odd heights come up inside
    return 0.5 + 0.5 * pictures(params.make_params({name: shape}, 2020)[name])


@pytest.mark.parametrize("run", ["train", "odd"])
@torch.no_grad()
def test_a_training_pass_equals_the_authors(golden: Path, run: str) -> None:
    arrays = np.load(golden / "jsi_gan_discriminator.npz")
    net = golden_discriminator("Discriminator_FM")
    net.advance()
    logit, features = net(golden_pictures(golden, run))

    # Tolerances: float32 against TensorFlow's float32, batch norm over a handful of logits.
    torch.testing.assert_close(logit, pictures(arrays[f"{run}_logit"]), rtol=0, atol=1e-4)
    for i, feature in enumerate(features):
        channels_last = feature.permute(0, 2, 3, 1)
        assert list(channels_last.shape) == list(arrays[f"{run}_fm{i}_shape"])
        assert feature.mean().item() == pytest.approx(arrays[f"{run}_fm{i}_mean"].item(), abs=1e-4)
        assert feature.square().mean().item() == pytest.approx(arrays[f"{run}_fm{i}_meansq"].item(), abs=1e-4)
        patch = torch.from_numpy(arrays[f"{run}_fm{i}_patch"])
        torch.testing.assert_close(channels_last[0, :5, :5, :8], patch, rtol=0, atol=1e-4)

    sigma = torch.stack([layer.conv.sigma() for layer in net.layers])
    torch.testing.assert_close(sigma, torch.from_numpy(arrays["sigma"]).float(), rtol=1e-6, atol=0)

    state, names = net.state_dict(), discriminator_names()
    after = {key.partition(":")[2]: arrays[key] for key in arrays if key.startswith(f"{run}_after:")}
    assert len(after) == 12 + 4 * 2
    for variable, value in after.items():
        theirs = variable.removeprefix("Discriminator_FM/")
        atol = 1e-6 if theirs.endswith("/u") else 1e-5
        torch.testing.assert_close(state[names[theirs]], torch.from_numpy(value.ravel()), rtol=0, atol=atol)


def test_has_as_many_parameters_as_the_authors() -> None:
    assert sum(p.numel() for p in Discriminator().parameters()) == 13_713_602


@pytest.mark.parametrize("base_channels", [1, 4, 8])
def test_base_channels_set_the_width_and_every_parameter_gets_a_gradient(base_channels: int) -> None:
    net = Discriminator(base_channels)
    net.advance()
    logit, features = net(torch.rand(3, 3, 160, 160))
    assert logit.shape == (3, 1, 1, 1)
    assert [f.shape[1] for f in features] == [base_channels * factor for factor in (1, 2, 4, 8)]
    (logit.pow(3).sum() + sum(f.mean() for f in features)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_evaluation_uses_the_batch_too_and_leaves_the_running_averages() -> None:
    net = Discriminator(2)
    net.advance()
    x = torch.rand(3, 3, 160, 160)
    logit, _ = net(x)
    averages = {name: value.clone() for name, value in net.state_dict().items() if "running" in name}
    assert any(value.any() for name, value in averages.items() if name.endswith("mean"))
    again, _ = net.eval()(x)
    assert torch.equal(again, logit)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in averages.items())


@pytest.mark.parametrize(("side", "logits"), [(129, 1), (160, 1), (161, 2), (192, 2)])
@torch.no_grad()
def test_squares_from_129_to_160_end_at_one_logit(side: int, logits: int) -> None:
    logit, _ = Discriminator(1)(torch.rand(2, 3, side, side))
    assert logit.shape == (2, 1, logits, logits)


def test_too_small_a_picture_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"pictures of 160x128 are too small .* give 160x160 or more"):
        Discriminator(1)(torch.rand(2, 3, 128, 160))


def test_a_single_logit_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match="needs at least 2 pictures in a batch, got 1"):
        Discriminator(1)(torch.rand(1, 3, 160, 160))


@torch.no_grad()
def test_logits_are_float32_inside_autocast() -> None:
    net = Discriminator(8)
    x = torch.rand(4, 3, 160, 160)
    net.advance()
    exact, _ = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        logit, features = net(x)
    assert logit.dtype == torch.float32
    assert features[0].dtype == torch.bfloat16
    torch.testing.assert_close(logit, exact, rtol=0, atol=0.2)


def test_kernels_start_as_a_normal_of_deviation_0_02_cut_at_two_sigma() -> None:
    torch.manual_seed(0)
    weight = Discriminator(16).layers[9].conv.weight
    assert weight.abs().max() <= 0.04
    assert weight.std().item() == pytest.approx(0.8796 * 0.02, rel=0.01)
