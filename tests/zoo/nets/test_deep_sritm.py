"""Tests of Deep SR-ITM against the authors' network definition, and of its modulation switch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.golden_parameters import golden_deep_sritm, pictures
from zoo.errors import ConfigError
from zoo.nets import DeepSRITM

# float32 against a float64 evaluation; the features reach 4e-6.
TOLERANCE = 1e-5

# The reference's names of features and where they come out of our network.
FEATURES = {
    "conv1_b": "base.first",
    "conv1_d": "detail.first",
    "SMF_b": "base.modulation_features",
    "SMF_d": "detail.modulation_features",
    "mod_b1": "base.blocks.1.modulation",
    "mod_d1": "detail.blocks.1.modulation",
    "FE_b": "base.blocks.5",
    "FE_d": "detail.blocks.5",
    "x_f": "fusion.2",
    "y_f": "fusion",
}


@pytest.mark.parametrize(
    ("scale", "modulation", "tensors", "values", "in_kernels"),
    [
        (1, False, 112, 1_793_923, 1_790_400),
        (1, True, 148, 2_391_811, 2_387_136),
        (2, False, 112, 1_904_707, 1_900_992),
        (2, True, 148, 2_502_595, 2_497_728),
        (4, False, 114, 2_052_419, 2_048_448),
        (4, True, 150, 2_650_307, 2_645_184),
    ],
)
def test_has_as_many_parameters_as_the_authors(
    scale: int, modulation: bool, tensors: int, values: int, in_kernels: int
) -> None:
    parameters = list(DeepSRITM(scale, modulation).parameters())
    assert len(parameters) == tensors
    assert sum(p.numel() for p in parameters) == values
    assert sum(p.numel() for p in parameters if p.ndim == 4) == in_kernels


def assert_equals_the_authors(folder: Path, scale: int, modulation: bool) -> None:
    arrays = np.load(folder / f"deep_sritm_x{scale}.npz")
    kind = "full" if modulation else "base"
    net = golden_deep_sritm(scale, modulation)
    features: dict[str, torch.Tensor] = {}
    for name, path in FEATURES.items():
        if f"a/{kind}/{name}" in arrays:
            net.get_submodule(path).register_forward_hook(
                lambda module, args, output, name=name: features.update({name: output})
            )
    with torch.no_grad():
        for picture in ("b", "a"):
            pred = net(pictures(arrays[f"{picture}/input"]))
            torch.testing.assert_close(pred, pictures(arrays[f"{picture}/{kind}/pred"]), rtol=0, atol=TOLERANCE)
    for name, value in features.items():
        kept = value[:, arrays["channels_kept"]]
        torch.testing.assert_close(kept, pictures(arrays[f"a/{kind}/{name}"]), rtol=0, atol=TOLERANCE)
        mean, rms = value[0].mean((1, 2)), value[0].square().mean((1, 2)).sqrt()
        torch.testing.assert_close(mean.numpy(), arrays[f"a/{kind}/{name}_mean"], rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(rms.numpy(), arrays[f"a/{kind}/{name}_rms"], rtol=0, atol=TOLERANCE)
    assert len(features) == (10 if modulation else 6 if scale == 2 else 0)


@pytest.mark.parametrize("modulation", [False, True])
def test_x2_equals_the_authors(golden: Path, modulation: bool) -> None:
    assert_equals_the_authors(golden, 2, modulation)


@pytest.mark.parametrize("modulation", [False, True])
def test_x4_equals_the_authors(reference: Path, modulation: bool) -> None:
    assert_equals_the_authors(reference / "golden", 4, modulation)


@pytest.mark.parametrize("scale", [2, 4])
def test_pixel_shuffle_is_the_authors_sub_pixel_layer(golden: Path, scale: int) -> None:
    arrays = np.load(golden / "matlab_operators.npz")
    shuffled = F.pixel_shuffle(pictures(arrays["subpixel/input"]), scale)
    assert torch.equal(shuffled, pictures(arrays[f"subpixel/x{scale}"]))


@pytest.mark.parametrize(("layer", "name"), [("base", "input_base"), ("detail", "input_detail")])
def test_passes_read_the_picture_beside_the_authors_layers(golden: Path, layer: str, name: str) -> None:
    arrays = np.load(golden / "deep_sritm_x2.npz")
    net = DeepSRITM(2, channels=1)
    seen: list[torch.Tensor] = []
    net.get_submodule(layer).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = pictures(arrays["a/input"])
    net(x)
    assert torch.equal(seen[0][:, :3], x)
    torch.testing.assert_close(seen[0][:, 3:], pictures(arrays[f"a/{name}"]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("modulation", [False, True])
@torch.no_grad()
def test_components_are_the_authors_features_and_leave_the_network_as_it_was(golden: Path, modulation: bool) -> None:
    arrays = np.load(golden / "deep_sritm_x2.npz")
    kind = "full" if modulation else "base"
    net, x = golden_deep_sritm(2, modulation=True), pictures(arrays["a/input"])
    net.modulation_on = modulation
    parts = net.components(x)
    assert torch.equal(parts.pred, net(x))
    torch.testing.assert_close(parts.base, pictures(arrays["a/input_base"]), rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(parts.detail, pictures(arrays["a/input_detail"]), rtol=0, atol=TOLERANCE)
    names = {"conv1_base": "conv1_b", "conv1_detail": "conv1_d", "FE_b": "FE_b", "FE_d": "FE_d", "y_f": "y_f"}
    maps = {"modulation_base": "mod_b1", "modulation_detail": "mod_d1"}
    for name, theirs in {**names, **(maps if modulation else {})}.items():
        kept = getattr(parts, name)[:, arrays["channels_kept"]]
        torch.testing.assert_close(kept, pictures(arrays[f"a/{kind}/{theirs}"]), rtol=0, atol=TOLERANCE)
    if not modulation:
        assert (parts.modulation_base, parts.modulation_detail) == (None, None)
    assert not any(part._forward_hooks for part in net.modules())


def test_components_of_a_network_without_modulation_have_no_maps() -> None:
    parts = DeepSRITM(4, modulation=False, channels=2).components(torch.rand(1, 3, 5, 6))
    assert parts.pred.shape == (1, 3, 20, 24)
    assert parts.y_f.shape == (1, 2, 5, 6)
    assert parts.modulation_base is parts.modulation_detail is None


@torch.no_grad()
def test_without_a_residual_the_prediction_is_the_authors_bicubic(golden: Path) -> None:
    arrays = np.load(golden / "deep_sritm_x2.npz")
    net = DeepSRITM(2, channels=1)
    for parameter in net.head.parameters():
        parameter.zero_()
    pred = net(pictures(arrays["a/input"]))
    torch.testing.assert_close(pred, pictures(arrays["a/bic"]), rtol=0, atol=1e-6)


@torch.no_grad()
def test_sixteen_channels_equal_the_authors_graph(golden: Path) -> None:
    arrays = np.load(golden / "deep_sritm_x2.npz")
    pred = golden_deep_sritm(2, modulation=True, channels=16)(pictures(arrays["b/input"]))
    torch.testing.assert_close(pred, pictures(arrays["b/full_16ch/pred"]), rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_switching_modulation_off_gives_the_network_without_it(golden: Path) -> None:
    arrays = np.load(golden / "deep_sritm_x2.npz")
    x = pictures(arrays["a/input"])
    net = golden_deep_sritm(2, modulation=True)
    net.modulation_on = False
    torch.testing.assert_close(net(x), pictures(arrays["a/base/pred"]), rtol=0, atol=TOLERANCE)
    net.modulation_on = True
    torch.testing.assert_close(net(x), pictures(arrays["a/full/pred"]), rtol=0, atol=TOLERANCE)


def test_modulation_has_36_tensors_which_get_no_gradient_while_it_is_off() -> None:
    net = DeepSRITM(2, channels=4)
    modulation = net.modulation_parameters()
    assert len(modulation) == 36
    without = DeepSRITM(2, modulation=False, channels=4).state_dict()
    assert modulation.keys() | without.keys() == net.state_dict().keys()
    assert not modulation.keys() & without.keys()

    net.modulation_on = False
    net(torch.rand(1, 3, 6, 6)).sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is None} == modulation.keys()
    net.modulation_on = True
    net(torch.rand(1, 3, 6, 6)).sum().backward()
    assert all(p.grad is not None for p in modulation.values())


def test_modulation_can_be_switched_on_only_where_there_are_tensors_for_it() -> None:
    net = DeepSRITM(2, modulation=False, channels=2)
    assert not net.modulation_on
    assert net.modulation_parameters() == {}
    net.modulation_on = False
    with pytest.raises(ConfigError, match="no modulation tensors to switch on; build it with modulation=True"):
        net.modulation_on = True


def test_kernels_start_as_xavier_normal_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    conv = DeepSRITM(2).upsampling[3]
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 64 + 9 * 256)) ** 0.5, rel=0.01)
    assert not conv.bias.any()


@torch.no_grad()
def test_x1_returns_its_input_plus_a_residual() -> None:
    net = DeepSRITM(1, channels=4)
    for parameter in net.head.parameters():
        parameter.zero_()
    x = torch.rand(1, 3, 7, 5)
    assert torch.equal(net(x), x)
