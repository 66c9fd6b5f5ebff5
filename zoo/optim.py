"""Optimisers and learning rates of training runs.

A rate is a pure function of the updates done in a stage and of the stage's length, so that nothing about it needs to
be in a checkpoint and a resumed run can't be off by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.optim import SGD, Adam, Optimizer

from zoo.errors import ConfigError

_SECOND_ORDER = ("adahessian",)  # need gradients of gradients
_FUSED = ("adam", "adamw")  # names with a form in one kernel


class AuthorsAdam(Adam):
    """Adam with epsilon where TensorFlow 1 and MatConvNet have it: added to the root before bias correction.

    ``p -= lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)``: "epsilon hat" of Kingma and Ba, section 2.
    PyTorch adds it after the correction; its update with ``eps / sqrt(1 - beta2^t)`` is the same. It matters where
    gradients are small in the first steps.

    Args:
        params: as :class:`torch.optim.Adam`; each group counts one ``t`` for all its parameters.
        lr: learning rate.
        betas: decay of the moments.
        eps: epsilon hat.
        weight_decay: coupled (L2) decay.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self._eps_hat = eps

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As :meth:`torch.optim.Adam.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            # Parameters that join later (modulation) do so where the state is cleared, so one count serves a group.
            updated = [p for p in group["params"] if p.grad is not None]
            counts = {int(self.state[p]["step"]) if p in self.state else 0 for p in updated}
            assert len(counts) <= 1, f"parameters of one group have seen different numbers of updates: {counts}"
            t = counts.pop() + 1 if counts else 1
            group["eps"] = self._eps_hat / math.sqrt(1 - group["betas"][1] ** t)
        super().step()
        return loss


@dataclass(frozen=True)
class Rate:
    """The learning rate of one stage.

    Args:
        peak: the highest rate.
        shape: ``constant``; ``steps``: times ``factor`` after each fraction ``at`` of the stage; ``cosine``: from peak
            to ``peak * floor``; ``tenths``: JSI-GAN's second stage, whose ten parts have 1, 1, 1, 1, 1, 1, 0.8, 0.6,
            0.4 and 0.2 of the peak.
        warmup: updates over which the rate rises linearly to its shape.
        at: fractions of the stage's length, for ``steps``. The update whose 0-based number equals a boundary still has
            the old rate, as in TensorFlow's piecewise constant.
        factor: for ``steps``.
        floor: for ``cosine``.

    Raises:
        ConfigError: a number that no rate can be made of, or boundaries for another shape.
    """

    peak: float
    shape: Literal["constant", "steps", "cosine", "tenths"] = "constant"
    warmup: int = 0
    at: list[float] = field(default_factory=list)
    factor: float = 0.1
    floor: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.peak < math.inf:
            raise ConfigError(f"a rate's peak is {self.peak}: give 0 or more")
        if self.warmup < 0:
            raise ConfigError(f"a rate's warmup is {self.warmup}: give a number of updates, 0 or more")
        if not 0 < self.factor < math.inf or not 0 <= self.floor <= 1:
            raise ConfigError(
                f"a rate's factor is {self.factor}, its floor {self.floor}: give more than 0, and a share of 1"
            )
        if (self.shape == "steps") != bool(self.at):
            raise ConfigError(
                f"a rate of shape {self.shape} has at {self.at}: boundaries belong to steps, which need them (what is "
                "left out on a command line is the config's: say at: [])"
            )
        if self.at != sorted(self.at) or not all(0 < boundary < 1 for boundary in self.at):
            raise ConfigError(f"a rate's at is {self.at}: give rising shares of the stage's length, between 0 and 1")

    def __call__(self, done: int, length: int) -> float:
        """The rate of the update that follows ``done`` updates of a stage of ``length`` updates."""
        fraction = min(done / max(length, 1), 1.0)
        scale = 1.0
        if self.shape == "steps":
            scale = self.factor ** sum(done > round(boundary * length) for boundary in self.at)
        elif self.shape == "cosine":
            scale = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * fraction))
        elif self.shape == "tenths":
            scale = min(1.0, (10 - min(int(10 * fraction), 9)) / 5)
        if done < self.warmup:
            scale *= (done + 1) / (self.warmup + 1)
        return self.peak * scale


def create_optimizer(
    name: str, groups: Iterable[Any], weight_decay: float = 0.0, fused: bool | None = None
) -> Optimizer:
    """An optimiser by name; the rate is set before each update, so none is given here.

    Gradients must come unscaled: whatever the optimiser, a gradient scaler is made to unscale them before the hooks in
    which they are looked at and clipped.

    Args:
        name: ``authors_adam``, ``sgd`` (momentum 0.9, as MatConvNet's), or any name that
            ``timm.optim.create_optimizer_v2`` knows (``adam``, ``adamw``, ``nadamw``, ...).
        groups: parameters or parameter groups.
        weight_decay: default for groups without one of their own.
        fused: whether ``adam`` and ``adamw`` make their update in one kernel, the same to rounding; by default where
            all parameters are on a GPU. No other name has such a form here.

    Raises:
        ConfigError: unknown name.
    """
    groups = list(groups)
    if not 0 <= weight_decay < math.inf:
        raise ConfigError(f"model.weight_decay is {weight_decay}: give 0 or more")
    if name in _SECOND_ORDER:
        raise ConfigError(f"optimizer {name!r} needs second derivatives, which the networks' operators don't have")
    if name == "authors_adam":
        return AuthorsAdam(groups, weight_decay=weight_decay)
    if name == "sgd":
        return SGD(groups, lr=0.0, momentum=0.9, weight_decay=weight_decay)
    from zoo._torchvision import ensure_torchvision

    ensure_torchvision()
    from timm.optim import create_optimizer_v2

    if fused is None:
        parameters = [p for group in groups for p in (group["params"] if isinstance(group, dict) else [group])]
        fused = all(p.is_cuda for p in parameters)
    options: dict[str, Any] = {"fused": True} if fused and name in _FUSED else {}
    try:
        optimizer = create_optimizer_v2(groups, opt=name, lr=0.0, weight_decay=weight_decay, **options)
    except (KeyError, ValueError, AssertionError) as error:
        hint = "use authors_adam, sgd, or a name that timm knows, such as adamw"
        raise ConfigError(f"unknown optimizer {name!r}: {hint}") from error
    # torch's fused forms would unscale within their step, after the hooks have seen scaled gradients.
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer
