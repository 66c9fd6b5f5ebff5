"""Tests of the toy network of Deep SR-ITM's ablations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zoo.errors import ConfigError
from zoo.nets import DeepSRITM
from zoo.nets.deep_sritm import decompose
from zoo.nets.toy_sritm import ToySRITM

DESIGNS: list[Any] = [
    [["image"]],
    [["image", "base", "detail"]],
    [["base"], ["detail"]],
    [["image", "base"], ["image", "detail"]],
    [["image"], ["base"], ["detail"]],
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("inputs", DESIGNS)
def test_every_parameter_of_each_design_gets_a_gradient(inputs: Any, scale: int) -> None:
    net = ToySRITM(scale, inputs=inputs, channels=4)
    pred = net(torch.rand(2, 3, 9, 7))
    assert pred.shape == (2, 3, 9 * scale, 7 * scale)
    pred.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("inputs", DESIGNS)
def test_its_halo_is_what_a_pixel_depends_on(inputs: Any) -> None:
    net = ToySRITM(inputs=inputs, channels=8).double()
    x = torch.rand(1, 3, 3, 80, dtype=torch.float64, requires_grad=True)
    net(x)[..., 80].sum().backward()
    columns = x.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    reach = max(40 - int(columns.min()), int(columns.max()) - 40)
    # Without the guided filter's layers 4 less.
    assert reach == net.halo[1] - (4 if inputs == [["image"]] else 0)


def test_with_modulation_off_its_tensors_get_no_gradient_and_change_nothing() -> None:
    net = ToySRITM(channels=4)
    x = torch.rand(1, 3, 8, 8)
    net.modulation_on = False
    before = net(x)
    before.sum().backward()
    modulation = net.modulation_parameters()
    assert len(modulation) == 2 * (2 * 3 + 2 * 2)  # in each pass three convolutions of features and two of a map
    assert all(p.grad is None for p in modulation.values())
    with torch.no_grad():
        for parameter in modulation.values():
            parameter.add_(1)
    assert torch.equal(net(x), before)
    net.modulation_on = True
    assert not torch.equal(net(x), before)


def test_each_pass_and_each_modulation_reads_its_own_layers() -> None:
    net = ToySRITM(inputs=[["image"], ["image", "base"]], modulation_inputs=[["base"], ["detail"]], channels=4)
    seen = {}
    for name in ("passes.0.first", "passes.1.first", "passes.0.modulation_features", "passes.1.modulation_features"):
        part = net.get_submodule(name)
        part.register_forward_pre_hook(lambda module, args, name=name: seen.update({name: args[0]}))
    x = torch.rand(1, 3, 8, 8)
    net(x)
    base, detail = decompose(x)
    read = {"0.first": x, "1.first": torch.cat([x, base], 1)}
    read |= {"0.modulation_features": base, "1.modulation_features": detail}
    assert seen.keys() == {f"passes.{name}" for name in read}
    assert all(torch.equal(seen[f"passes.{name}"], layers) for name, layers in read.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": []}, r"inputs are \[\]; list some of image, base, detail for each pass"),
        ({"inputs": [["image"], []]}, r"inputs are \[\['image'\], \[\]\]"),
        ({"inputs": [["luma"]]}, r"inputs are \[\['luma'\]\]"),
        ({"modulation_inputs": [["image"]]}, "2 passes and modulation_inputs for 1"),
        ({"scale": 3}, "no scale 3"),
        ({"channels": 0}, "0 channels"),
    ],
)
def test_what_is_no_design_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ToySRITM(**arguments)


class TestFullNetworkWithoutAComponent:
    """Deep SR-ITM's options for Table 3."""

    def test_without_decomposition_both_passes_read_the_picture_twice(self) -> None:
        net = DeepSRITM(channels=4, modulation=False, decomposition=False)
        seen: list[torch.Tensor] = []
        for part in (net.base, net.detail):
            part.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        x = torch.rand(1, 3, 8, 8)
        net(x)
        assert [torch.equal(each, torch.cat([x, x], 1)) for each in seen] == [True, True]

    @pytest.mark.parametrize("modulation", [False, True])
    def test_without_skips_the_detail_pass_does_not_read_the_base_pass(self, modulation: bool) -> None:
        net = DeepSRITM(channels=4, modulation=modulation, skips=False)
        x = torch.rand(1, 3, 8, 8)
        ends = []
        net.detail.register_forward_hook(lambda module, args, output: ends.append(output))
        net(x)
        with torch.no_grad():
            net.base.first.weight.add_(1)
        net(x)
        assert torch.equal(*ends)
        # What is gone is the reduction from twice the channels, in each of five blocks.
        counts = [sum(p.numel() for p in DeepSRITM(channels=4, skips=skips).parameters()) for skips in (True, False)]
        assert counts[0] - counts[1] == 5 * (8 * 4 + 4)
