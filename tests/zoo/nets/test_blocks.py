"""Tests of the blocks that the networks share."""

from __future__ import annotations

import torch

from zoo.nets.blocks import OutputConv, ResBlock


def test_output_convolution_keeps_float32_inside_autocast() -> None:
    conv, x = OutputConv(4, 3), torch.rand(1, 4, 6, 5)
    exact = torch.nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv(x), exact)
        assert conv(x.bfloat16()).dtype == torch.float32


def test_output_convolution_of_a_half_precision_network_returns_float32() -> None:
    conv = OutputConv(4, 3).bfloat16()
    assert conv(torch.rand(1, 4, 6, 5).bfloat16()).dtype == torch.float32


def test_residual_block_rectifies_in_front_and_leaves_its_input_alone() -> None:
    block, x = ResBlock(2), torch.randn(1, 2, 4, 4)
    before = x.clone()
    first, second = block.residual[1], block.residual[3]
    torch.testing.assert_close(block(x), before + second(first(before.relu()).relu()))
    assert torch.equal(x, before)
