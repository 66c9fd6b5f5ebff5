"""Tests of JSInet against the authors' TensorFlow code and the paper's ablation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden_parameters import golden_jsinet, pictures
from zoo.errors import DataError
from zoo.nets import JSINet

# float32 against TensorFlow's float32; base and detail are those of the guided filter, filters of one convolution.
TOLERANCES = {"pred": 5e-6, "I": 5e-6, "D": 5e-6, "C": 5e-6, "base": 1e-5, "detail": 1e-5}


@pytest.mark.parametrize(
    ("scale", "lce", "dr", "ir"),
    [(1, 343_953, 344_530, 372_739), (2, 484_164, 486_472, 483_523), (4, 1_045_008, 1_054_240, 926_659)],
)
def test_subnets_have_as_many_parameters_as_the_authors(scale: int, lce: int, dr: int, ir: int) -> None:
    net = JSINet(scale)
    counts = [sum(p.numel() for p in subnet.parameters()) for subnet in (net.lce, net.dr, net.ir)]
    assert counts == [lce, dr, ir]
    assert sum(p.numel() for p in net.parameters()) == lce + dr + ir


def assert_equals_the_authors(folder: Path, scale: int) -> None:
    arrays = np.load(folder / f"jsi_gan_jsinet_x{scale}.npz")
    net = golden_jsinet(scale)
    filters: dict[str, torch.Tensor] = {}
    for name, conv in (("2d", net.lce.filters), ("v", net.dr.vertical), ("h", net.dr.horizontal)):
        conv.register_forward_hook(lambda module, args, output, name=name: filters.update({name: output}))
    with torch.no_grad():
        components = net.components(pictures(arrays["input_u8"], peak=255))
    for name, value in components._asdict().items():
        torch.testing.assert_close(value, pictures(arrays[name]), rtol=0, atol=TOLERANCES[name])
    for name, value in filters.items():
        patch = pictures(arrays[f"filter_{name}_patch"])
        torch.testing.assert_close(value[:1, :, 5:9, 6:10], patch, rtol=0, atol=2e-6)


def test_x2_equals_the_authors(golden: Path) -> None:
    assert_equals_the_authors(golden, scale=2)


def test_x4_equals_the_authors(reference: Path) -> None:
    assert_equals_the_authors(reference / "golden", scale=4)


@torch.no_grad()
def test_tiles_with_a_border_of_ten_equal_the_authors_test_procedure(reference: Path) -> None:
    arrays = np.load(reference / "golden" / "jsi_gan_tiled_x2.npz")
    net = golden_jsinet(2)
    x, label = pictures(arrays["input_u8"], peak=255), pictures(arrays["label_u16"], peak=1023)
    whole, tiled = net(x), torch.empty_like(label)
    rows, columns = arrays["tiles"]
    height, width = x.shape[-2] // rows, x.shape[-1] // columns
    for i, (top, bottom, left, right) in enumerate(arrays["read_windows"].reshape(-1, 4)):
        row, column = divmod(i, columns)
        y0, x0 = row * height, column * width
        tile = net(x[..., top:bottom, left:right])[..., 2 * (y0 - top) :, 2 * (x0 - left) :]
        tiled[..., 2 * y0 : 2 * (y0 + height), 2 * x0 : 2 * (x0 + width)] = tile[..., : 2 * height, : 2 * width]

    def psnr(pred: torch.Tensor) -> float:
        return -10 * (pred - label).double().square().mean().log10().item()

    torch.testing.assert_close(tiled, pictures(arrays["pred_tiled"]), rtol=0, atol=5e-6)
    assert psnr(tiled) == pytest.approx(arrays["psnr_tiled"].item(), abs=1e-5)
    assert psnr(whole) == pytest.approx(arrays["psnr_whole"].item(), abs=1e-5)
    difference = (tiled - whole).abs().max().item()
    assert difference == pytest.approx(arrays["max_abs_tiled_minus_whole"].item(), abs=1e-5)


@torch.no_grad()
def test_a_tile_read_with_the_halo_equals_the_whole_picture() -> None:
    net = golden_jsinet(2)
    x = torch.rand(1, 3, 60, 84)
    rows, columns = net.halo
    tile = net(x[..., 10 - 10 : 30 + rows, 40 - columns : 46 + columns])
    expected = net(x)[..., 20:60, 80:92]
    torch.testing.assert_close(tile[..., 20:60, 2 * columns : 2 * columns + 12], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("subnets", [("ir",), ("dr",), ("ir", "dr"), ("ir", "lce"), ("dr", "lce"), ("ir", "dr", "lce")])
def test_subnets_left_out_are_neutral_in_the_prediction(subnets: tuple[str, ...]) -> None:
    net = JSINet(2, subnets=subnets)
    assert {name for name, _ in net.named_children()} == set(subnets)
    components = net.components(torch.rand(1, 3, 6, 5))
    for name, subnet, neutral in (("I", "ir", 0), ("D", "dr", 0), ("C", "lce", 1)):
        value = getattr(components, name)
        assert value.shape == components.pred.shape
        assert (value == neutral).all() == (subnet not in subnets)
    assert torch.equal(components.pred, (components.I + components.D) * components.C)


def test_without_detail_restoration_the_second_block_is_a_plain_one() -> None:
    assert JSINet(subnets=("ir",)).ir.blocks[1].residual[1].in_channels == 64
    assert JSINet().ir.blocks[1].residual[1].in_channels == 128


@pytest.mark.parametrize("subnets", [("ir",), ("ir", "lce"), ("dr",)])
def test_halo_of_an_ablation_is_what_its_subnets_reach(subnets: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    net = JSINet(1, subnets=subnets).double()
    rows, columns = net.halo
    x = torch.rand(1, 3, 2 * rows + 3, 2 * columns + 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x)[..., rows + 1, columns + 1].sum(), x)
    seen = gradient[0].abs().sum(0).nonzero()
    assert seen.amin(0).tolist() == [1, 1]
    assert seen.amax(0).tolist() == [2 * rows + 1, 2 * columns + 1]


def test_subtraction_makes_a_detail_layer_around_zero() -> None:
    x = torch.rand(1, 3, 8, 8)
    divided = JSINet(1).components(x)
    subtracted = JSINet(1, decomposition="subtraction").components(x)
    torch.testing.assert_close(divided.detail, x / divided.base)
    torch.testing.assert_close(subtracted.detail, x - divided.base)


def test_contrast_lies_between_one_and_twice_the_sigmoid_of_one() -> None:
    contrast = golden_jsinet(1).components(torch.rand(1, 3, 12, 12)).C
    assert contrast.min() >= 1
    assert contrast.max() <= 2 * torch.tensor(1.0).sigmoid()


def test_kernels_start_as_tensorflow_1_xavier_cut_at_two_sigma_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    conv = JSINet(4).lce.filters
    sigma = (1.3 / ((64 * 9 + 1296 * 9) / 2)) ** 0.5
    assert conv.weight.abs().max() <= 2 * sigma
    assert conv.weight.abs().max() > 1.99 * sigma
    # What cutting a normal distribution at two sigma leaves of its deviation.
    assert conv.weight.std().item() == pytest.approx(0.8796 * sigma, rel=0.01)
    assert not conv.bias.any()


def test_a_picture_smaller_than_the_mirrored_border_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"8x2 is too small"):
        JSINet()(torch.rand(1, 3, 2, 8))
