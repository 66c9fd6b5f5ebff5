"""Triton's kernels of the dynamic filters beside the form without them, how one is chosen, and torch.compile.

The kernels run where there is a GPU, or in Triton's interpreter::

    pip install --no-deps --target /tmp/triton triton
    TRITON_INTERPRET=1 PYTHONPATH=/tmp/triton python -m pytest tests/zoo/ops/test_dynamic_triton.py
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo.ops
from tests.zoo.ops.test_dynamic import OPERATORS, random_inputs
from zoo.ops import dynamic, dynamic_upsample_2d, dynamic_upsample_separable

# Scale, batch, height and width; more rows, or columns, than a filter reaches and than a program makes at once. Small
# otherwise, since the interpreter takes half a second for a program.
CASES = [
    ("2d", (1, 1, 6, 3), torch.float32, torch.contiguous_format),
    ("2d", (2, 2, 1, 67), torch.bfloat16, torch.channels_last),
    ("2d", (4, 1, 2, 3), torch.float16, torch.channels_last),
    ("separable", (1, 1, 23, 2), torch.float32, torch.channels_last),
    ("separable", (2, 2, 1, 67), torch.bfloat16, torch.channels_last),
    ("separable", (4, 1, 2, 3), torch.float16, torch.contiguous_format),
]
KINDS = {"2d": (dynamic_upsample_2d, (81,)), "separable": (dynamic_upsample_separable, (41, 41))}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the kernels run, if anywhere."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton isn't installed")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU, and TRITON_INTERPRET isn't 1")
    monkeypatch.setattr(dynamic, "_triton_failed", False)
    return device


def values_and_gradients(operator: Callable[..., Tensor], inputs: list[Tensor], scale: int) -> list[Tensor]:
    """What an operator makes, and its gradients by the filters."""
    out = operator(*inputs, scale)
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.device)
    return [out.detach(), *torch.autograd.grad(out, inputs[1:], seed)]


@pytest.mark.parametrize(("kind", "size", "dtype", "memory_format"), CASES)
def test_kernels_give_values_and_gradients_of_the_form_without_them(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    kind: str,
    size: tuple[int, int, int, int],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> None:
    (operator, taps), scale = KINDS[kind], size[0]
    x, *filters = (each.to(device) for each in random_inputs(taps, *size, torch.float32))
    filters = [f.to(dtype, memory_format=memory_format).requires_grad_() for f in filters]
    with monkeypatch.context() as patch:
        patch.setenv("SRITM_TRITON", "off")
        expected = values_and_gradients(operator, [x, *filters], scale)
    monkeypatch.setattr(dynamic, "_STRIPS", {})
    found = values_and_gradients(operator, [x, *filters], scale)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    for gradient, other, given in zip(found[1:], expected[1:], filters, strict=True):
        assert gradient.dtype == dtype
        assert gradient.stride() == given.stride()
        # Sums in another order; in half precision they may then be rounded to the next number.
        torch.testing.assert_close(gradient, other, rtol=max(1e-5, torch.finfo(dtype).eps), atol=1e-5)


def test_kernels_take_logits_of_any_size_and_filters_that_are_views(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    x = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0)).to(device)
    wide = torch.zeros(1, 81, 4, 12)
    wide[:, 40] = 500.0  # all weight on one tap
    wide[:, 3] = -torch.inf
    monkeypatch.setattr(dynamic, "_STRIPS", {})
    out = dynamic_upsample_2d(x[..., ::2], wide.to(device)[..., ::4], 1)
    torch.testing.assert_close(out, x[..., ::2], rtol=0, atol=1e-6)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Kernels that count their calls and give zeros, on the CPU, where Triton is made to look installed."""
    kernels = SimpleNamespace(calls=[], error=None, taken=True)

    def forward(x: Tensor, filters: Tensor, scale: int) -> Tensor:
        kernels.calls.append("forward")
        if kernels.error is not None:
            raise kernels.error
        return torch.zeros(*x.shape[:2], scale * x.shape[2], scale * x.shape[3])

    def backward(x: Tensor, filters: Tensor, grad: Tensor, scale: int) -> tuple[Tensor]:
        kernels.calls.append("backward")
        return (torch.zeros_like(filters),)

    kernels.takes = lambda *inputs: kernels.taken
    kernels.forward_2d, kernels.backward_2d = forward, backward
    monkeypatch.setattr(zoo.ops, "dynamic_triton", kernels, raising=False)
    monkeypatch.setattr(dynamic, "_triton_failed", False)
    find_spec: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "triton" or find_spec(name))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.delenv("SRITM_TRITON", raising=False)
    return kernels


