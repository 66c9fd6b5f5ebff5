"""What the LightningModules of all architectures share: signals, stages, rates, validation."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from math import ceil, inf
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import zoo
from zoo.errors import ConfigError, WeightsError
from zoo.metrics import PSNR
from zoo.optim import Rate, create_optimizer
from zoo.pictures import Panel
from zoo.precision import without_autocast
from zoo.ranks import from_each_rank
from zoo.weights import load_tensors, read_weights

Batch = dict[str, Any]
CHECKPOINT_FORMAT = 1  # of what the modules add to Lightning's checkpoints


def codes_to_signal(batch: Batch, net: Any) -> Batch:
    """Integer codes of a batch as the network's signals: code / 255 and code / 1023, in the network's type.

    Divided in float32 whatever the network's type, as the authors do.
    """
    dtype = torch.promote_types(next(net.parameters()).dtype, torch.float32)
    peaks = {"sdr": net.input_signal.peak, "hdr": net.output_signal.peak}
    return {**batch, **{key: (batch[key].float() / peak).to(dtype) for key, peak in peaks.items()}}


def channels_last_(module: nn.Module) -> None:
    """Lay parameters out so that convolutions of both CPU and GPU are up to twice as fast; nothing else changes."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def build(
    network: type[nn.Module], args: Mapping[str, Any], options: Mapping[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """A network, and all the arguments it is made with.

    Args:
        network: its class.
        args: those that the module has arguments of its own for.
        options: others.

    Raises:
        ConfigError: ``options`` holds what the network doesn't take, or one of ``args``.
    """
    options = options or {}
    free = sorted(inspect.signature(network).parameters.keys() - args.keys())
    if unknown := sorted(options.keys() - free):
        raise ConfigError(f"model.net_options: {network.__name__} takes {', '.join(free)} there, not {unknown[0]}")
    made_with = {**args, **options}
    return network(**made_with), made_with


class SRITMModule(pl.LightningModule):
    """A network ``net`` in training.

    Stages are counted from 1. ``StageSwitch`` calls :meth:`enter_stage` and sets ``switch_epoch``. One update of
    ``net`` counts as one step everywhere. Parameters keep ``requires_grad`` from start to end.

    Each update of ``net`` logs ``stages/stage`` and ``stages/rate``, and the rates of further optimisers that have
    another one under the names of their parts, such as ``stages/rate_D1``.

    Args:
        net: the network that is trained and published.
        net_args: the arguments ``net`` was made with, to be written beside its weights.
        rates: the learning rate of each stage.
        optimizer: a name for :func:`zoo.optim.create_optimizer`.
        weight_decay: handed to the optimiser.
        accumulate: batches for each update.
        clip_norm: the largest norm of the gradient of one optimiser; nothing is clipped by default.
        weights: start from these, a name of the zoo or the path of a safetensors file.
        switch_state: what becomes of the optimisers' state at the switch of stages: ``fresh`` forgets it (authors),
            ``keep`` goes on with the moments and counts of what has been trained so far; what joins begins without. The
            rate is the new stage's in both cases, its warm-up included.
    """

    arch: ClassVar[str]
    net: Any  # a network of zoo.nets
    scores: ClassVar[tuple[str, ...]] = ("val/psnr",)  # what validation logs; higher is better
    best: ClassVar[str] = "val/psnr"  # which of them decides what weights a run publishes; "last" for the newest

    def __init__(
        self,
        net: nn.Module,
        net_args: dict[str, Any],
        rates: Sequence[Rate],
        optimizer: str,
        weight_decay: float,
        accumulate: int,
        clip_norm: float | None,
        weights: str | None,
        switch_state: Literal["fresh", "keep"] = "fresh",
    ) -> None:
        super().__init__()
        if accumulate < 1:
            raise ConfigError(f"model.accumulate must be at least 1, not {accumulate}")
        if clip_norm is not None and not 0 < clip_norm < inf:
            raise ConfigError(f"model.clip_norm is {clip_norm}: give more than 0, or null")
        self.net = net
        self.net_args = net_args
        self.rates = list(rates)
        if len(self.rates) != self.stages:
            raise ConfigError(
                f"model.rates holds {len(self.rates)} rates, {self.model_name} trains in {self.stages} "
                f"stage{'s' * (self.stages > 1)}"
            )
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.switch_state = switch_state
        self.stage = 1
        self.switch_epoch: int | None = None
        self.val_psnr = PSNR()
        self._published: list[nn.Module] = []  # a list hides the copy from Lightning, DDP and checkpoints
        if weights is not None:
            self.start_from(weights)
        channels_last_(self.net)

    @property
    def stages(self) -> int:
        """How many stages training has."""
        return 1

    @property
    def model_name(self) -> str:
        """The network's name in the zoo."""
        return f"{self.arch}_x{self.net.scale}"

    @property
    def published(self) -> nn.Module:
        """What is validated and published: ``net``, or the average that a callback keeps of it."""
        return self._published[0] if self._published else self.net

    def publish(self, net: nn.Module) -> None:
        """Validate and publish ``net``, a copy that isn't registered here, instead of the live network."""
        self._published = [net]

    def published_weights(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors of the published network, and the arguments that build a network for them."""
        return self.published.state_dict(), self.net_args

    def start_from(self, weights: str) -> None:
        """Put weights of the zoo (a name) or of a safetensors file (a path) into ``net``."""
        load_tensors(self.net, self.read_start(weights), weights)

    def read_start(self, weights: str) -> dict[str, Tensor]:
        """The tensors of a zoo name or of a safetensors file.

        Raises:
            WeightsError: the file says that it is for other signals than ``net``'s.
        """
        if not (weights.endswith((".safetensors", ".ckpt")) or os.sep in weights or Path(weights).exists()):
            return zoo.load(weights).state_dict()
        tensors, metadata = read_weights(weights)
        for side, own in (("input", str(self.net.input_signal)), ("output", str(self.net.output_signal))):
            if (stated := metadata.get(side, own)) != own:
                raise WeightsError(f"{weights} is not for {self.model_name}: its {side} is {stated}, not {own}")
        return tensors

    def enter_stage(self, stage: int) -> None:
        """Begin a stage, with what state ``switch_state`` says. The one place where optimisers' state is cleared."""
        self.stage = stage
        if self.switch_state == "fresh":
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()

    def stage_updates(self) -> tuple[int, int]:
        """Updates done in this stage, and the stage's length in updates.

        Raises:
            ConfigError: the run has no end that a rate could be scheduled to.
        """
        trainer = self.trainer
        per_epoch = ceil(trainer.num_training_batches / self.accumulate)
        ends = []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            ends.append(trainer.max_epochs * per_epoch)
        if trainer.max_steps >= 0:
            ends.append(trainer.max_steps)
        if not ends:
            raise ConfigError("the run has no end: set trainer.max_epochs or trainer.max_steps")
        switch = per_epoch * self.switch_epoch if self.switch_epoch is not None else 0
        start, end = (switch, min(ends)) if self.stage == self.stages else (0, min(switch, *ends))
        assert trainer.global_step >= start, "a resumed run has another number of updates in an epoch"
        return trainer.global_step - start, end - start

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Set the rate of the coming update; clip here, where gradients are no longer scaled under 16-mixed."""
        if self.automatic_optimization:
            self._mean_over_batches(optimizer)
        rate = self.rates[self.stage - 1](*self.stage_updates())
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_scale", 1.0)
        if optimizer is self.trainer.optimizers[0]:
            self._log_stage(rate)
        if self.clip_norm is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)

    def _mean_over_batches(self, optimizer: Optimizer) -> None:
        """Make the gradient of an epoch's last update, which may have fewer batches, the mean over those it has."""
        batches = (self.trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1) % self.accumulate + 1
        if batches < self.accumulate:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad.mul_(self.accumulate / batches)

    def _log_stage(self, rate: float) -> None:
        # All at once: of what a hook logs several times in an epoch's first batch, the trainer keeps the last.
        scalars = {"stage": float(self.stage), "rate": rate}
        for optimizer in self.trainer.optimizers[1:]:
            group = optimizer.param_groups[0]
            if optimizer.state and group["lr"] != rate:  # without state it rests
                scalars[f"rate_{self._part_of(group['params'][0])}"] = group["lr"]
        # Tensors on the CPU: a plain number would be sent to the device at each update, and waited for.
        self.log_dict({f"stages/{key}": torch.tensor(value) for key, value in scalars.items()})

    def _part_of(self, parameter: nn.Parameter) -> str:
        return next(name for name, part in self.named_children() if any(p is parameter for p in part.parameters()))

    def check_data(self, data: Any) -> None:
        """Refuse a data module whose batches some stage can't use; called before training."""

    def on_fit_start(self) -> None:
        """Check the data before a stage is spent."""
        if (data := getattr(self.trainer, "datamodule", None)) is not None:
            self.check_data(data)

    def setup(self, stage: str) -> None:
        """Hand accumulation to the trainer, which does it in automatic optimisation."""
        if self.automatic_optimization:
            self.trainer.accumulate_grad_batches = self.accumulate

    def configure_optimizers(self) -> Any:
        """One optimiser over ``net``."""
        return create_optimizer(self.optimizer, self.net.parameters(), self.weight_decay)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Codes to signals, on the device."""
        return codes_to_signal(batch, self.net)

    def log_training(self, **scalars: Tensor | float) -> None:
        """Log scalars of a training step, their means over ranks, in the section ``train``."""
        # One small collective that no GPU is waited for; Lightning's sync_dist has a barrier for each scalar.
        values = torch.stack([torch.as_tensor(value, device=self.device).detach() for value in scalars.values()])
        means = from_each_rank(values).mean(0)
        self.log_dict({f"train/{key}": mean for key, mean in zip(scalars, means, strict=True)}, prog_bar=False)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Score the published network on whole frames (protocol val-v1, raw); returns its unclipped prediction.

        In the parameters' own precision whatever the training's, so that the figure is that of the published file.
        """
        with without_autocast(batch["sdr"]):
            preds = self.published(batch["sdr"])
        self.val_psnr.update(preds, batch["hdr"])
        self.log("val/psnr", self.val_psnr, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(preds))
        return preds

    def look_inside(self, net: Any, sdr: Tensor) -> tuple[Tensor, dict[str, Panel]]:
        """The prediction for one picture, and panels of what it is made of.

        Args:
            net: a network as ``net``: the published one, or ``net`` itself.
            sdr: ``(3, h, w)``, its input.

        Returns:
            ``(3, H, W)``, unclipped; panels as large as it, by title, in the order in which they are shown.
        """
        return net(sdr[None])[0], {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the stage, and say whose checkpoint this is."""
        checkpoint["sritm"] = {
            "format": CHECKPOINT_FORMAT,
            "model": self.model_name,
            "stage": self.stage,
            "optimizer": self.optimizer,
            "accumulate": self.accumulate,
            "batches": self.trainer.num_training_batches,
            "switch": self.switch_epoch,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the stage."""
        self.stage = checkpoint["sritm"]["stage"]
