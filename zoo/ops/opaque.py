"""Operators that ``torch.compile`` takes as one node each, with their gradients, and doesn't look into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def opaque(
    name: str,
    tensors: Sequence[str],
    forward: Callable[[Sequence[Tensor], int], Tensor],
    backward: Callable[[Sequence[Tensor], Tensor, int, Sequence[bool]], Sequence[Tensor | None]],
    empty_output: Callable[[Sequence[Tensor], int], Tensor],
) -> Callable[..., Tensor]:
    """Register an operator of some tensors and an integer, as ``torch.ops.zoo.NAME``.

    Args:
        name: its name.
        tensors: names of the tensors, which come first.
        forward: computes it.
        backward: gradients by the tensors, from those, the output's gradient, the integer, and which are needed. One
            that doesn't lie in memory as its tensor does is copied, since the compiler relies on that.
        empty_output: a tensor like what ``forward`` gives, of any values.

    Returns:
        The operator, differentiable once.
    """

    def run(*arguments: Any) -> Tensor:
        *inputs, number = arguments
        return forward(inputs, number)

    def run_empty(*arguments: Any) -> Tensor:
        *inputs, number = arguments
        return empty_output(inputs, number)

    def differentiate(*arguments: Any) -> list[Tensor]:
        *inputs, grad, number, needed = arguments
        gradients = backward(inputs, grad, number, needed)
        found = []
        for x, gradient, wanted in zip(inputs, gradients, needed, strict=True):
            if not wanted:
                found.append(x.new_empty(0))
            else:
                assert gradient is not None
                same = gradient.stride() == x.stride()
                found.append(gradient if same else torch.empty_like(x).copy_(gradient))
        return found

    def differentiate_empty(*arguments: Any) -> list[Tensor]:
        *inputs, _, _, needed = arguments
        return [torch.empty_like(x) if wanted else x.new_empty(0) for x, wanted in zip(inputs, needed, strict=True)]

    def keep(ctx: Any, inputs: Any, output: Tensor) -> None:
        *kept, ctx.number = inputs
        ctx.save_for_backward(*kept)

    def gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = list(ctx.needs_input_grad[: len(tensors)])
        found = backward_operator(*ctx.saved_tensors, grad, ctx.number, needed)
        return *(each if wanted else None for each, wanted in zip(found, needed, strict=True)), None

    inputs = ", ".join(f"Tensor {each}" for each in tensors)
    operator = torch.library.custom_op(f"zoo::{name}", run, mutates_args=(), schema=f"({inputs}, int number) -> Tensor")
    operator.register_fake(run_empty)
    operator.register_autograd(gradients, setup_context=keep)
    backward_operator = torch.library.custom_op(
        f"zoo::{name}_backward",
        differentiate,
        mutates_args=(),
        schema=f"({inputs}, Tensor grad, int number, bool[] needed) -> Tensor[]",
    )
    backward_operator.register_fake(differentiate_empty)
    return operator
