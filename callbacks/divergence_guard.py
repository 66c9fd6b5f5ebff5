"""Stopping a run whose losses, gradients or weights are no longer numbers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from zoo.errors import ConfigError, DivergenceError

_ADVICE = "lower the rates (model.rates) or set model.clip_norm"
# 16-mixed halves its scale at each overflow, from 65536. What overflows unscaled is no matter of the scale.
_LEAST_SCALE = 1.0
_log = logging.getLogger(__name__)


@dataclass
class _Part:
    """One optimiser's step, on the device: the loss (under 16-mixed times its scale) and the largest gradient."""

    optimizer: Optimizer
    loss: Tensor
    gradient: Tensor


@dataclass
class _Update:
    """What an update was made of, and its parts."""

    batches: list[Any] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)
    step: int = 0
    left_out: list[str] = field(default_factory=list)  # why


class DivergenceGuard(Callback):
    """End a run with one line when a loss, a gradient or a weight is NaN or infinite, and keep the batch for a look.

    Every loss that is propagated back is looked at (JSI-GAN has three an update), and the gradients before they are
    clipped. All ranks decide alike. Stands before the callbacks that write.

    Without ``skips`` nothing is waited for: the figures stay on the device until a look, which costs one
    synchronisation, every ``every`` batches, before each validation and checkpoint and at the end of each epoch. So
    nothing is validated, published or saved after the accident, though the weights in memory may be spoilt, and the
    newest checkpoint is good. The batches since the last look are kept too, which is little beside a
    network's activations and the one way to have the right batch without waiting for each.

    With ``skips`` each optimiser's step waits for two numbers: an optimiser whose loss or gradient isn't finite doesn't
    step, its state stays as it is, and a warning names the pictures. The step counts and the rate goes on. More than
    ``skips`` such updates in a row end the run, with its weights intact; single ones, however many, don't, but
    ``train/skipped`` counts them.

    Under ``16-mixed`` a gradient that overflows is the gradient scaler's to leave out, and none of this; but a scale
    that falls below 1 ends the run at the next look.

    The batch is written to ``diverged-STEP.npz`` in the trainer's ``default_root_dir``, for ``numpy.load``: ``sdr`` and
    ``hdr`` (codes, (B, 3, H, W)), ``key`` (B names) and ``loss`` (of each optimiser). Of several ranks those write,
    ``diverged-STEP-rank1.npz``, whose loss wasn't finite, or all if it was the gradient alone.

    Args:
        every: batches between two looks.
        skips: how many updates in a row may be left out.

    Raises:
        ConfigError: a number that makes no sense.
        DivergenceError: the step, what wasn't finite, where the batch and the last good state lie, and what to try.
    """

    def __init__(self, every: int = 20, skips: int = 0) -> None:
        if every < 1 or skips < 0:
            raise ConfigError(f"guard.every is {every}, guard.skips is {skips}: give at least 1, and at least 0")
        self.every = every
        self.skips = skips
        self.skipped = 0  # updates, in the whole run
        self._row = 0
        self._losses: list[Tensor] = []  # since the last optimiser's step
        self._update = _Update()  # in the making
        self._updates: list[_Update] = []  # since the last look

    def state_dict(self) -> dict[str, Any]:
        """How many updates were left out."""
        return {"skipped": self.skipped, "row": self._row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped, self._row = state_dict["skipped"], state_dict["row"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keep the batch."""
        self._update.batches.append(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        """Keep the loss."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        """Measure the gradients and, where updates may be left out, take away those that aren't finite."""
        loss, self._losses = torch.stack(self._losses).sum(), []
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [] if _scaler(trainer) else [p.grad for p in parameters]
        part = _Part(optimizer, loss, _largest(gradients) if gradients else torch.zeros_like(loss))
        self._update.parts.append(part)
        if self.skips and (why := _trouble(trainer, pl_module, part, *_over_ranks(trainer, [part]))):
            self._update.left_out.append(why)
            for p in parameters:
                p.grad = None  # an optimiser passes over what has no gradient

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Close the update, if there was one, and look from time to time."""
        if self._update.parts:
            update, self._update = self._update, _Update()
            update.step = trainer.global_step
            if self.skips:
                self._count(trainer, pl_module, update)
                self._updates.clear()
            self._updates.append(update)
        if (batch_idx + 1) % self.every == 0:
            self._look(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look before the weights are scored and published."""
        if trainer.state.fn == "fit":
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Look before others use the epoch."""
        self._look(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Look before anything is saved, in the middle of an epoch too."""
        self._look(trainer, pl_module)

    def _count(self, trainer: Trainer, pl_module: Any, update: _Update) -> None:
        self._row = self._row + 1 if update.left_out else 0
        self.skipped += bool(update.left_out)
        pl_module.log("train/skipped", torch.tensor(float(self.skipped)))
        if self._row > self.skips:
            why = f"{update.left_out[0]}, after {self.skips} updates in a row were left out"
            self._stop(trainer, pl_module, update, f"at step {update.step}: {why}")
        if update.left_out:
            keys = [key for batch in update.batches for key in batch["key"]]
            _log.warning("step %d is left out: %s; pictures: %s", update.step, update.left_out[0], ", ".join(keys))
        update.parts = []  # decided

    def _look(self, trainer: Trainer, pl_module: Any) -> None:
        if not self._updates:
            return
        updates, self._updates = self._updates, []
        weights = _largest([p.detach() for p in pl_module.parameters()])
        parts = [part for update in updates for part in update.parts]
        *values, largest = _over_ranks(trainer, parts, weights)
        for update in updates:
            for part in update.parts:
                if why := _trouble(trainer, pl_module, part, values.pop(0), values.pop(0)):
                    self._stop(trainer, pl_module, update, f"at step {update.step}: {why}")
        newest = updates[-1]
        if not isfinite(largest):
            why = "weights are NaN or infinite, though losses and gradients were not"
            self._stop(trainer, pl_module, newest, f"by step {newest.step}: {why}")
        if (scaler := _scaler(trainer)) and (scale := scaler.get_scale()) < _LEAST_SCALE:
            why = f"gradients overflow in float16 until their scale has fallen to {scale:g}; bf16-mixed may do better"
            self._stop(trainer, pl_module, newest, f"by step {newest.step}: {why}")

    def _stop(self, trainer: Trainer, pl_module: Any, update: _Update, what: str) -> None:
        kept = _keep(trainer, pl_module, update)
        last = getattr(trainer.checkpoint_callback, "last_model_path", "")
        good = f"; the last good state is {last}" if last else ""
        raise DivergenceError(f"training diverged {what}; {kept}; {_ADVICE}{good}")


def _scaler(trainer: Trainer) -> Any:
    """The gradient scaler of 16-mixed."""
    return getattr(trainer.precision_plugin, "scaler", None)


def _largest(tensors: list[Tensor]) -> Tensor:
    """The largest magnitude; NaN if any is."""
    return torch.stack(torch._foreach_norm(tensors, inf)).max()  # an L2 norm may overflow where nothing else does


def _over_ranks(trainer: Trainer, parts: Sequence[_Part], *more: Tensor) -> list[float]:
    """Loss and gradient of each part, and more: the mean over ranks, which isn't finite if one rank's isn't."""
    values = [value for part in parts for value in (part.loss, part.gradient)]
    seen = torch.stack([value.float() for value in (*values, *more)])
    return trainer.strategy.reduce(seen, reduce_op="mean").tolist()


def _trouble(trainer: Trainer, pl_module: Any, part: _Part, loss: float, gradient: float) -> str:
    """What isn't finite in a part, or nothing."""
    if isfinite(loss) and isfinite(gradient):
        return ""
    of = ""
    if len(trainer.optimizers) > 1:
        first = part.optimizer.param_groups[0]["params"][0]
        names = [name for name, child in pl_module.named_children() if any(p is first for p in child.parameters())]
        of = f" of {names[0]}" if names else ""
    if isfinite(loss):
        return f"the gradient{of} is NaN or infinite, though the loss was {loss:g}"
    return f"the loss{of} is {loss}"


def _keep(trainer: Trainer, pl_module: Any, update: _Update) -> str:
    """Write an update's batches; says where."""
    losses = [float(part.loss) for part in update.parts]
    several = trainer.world_size > 1
    folder = Path(trainer.default_root_dir)
    path = folder / f"diverged-{update.step}{f'-rank{trainer.global_rank}' if several else ''}.npz"
    blamed = torch.tensor(not all(map(isfinite, losses)), dtype=torch.float, device=pl_module.device)
    blamed_anywhere = bool(trainer.strategy.reduce(blamed.clone(), reduce_op="sum"))
    if blamed or not blamed_anywhere:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            arrays = _arrays(update.batches, pl_module.net) | {"loss": np.array(losses, np.float32)}
            np.savez(path, **arrays)  # type: ignore[arg-type]
        except OSError as error:
            return f"the batch couldn't be kept in {path}: {error.strerror}"
    return f"the batch is in {folder / f'diverged-{update.step}-rank*.npz' if several else path}"


def _arrays(batches: Sequence[Any], net: Any) -> dict[str, np.ndarray]:
    """Batches as they came from the data, in codes."""
    signals = {"sdr": (net.input_signal.peak, np.uint8), "hdr": (net.output_signal.peak, np.uint16)}
    arrays: dict[str, np.ndarray] = {
        side: np.concatenate([(batch[side].float() * peak).round().cpu().numpy().astype(dtype) for batch in batches])
        for side, (peak, dtype) in signals.items()
    }
    return arrays | {"key": np.array([key for batch in batches for key in batch["key"]])}