def inputs_2d() -> list[Tensor]:
    return random_inputs((81,), 2, batch=1, height=2, width=3, dtype=torch.float32)


def test_kernels_compute_both_passes_where_they_can(pretended: SimpleNamespace) -> None:
    x, filters = inputs_2d()
    out = dynamic_upsample_2d(x, filters.requires_grad_(), 2)
    out.sum().backward()
    assert pretended.calls == ["forward", "backward"]
    assert not out.any()
    assert filters.grad is not None
    assert not filters.grad.any()


def test_the_gradient_by_the_picture_is_left_to_the_form_without_kernels(pretended: SimpleNamespace) -> None:
    x, filters = inputs_2d()
    dynamic_upsample_2d(x.requires_grad_(), filters, 2).sum().backward()
    assert pretended.calls == ["forward"]
    assert x.grad is not None
    assert x.grad.any()


@pytest.mark.parametrize("reason", ["switched off", "not taken", "not installed", "no GPU"])
def test_kernels_are_left_alone_without_a_word(
    pretended: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    if reason == "switched off":
        monkeypatch.setenv("SRITM_TRITON", "off")
    elif reason == "not taken":
        pretended.taken = False
    elif reason == "not installed":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.delenv("TRITON_INTERPRET")
    assert dynamic_upsample_2d(*inputs_2d(), 2).any()
    assert pretended.calls == []
    assert not caplog.records


def test_a_kernel_that_fails_is_said_in_one_line_and_not_tried_again(
    pretended: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    pretended.error = RuntimeError("no C compiler\nwas found")
    with caplog.at_level(logging.WARNING):
        first, second = (dynamic_upsample_2d(*inputs_2d(), 2) for _ in range(2))
    assert torch.equal(first, second)
    assert first.any()
    assert pretended.calls == ["forward"]
    assert caplog.messages == [
        "Triton's kernels of the dynamic filters fail; a slower form takes their place "
        "(RuntimeError: no C compiler was found)"
    ]


def test_memory_that_runs_out_is_no_failure_of_a_kernel(pretended: SimpleNamespace) -> None:
    pretended.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        dynamic_upsample_2d(*inputs_2d(), 2)
    pretended.error = None
    assert not dynamic_upsample_2d(*inputs_2d(), 2).any()


@pytest.mark.parametrize(("operator", "plain", "taps"), OPERATORS)
def test_torch_compile_sees_one_node_with_the_same_values_and_gradients(
    operator: Callable[..., Tensor], plain: object, taps: tuple[int, ...]
) -> None:
    nodes = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        nodes.extend(node.target for node in graph.graph.nodes if node.op == "call_function")
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    x, *filters = random_inputs(taps, 2, height=3, width=4, dtype=torch.float32)
    filters = [f.to(memory_format=torch.channels_last).requires_grad_() for f in filters]
    compiled = torch.compile(operator, backend=backend, fullgraph=True)
    found = values_and_gradients(compiled, [x, *filters], 2)
    for one, other in zip(found, values_and_gradients(operator, [x, *filters], 2), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    assert len(nodes) == 1


def test_operators_for_the_compiler_are_what_they_say() -> None:
    x, vertical, horizontal = random_inputs((41, 41), 2, height=2, width=3)
    inputs = (x.requires_grad_(), vertical.requires_grad_(), horizontal)
    torch.library.opcheck(dynamic._opaque_separable, (*inputs, 2))
    torch.library.opcheck(dynamic._opaque_2d, (x, random_inputs((81,), 2, height=2, width=3)[1], 2))
    compiled = torch.compile(dynamic_upsample_separable, backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled(*inputs, 2).square().sum(), inputs[:2])
    expected = torch.autograd.grad(dynamic_upsample_separable(*inputs, 2).square().sum(), inputs[:2])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
