"""Tests of the discriminator against the authors' TensorFlow code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden_parameters import golden_discriminator, params, pictures
from zoo.errors import DataError
from zoo.losses import relativistic_hinge_d, relativistic_hinge_g
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


def hinge_losses(net: Discriminator, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Relativistic losses of the discriminator and of the generator."""
    logits = net(real)[0], net(fake)[0]
    return relativistic_hinge_d(*logits), relativistic_hinge_g(*logits)


def trained_discriminator(logit_norm: bool, real: Tensor, fake: Tensor) -> Discriminator:
    """Taught to tell two batches apart, with every means."""
    torch.manual_seed(0)
    net = Discriminator(2, logit_norm)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(15):
        net.advance()
        optimizer.zero_grad()
        hinge_losses(net, real, fake)[0].backward()
        optimizer.step()
    return net


def test_with_a_normalised_logit_both_hinge_losses_stay_at_two_or_more_and_blind_to_the_order() -> None:
    """As released; without that norm, both can be learnt."""
    torch.manual_seed(1)
    real, fake = (
        torch.rand(4, 3, 160, 160) ** 2,
        torch.rand(4, 3, 40, 40).repeat_interleave(4, 2).repeat_interleave(4, 3),
    )
    released, free = (trained_discriminator(norm, real, fake) for norm in (True, False))
    with torch.no_grad():
        learnt, other = hinge_losses(released, real, fake)
        assert 2 - 1e-5 < learnt < 2.01  # all that there is to learn
        assert other > 2 - 1e-5
        for picture in (real, fake):
            assert released(picture)[0].mean() == pytest.approx(float(released.layers[-1].norm.bias), abs=1e-5)
        learnt, other = hinge_losses(free, real, fake)
        assert learnt < 1.5
        assert other > 2.5
        assert free(real)[0].mean() > free(fake)[0].mean() + 0.5


def test_without_the_norm_of_the_logit_it_has_a_bias_and_all_else_keeps_its_name() -> None:
    released, free = (set(Discriminator(1, norm).state_dict()) for norm in (True, False))
    assert {name for name in released - free if not name.startswith("layers.11.norm.")} == set()
    assert free - released == {"layers.11.conv.bias"}


def test_too_small_a_picture_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"pictures of 160x128 are too small .* give 160x160 or more"):
        Discriminator(1)(torch.rand(2, 3, 128, 160))


def test_a_single_logit_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match="needs at least 2 pictures in a batch, got 1"):
        Discriminator(1)(torch.rand(1, 3, 160, 160))


def test_inside_autocast_logits_and_gradients_stay_near_float32() -> None:
    """All layers in bfloat16 would leave a gradient of another direction."""
    torch.manual_seed(0)
    net = Discriminator(8)
    net.advance()
    weights = torch.tensor([1.0, -2.0, 3.0, -1.0])[:, None, None, None]
    logits, gradients = [], []
    for autocast in (False, True):
        x = torch.rand(4, 3, 160, 160, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logit, features = net(x)
        (weights * logit).sum().backward()
        logits.append(logit.detach())
        gradients.append(x.grad.flatten())
    assert logits[1].dtype == features[0].dtype == torch.float32
    assert {feature.dtype for feature in features[1:]} == {torch.bfloat16}
    torch.testing.assert_close(*reversed(logits), rtol=0, atol=0.05)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9


def test_kernels_start_as_a_normal_of_deviation_0_02_cut_at_two_sigma() -> None:
    torch.manual_seed(0)
    weight = Discriminator(16).layers[9].conv.weight
    assert weight.abs().max() <= 0.04
    assert weight.std().item() == pytest.approx(0.8796 * 0.02, rel=0.01)
