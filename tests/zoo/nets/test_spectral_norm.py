"""Tests of the spectral norm: one iteration for each advance, none for a forward call."""

from __future__ import annotations

import pytest
import torch

from zoo.nets.spectral_norm import SpectralNormConv2d


@pytest.fixture
def conv() -> SpectralNormConv2d:
    torch.manual_seed(0)
    return SpectralNormConv2d(3, 8, 3, bias=True)


def test_iterating_leads_to_the_largest_singular_value(conv: SpectralNormConv2d) -> None:
    largest = torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2)
    for _ in range(200):
        conv.advance()
    torch.testing.assert_close(conv.sigma(), largest)


def test_forward_neither_iterates_nor_changes_sigma(conv: SpectralNormConv2d) -> None:
    conv.advance()
    state = {name: value.clone() for name, value in conv.state_dict().items()}
    sigma = conv.sigma()
    x = torch.rand(1, 3, 5, 5)
    first, second = conv(x), conv(x)
    assert torch.equal(first, second)
    assert torch.equal(conv.sigma(), sigma)
    assert all(torch.equal(value, state[name]) for name, value in conv.state_dict().items())
    expected = torch.nn.functional.conv2d(x, conv.weight / sigma, conv.bias)
    torch.testing.assert_close(first, expected)


def test_advance_makes_one_iteration_with_the_weight_as_it_is(conv: SpectralNormConv2d) -> None:
    matrix, u = conv.weight.detach().flatten(1), conv.u.clone()
    v = torch.nn.functional.normalize(matrix.T @ u, dim=0)
    conv.advance()
    torch.testing.assert_close(conv.u, torch.nn.functional.normalize(matrix @ v, dim=0))
    torch.testing.assert_close(conv.sigma(), conv.u @ matrix @ v)


def test_sigma_before_the_first_advance_is_that_after_it(conv: SpectralNormConv2d) -> None:
    before, u = conv.sigma(), conv.u.clone()
    assert torch.equal(conv.u, u)
    conv.advance()
    torch.testing.assert_close(conv.sigma(), before)


def test_the_gradient_takes_u_and_v_as_constants(conv: SpectralNormConv2d) -> None:
    conv.advance()
    (gradient,) = torch.autograd.grad(conv.sigma(), conv.weight)
    torch.testing.assert_close(gradient.flatten(1), torch.outer(conv.u, conv.v))


def test_advancing_between_forward_and_backward_leaves_the_gradient_alone(conv: SpectralNormConv2d) -> None:
    conv.advance()
    x = torch.rand(1, 3, 5, 5)
    (expected,) = torch.autograd.grad(conv(x).square().sum(), conv.weight)
    loss = conv(x).square().sum()
    conv.advance()
    (gradient,) = torch.autograd.grad(loss, conv.weight)
    assert torch.equal(gradient, expected)


def test_the_state_holds_u_alone_and_loading_forgets_the_old_iteration(conv: SpectralNormConv2d) -> None:
    assert list(conv.state_dict()) == ["weight", "bias", "u"]
    fresh = SpectralNormConv2d(3, 8, 3, bias=True)
    expected = conv.sigma()
    fresh.advance()
    fresh.load_state_dict(conv.state_dict())
    assert torch.equal(fresh.sigma(), expected)


def test_the_iteration_stays_in_float32_inside_autocast(conv: SpectralNormConv2d) -> None:
    expected = conv.sigma()
    with torch.autocast("cpu", torch.bfloat16):
        conv.advance()
        sigma = conv.sigma()
        out = conv(torch.rand(1, 3, 4, 4))
    torch.testing.assert_close(sigma, expected)
    assert conv.u.dtype == sigma.dtype == torch.float32
    assert out.dtype == torch.bfloat16
