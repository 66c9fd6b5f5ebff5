"""Tests of the dynamic up-sampling filters: authors' figures, a plain form, gradients, memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.benchmarks.bench_networks import plain_2d, plain_separable
from tests.golden_parameters import params, pictures
from zoo.ops import dynamic, dynamic_upsample_2d, dynamic_upsample_separable

# float32 against TensorFlow's float32; sums of 81 products.
TOLERANCE = 2e-6


OPERATORS = [
    pytest.param(dynamic_upsample_2d, plain_2d, (81,), id="2d"),
    pytest.param(dynamic_upsample_separable, plain_separable, (41, 41), id="separable"),
]


def random_inputs(
    taps: tuple[int, ...],
    scale: int,
    batch: int = 2,
    height: int = 5,
    width: int = 6,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)
    x = torch.rand(batch, 3, height, width, dtype=dtype, generator=generator)
    filters = [torch.randn(batch, n * scale**2, height, width, dtype=dtype, generator=generator) for n in taps]
    return [x, *filters]


@pytest.mark.parametrize("scale", [2, 4])
def test_small_pictures_equal_the_authors(reference: Path, scale: int) -> None:
    arrays = np.load(reference / "golden" / "jsi_gan_dynamic_ops.npz")
    x, logits, vertical, horizontal = (
        pictures(arrays[f"x{scale}_{name}"]) for name in ("input", "filter_2d", "filter_v", "filter_h")
    )
    out = dynamic_upsample_2d(x, logits, scale)
    torch.testing.assert_close(out, pictures(arrays[f"x{scale}_out_2d"]), rtol=0, atol=TOLERANCE)
    out = dynamic_upsample_separable(x, vertical, horizontal, scale)
    torch.testing.assert_close(out, pictures(arrays[f"x{scale}_out_sep"]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("scale", [2, 4])
def test_pictures_larger_than_the_filters_equal_the_authors(golden: Path, scale: int) -> None:
    arrays = np.load(golden / "jsi_gan_dynamic_ops.npz")
    x = pictures(arrays[f"large_x{scale}_input"])
    area = x.shape[0], *x.shape[2:]
    shapes = {
        f"dyn_2d_x{scale}/u": (*area, 81 * scale**2),
        f"dyn_sep_x{scale}/filter_v": (*area, 41 * scale**2),
        f"dyn_sep_x{scale}/filter_h": (*area, 41 * scale**2),
    }
    logits, vertical, horizontal = (pictures(value) for value in params.make_params(shapes, 2020).values())
    out = dynamic_upsample_2d(x, logits, scale)
    torch.testing.assert_close(out, pictures(arrays[f"large_x{scale}_out_2d"]), rtol=0, atol=TOLERANCE)
    out = dynamic_upsample_separable(x, vertical, horizontal, scale)
    torch.testing.assert_close(out, pictures(arrays[f"large_x{scale}_out_sep"]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("operator", "plain", "taps"), OPERATORS)
@given(
    scale=st.sampled_from([1, 2, 4]),
    batch=st.integers(1, 2),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    strip_values=st.sampled_from([1, 1000, 2**22]),
)
@settings(max_examples=12, deadline=None)
def test_values_and_gradients_equal_the_plain_form(
    operator: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    taps: tuple[int, ...],
    scale: int,
    batch: int,
    height: int,
    width: int,
    strip_values: int,
) -> None:
    inputs = [tensor.requires_grad_() for tensor in random_inputs(taps, scale, batch, height, width)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dynamic._STRIP_VALUES, "cpu", strip_values)
        out = operator(*inputs, scale)
        seed = torch.randn_like(out)
        gradients = torch.autograd.grad(out, inputs, seed)
    expected = plain(*inputs, scale)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    for gradient, other in zip(gradients, torch.autograd.grad(expected, inputs, seed), strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("operator", "plain", "taps"), OPERATORS)
def test_gradients_pass_gradcheck(operator: Callable[..., Tensor], plain: object, taps: tuple[int, ...]) -> None:
    inputs = [tensor.requires_grad_() for tensor in random_inputs(taps, scale=2, batch=1, height=3, width=4)]
    assert torch.autograd.gradcheck(lambda *tensors: operator(*tensors, 2), inputs, fast_mode=True)


@pytest.mark.parametrize(("operator", "plain", "taps"), OPERATORS)
def test_bfloat16_filters_in_channels_last_are_accumulated_in_float32(
    operator: Callable[..., Tensor], plain: Callable[..., Tensor], taps: tuple[int, ...]
) -> None:
    x, *filters = random_inputs(taps, scale=2, dtype=torch.float32)
    filters = [f.bfloat16().to(memory_format=torch.channels_last).requires_grad_() for f in filters]
    exact = [f.detach().float().contiguous().requires_grad_() for f in filters]
    with torch.autocast("cpu", torch.bfloat16):
        out = operator(x, *filters, 2)
    expected = plain(x, *exact, 2)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    out.sum().backward()
    expected.sum().backward()
    for f, other in zip(filters, exact, strict=True):
        assert f.grad is not None
        assert f.grad.dtype == torch.bfloat16
        torch.testing.assert_close(f.grad, other.grad.bfloat16(), rtol=2e-2, atol=1e-5)  # one rounding to 8 bits


@pytest.mark.parametrize(("operator", "plain", "taps"), OPERATORS)
def test_a_second_derivative_is_refused_rather_than_wrong(
    operator: Callable[..., Tensor], plain: object, taps: tuple[int, ...]
) -> None:
    inputs = [tensor.requires_grad_() for tensor in random_inputs(taps, scale=1)]
    (gradient,) = torch.autograd.grad(operator(*inputs, 1).square().sum(), inputs[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(("operator", "plain", "taps"), OPERATORS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_is_that_of_inputs_outputs_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
    operator: Callable[..., Tensor],
    plain: object,
    taps: tuple[int, ...],
    memory_format: torch.memory_format,
) -> None:
    monkeypatch.setitem(dynamic._STRIP_VALUES, "cpu", 2**14)
    x, *filters = random_inputs(taps, scale=2, height=40, width=30, dtype=torch.float32)
    filters = [f.to(memory_format=memory_format).requires_grad_() for f in filters]
    with AllocatedMemory() as memory:
        out = operator(x, *filters, 2)
        # A strip and what is computed of it, the padded picture: small beside the filters.
        assert memory.peak < out.nbytes + 0.2 * filters[0].nbytes
        out.backward(torch.ones(out.shape))
        assert memory.peak < 2 * out.nbytes + sum(f.nbytes for f in filters) + 0.2 * filters[0].nbytes


class AllocatedMemory(TorchDispatchMode):
    """Counts the bytes of storages made inside the context, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given_storages = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._live.keys() | given_storages:
                    self._live[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self._live.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self._live.values()))
        return result
