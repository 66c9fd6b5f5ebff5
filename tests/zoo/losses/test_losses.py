from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.losses import (
    clipped_half_sse,
    feature_matching,
    hinge_d,
    hinge_g,
    mean_squared_error,
    relativistic_hinge_d,
    relativistic_hinge_g,
)


def test_half_sse_gradient_is_the_clipped_error_over_the_images(reference: Path) -> None:
    arrays = np.load(reference / "golden" / "matlab_pieces.npz")
    preds, label, gradient = (arrays[f"loss/{name}_hwcn"] for name in ("pred", "label", "grad"))

    def batch(array: np.ndarray) -> torch.Tensor:  # (H, W, C, N)
        return torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1)))

    x = batch(preds).requires_grad_()
    clipped_half_sse(x, batch(label)).backward()
    assert x.grad is not None
    # The released layer leaves the division by the images to the solver.
    torch.testing.assert_close(x.grad * len(x), batch(gradient), rtol=0, atol=1e-7)


def test_half_sse_is_half_the_squared_error_of_an_image() -> None:
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.rand(2, 4, 3, 5, 6, generator=generator, dtype=torch.float64)
    expected = sum(0.5 * ((p - t) ** 2).sum() for p, t in zip(preds, target, strict=True)) / 4
    torch.testing.assert_close(clipped_half_sse(preds, target), expected)


def test_losses_on_half_precision_compute_in_float32() -> None:
    preds = torch.full((1, 3, 64, 64), 0.5, dtype=torch.bfloat16)
    target = torch.full((1, 3, 64, 64), 0.5 + 1 / 1023)
    assert mean_squared_error(preds, target).item() == pytest.approx((1 / 1023) ** 2, rel=1e-4)


def test_relativistic_hinge_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.5])
    # means 1 and -0.25: real - mean(fake) = 2.25, 0.25; fake - mean(real) = -2, -0.5
    assert relativistic_hinge_d(real, fake).item() == pytest.approx((0 + 0.75) / 2 + (0 + 0.5) / 2)
    assert relativistic_hinge_g(real, fake).item() == pytest.approx((3.25 + 1.25) / 2 + (3 + 1.5) / 2)


def test_plain_hinge_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-2.0, 0.5])
    assert hinge_d(real, fake).item() == pytest.approx(0.5 + 0.75)
    assert hinge_g(real, fake).item() == pytest.approx(0.75)


@given(st.integers(2, 8), st.integers(0, 1000))
def test_normalised_logits_never_beat_two(images: int, seed: int) -> None:
    """What batch norm on the logit costs: with equal means both hinge losses are at least 2 (Jensen)."""
    real, fake = torch.randn(2, images, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    real, fake = real - real.mean(), fake - fake.mean()
    assert relativistic_hinge_d(real, fake) >= 2 - 1e-12
    assert relativistic_hinge_g(real, fake) >= 2 - 1e-12


def test_feature_matching_sums_means_and_reaches_both_sides() -> None:
    real = [torch.zeros(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 5, 2, 2, requires_grad=True)]
    fake = [torch.full((2, 3, 4, 4), 2.0, requires_grad=True), torch.full((2, 5, 2, 2), 1.0, requires_grad=True)]
    loss = feature_matching(real, fake)
    assert loss.item() == pytest.approx(4.0 + 1.0)
    loss.backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in (*real, *fake))
