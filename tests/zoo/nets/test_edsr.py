"""Tests of EDSR against its layers written out with the authors' names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.zoo.nets.edsr_files import authors_state
from zoo.errors import ConfigError, SignalError
from zoo.nets.edsr import EDSR, edsr_names


def written_out(rgb: Tensor, theirs: dict[str, Tensor], blocks: int, residual_scale: float) -> Tensor:
    """EDSR from a state dict with the authors' names: their forward pass, one convolution after the other."""

    def conv(x: Tensor, layer: str, padding: int = 1) -> Tensor:
        return F.conv2d(x, theirs[f"{layer}.weight"], theirs[f"{layer}.bias"], padding=padding)

    head = conv(conv(rgb, "sub_mean", padding=0), "head.0")
    x = head
    for i in range(blocks):
        x = x + residual_scale * conv(conv(x, f"body.{i}.body.0").relu(), f"body.{i}.body.2")
    x = conv(x, f"body.{blocks}") + head
    for stage in (0, 2):
        if f"tail.0.{stage}.weight" in theirs:
            x = F.pixel_shuffle(conv(x, f"tail.0.{stage}"), 2)
    return conv(conv(x, "tail.1"), "add_mean", padding=0)


@pytest.mark.parametrize("scale", [2, 4])
@torch.no_grad()
def test_equals_the_authors_layers(scale: int) -> None:
    torch.manual_seed(0)
    net = EDSR(scale, "baseline").double()
    rgb = 255 * torch.rand(2, 3, 7, 9, dtype=torch.float64)
    expected = written_out(rgb, authors_state(net), blocks=16, residual_scale=1.0)
    assert expected.shape == (2, 3, 7 * scale, 9 * scale)
    # Their mean is a float32 tensor, as ours is: 1e-5 of a code.
    torch.testing.assert_close(net(rgb), expected, rtol=0, atol=2e-5)


@torch.no_grad()
def test_the_full_size_scales_its_residuals() -> None:
    torch.manual_seed(0)
    net = EDSR(2, "full")
    rgb = 255 * torch.rand(1, 3, 3, 3)
    expected = written_out(rgb, authors_state(net), blocks=32, residual_scale=0.1)
    torch.testing.assert_close(net(rgb), expected, rtol=0, atol=1e-3)


# The papers say 43 million for x4; the authors' repository 1.37 and 1.52 million for the baselines.
@pytest.mark.parametrize(
    ("size", "scale", "parameters"),
    [("full", 2, 40_729_603), ("full", 4, 43_089_923), ("baseline", 2, 1_369_859), ("baseline", 4, 1_517_571)],
)
def test_has_as_many_parameters_as_the_authors(size: str, scale: int, parameters: int) -> None:
    with torch.device("meta"):
        net = EDSR(scale, size)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert set(edsr_names(net).values()) == set(net.state_dict())


@pytest.mark.parametrize("scale", [2, 4])
def test_output_depends_on_the_halo_and_no_further(scale: int) -> None:
    torch.manual_seed(0)
    net = EDSR(scale, "baseline").double()
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, 0.01, 0.02)  # positive, so that nothing is rectified or cancels
    reach = net.halo[0]
    x = torch.zeros(1, 3, 1, 2 * reach + 3, dtype=torch.float64, requires_grad=True)
    row = net(x)[0, :, :, scale * (reach + 1) : scale * (reach + 2)].sum()
    (gradient,) = torch.autograd.grad(row, x)
    # One row: only columns are seen. The pixel itself is at reach + 1.
    columns = gradient[0, 0, 0].nonzero().flatten()
    assert columns.min() >= 1
    assert columns.max() <= 2 * reach + 1
    assert net.halo == (36, 36)


@torch.no_grad()
def test_half_precision_stays_near() -> None:
    torch.manual_seed(0)
    net = EDSR(2, "baseline")
    rgb = 255 * torch.rand(1, 3, 12, 12)
    exact = net(rgb)
    with torch.autocast("cpu", torch.bfloat16):
        pred = net(rgb)
    assert pred.dtype == torch.float32
    assert (pred - exact).abs().max() < 2  # of 255


@pytest.mark.parametrize(
    ("arguments", "message"), [((3,), "no scale 3; use 2 or 4"), ((2, "tiny"), "no size 'tiny'; use full or baseline")]
)
def test_other_scales_and_sizes_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EDSR(*arguments)


def test_codes_are_refused() -> None:
    with pytest.raises(SignalError, match="bt709-srgb-rgb-full-8"):
        EDSR(2, "baseline")(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
