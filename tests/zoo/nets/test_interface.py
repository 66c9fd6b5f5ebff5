"""What holds for each network: sizes, signals, names, gradients, precision, reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.errors import ConfigError, SignalError
from zoo.nets import DeepSRITM, Discriminator, JSINet, MultipurposeCNN

# Deep SR-ITM is narrowed where nothing depends on its width.
NETWORKS = [
    pytest.param(lambda scale=scale: DeepSRITM(scale, channels=8), scale, id=f"deep_sritm_x{scale}")
    for scale in (1, 2, 4)
]
NETWORKS += [pytest.param(lambda scale=scale: JSINet(scale), scale, id=f"jsinet_x{scale}") for scale in (1, 2, 4)]
NETWORKS += [
    pytest.param(lambda scale=scale: MultipurposeCNN(scale), scale, id=f"multipurpose_cnn_x{scale}") for scale in (2, 4)
]
NETWORKS_X2 = [network for network in NETWORKS if network.values[1] == 2]

Build = Callable[[], nn.Module]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("build", "scale"), NETWORKS)
def test_output_is_scale_times_as_large_and_every_parameter_gets_a_gradient(build: Build, scale: int) -> None:
    net = build()
    assert net.scale == scale
    pred = net(torch.rand(2, 3, 9, 7))
    assert pred.shape == (2, 3, 9 * scale, 7 * scale)
    assert pred.dtype == torch.float32
    pred.square().sum().backward()
    auxiliary = ("sr_output.", "itm_output.")  # the Multi-purpose CNN's other two outputs
    without = [
        name
        for name, parameter in net.named_parameters()
        if not name.startswith(auxiliary) and (parameter.grad is None or not parameter.grad.any())
    ]
    assert without == []


@pytest.mark.parametrize(("build", "scale"), NETWORKS_X2)
@given(height=st.integers(3, 14), width=st.integers(3, 14))
@settings(max_examples=5, deadline=None)
@torch.no_grad()
def test_a_batch_equals_its_pictures_one_by_one_at_any_size(build: Build, scale: int, height: int, width: int) -> None:
    net = build().double()
    x = torch.rand(2, 3, height, width, dtype=torch.float64)
    single = torch.cat([net(picture) for picture in x.split(1)])
    torch.testing.assert_close(net(x), single, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("build", "scale"), NETWORKS_X2)
@torch.no_grad()
def test_bfloat16_autocast_gives_float32_near_the_float32_prediction(build: Build, scale: int) -> None:
    net, x = build(), torch.rand(1, 3, 16, 16)
    exact = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        pred = net(x)
    assert pred.dtype == torch.float32
    difference = pred - exact
    assert difference.any()  # the convolutions do run in bfloat16
    assert difference.square().mean().sqrt() < 0.02 * exact.std()
    # A prediction rounded to bfloat16 would have no finer values than these.
    assert (pred != pred.bfloat16()).float().mean() > 0.9


# Error as a part of the prediction's spread; the largest measured on these are 0.0156 and 0.0019. bfloat16 has 3
# bits less than float16.
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.03), (torch.float16, 0.003)])
@pytest.mark.parametrize(("build", "scale"), NETWORKS)
@torch.no_grad()
def test_a_network_in_half_precision_takes_float32_or_half_and_stays_near_the_float32_prediction(
    build: Build, scale: int, dtype: torch.dtype, bound: float
) -> None:
    net, x = build(), torch.rand(2, 3, 13, 7).to(dtype)
    exact = net(x.float())
    net.to(dtype)
    for pictures in (x, x.float()):
        pred = net(pictures)
        assert pred.dtype == dtype
        assert (pred.float() - exact).square().mean().sqrt() < bound * exact.std()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_leaves_the_decomposition_in_float32(dtype: torch.dtype) -> None:
    net, x = JSINet(2), torch.rand(1, 3, 9, 7)
    exact = net.components(x)
    half = net.to(dtype).components(x)
    assert torch.equal(half.base, exact.base)
    assert torch.equal(half.detail, exact.detail)
    assert half.pred.dtype == torch.float32


@pytest.mark.parametrize(("build", "scale"), NETWORKS_X2)
@torch.no_grad()
def test_a_prediction_has_the_parameters_type_whatever_the_inputs(build: Build, scale: int) -> None:
    x = torch.rand(1, 3, 5, 6)
    for dtype in (torch.float32, torch.float64):
        net = build().to(dtype)
        for pictures in (x.half(), x.bfloat16(), x, x.double()):
            assert net(pictures).dtype == dtype


@pytest.mark.parametrize(("build", "scale"), NETWORKS_X2)
@pytest.mark.parametrize(
    ("x", "given"),
    [
        (torch.zeros(3, 8, 8), r"float32 \(3, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8), r"float32 \(1, 1, 8, 8\)"),
        (torch.zeros(1, 4, 8, 8), r"float32 \(1, 4, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"uint8 \(1, 3, 8, 8\)"),
    ],
)
def test_what_is_no_float_picture_is_refused_in_one_line(build: Build, scale: int, x: torch.Tensor, given: str) -> None:
    net = build()
    wanted = rf"got {given}, want float pictures \(B, 3, H, W\) on {net.input_signal}, code / 255"
    for call in (getattr(net, name) for name in ("__call__", "components", "outputs") if hasattr(net, name)):
        with pytest.raises(SignalError, match=wanted):
            call(x)


@pytest.mark.parametrize(("build", "scale"), NETWORKS_X2)
@torch.no_grad()
def test_channels_last_changes_the_layout_alone(build: Build, scale: int) -> None:
    net, x = build(), torch.rand(1, 3, 12, 10)
    exact = net(x)
    last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("build", "scale"), NETWORKS)
def test_an_output_pixel_depends_on_the_input_as_far_as_halo_says(build: Build, scale: int) -> None:
    net = build().double()
    rows, columns = net.halo
    x = torch.rand(1, 3, 2 * rows + 5, 2 * columns + 5, dtype=torch.float64, requires_grad=True)
    row, column = rows + 2, columns + 2
    pixel = net(x)[..., scale * row : scale * (row + 1), scale * column : scale * (column + 1)]
    (gradient,) = torch.autograd.grad((pixel * torch.randn_like(pixel)).sum(), x)
    seen_rows, seen_columns = gradient[0].abs().sum(0).nonzero(as_tuple=True)
    assert (row - seen_rows.min(), seen_rows.max() - row) == (rows, rows)
    assert (column - seen_columns.min(), seen_columns.max() - column) == (columns, columns)


@pytest.mark.parametrize("net", [DeepSRITM, JSINet, MultipurposeCNN])
def test_signals_are_the_authors(net: type[DeepSRITM]) -> None:
    assert str(net.input_signal) == "bt709-bt1886-ycbcr709-narrow-8"
    assert str(net.output_signal) == "bt2020-pq-ycbcr2020-narrow-10"


def test_names_of_tensors_are_frozen(golden: Path) -> None:
    networks = {
        "deep_sritm_x2": DeepSRITM(2, channels=1),
        "deep_sritm_x4": DeepSRITM(4, channels=1),
        "jsinet": JSINet(2),
        "multipurpose_cnn": MultipurposeCNN(2),
        "discriminator": Discriminator(base_channels=1),
    }
    names = [f"{name} {key}" for name, net in networks.items() for key in net.state_dict()]
    assert names == (golden / "state_dict_keys.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DeepSRITM(scale=3), "DeepSRITM has no scale 3; use 1, 2 or 4"),
        (lambda: DeepSRITM(channels=0), "DeepSRITM can't have 0 channels"),
        (lambda: JSINet(scale=3), "JSINet has no scale 3; use 1, 2 or 4"),
        (lambda: JSINet(subnets=("lce",)), r"can't be built of subnets \['lce'\]; use ir or dr"),
        (lambda: JSINet(subnets=("ir", "gan")), r"can't be built of subnets \['ir', 'gan'\]"),
        (lambda: JSINet(decomposition="ratio"), "no decomposition 'ratio'; use division or subtraction"),
        (lambda: MultipurposeCNN(scale=1), "MultipurposeCNN has no scale 1; use 2 or 4"),
        (lambda: Discriminator(base_channels=0), "Discriminator can't have 0 base channels"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(build: Build, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)
