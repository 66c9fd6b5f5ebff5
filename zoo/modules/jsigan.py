"""Training of JSI-GAN: JSInet first, then JSInet against two discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, inf
from typing import Any, ClassVar, Literal, cast

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from zoo.errors import ConfigError
from zoo.losses import (
    feature_matching,
    hinge_d,
    hinge_g,
    mean_squared_error,
    relativistic_hinge_d,
    relativistic_hinge_g,
)
from zoo.modules.base import Batch, SRITMModule, channels_last_
from zoo.modules.jsinet import AUTHORS_RATE, look_inside_jsinet
from zoo.nets import Discriminator, JSINet
from zoo.nets.jsinet import DIVISION_EPS
from zoo.ops.guided import detail_layer, guided_filter
from zoo.optim import Rate, create_optimizer
from zoo.pictures import Panel
from zoo.ranks import mean_over_ranks

# The second stage runs at a hundredth of 1e-4 and falls in its last four tenths.
AUTHORS_RATES = (AUTHORS_RATE, Rate(1e-6, "tenths"))
GAN_SIZE = 160  # HR pixels; the discriminators give one logit for an image of 129 to 160 lines
# Batch norm over one value for an image, of the logit and of the layer before: one image has no gradient, two have only
# the sign of their difference.
GAN_BATCH = 4


class JSIGANModule(SRITMModule):
    """JSInet (``net``) with discriminators of images (``D1``) and of detail layers (``D2``); defaults are the authors'.

    Stage 1 is :class:`zoo.modules.JSINetModule`'s training; the discriminators rest. In stage 2 an update is, as
    released: one forward of ``net`` serves ``D1`` and ``D2``, which step; a fresh forward on the same data then serves
    ``net``, which steps. The discriminators' power iteration advances once for each of the two: twice an update,
    whatever ``accumulate`` is. Real and fake pass apart, and batch norm always uses the statistics of the batch in
    hand: with ``accumulate`` of one of its batches.

    Under ``16-mixed`` one gradient scaler serves the three optimisers: each has a backward pass of its own, is unscaled
    and clipped by itself, and may change the scale for the next. An update of one that overflows is left out for that
    one alone, while the others step, the step counts and the rate goes on; its Adam doesn't count it.

    A checkpoint written in the middle of an accumulated update doesn't hold its batches: the resumed run makes that
    update of those that follow, and is again at the same batches as an unbroken run from the next update on.

    Args:
        scale: of the network.
        base_channels: of the discriminators (authors: 32).
        relativistic: relativistic average hinge loss (authors) or the plain one.
        lambda_rec: weight of the reconstruction loss.
        lambda_adv: weight of the adversarial losses.
        lambda_fm: weight of the feature-matching losses.
        lambda_d: weight of ``D2``'s part in each of them.
        logit_norm: whether the discriminators' logits are batch-normalised (authors), which keeps both relativistic
            losses at 2 or more and blind to which of real and fake scores higher, see
            :class:`zoo.nets.Discriminator`.
        sync_batchnorm: whether the discriminators' batch norm, and the mean logits of the relativistic losses, are
            taken over all ranks or over each by itself (authors). With it N ranks train as one process with the same
            global batch.
        rates: one for each stage, for all three optimisers; the authors' by default.
        discriminator_rate: the discriminators learn at this multiple of the rate (authors: 1).
        optimizer: see :func:`zoo.optim.create_optimizer`.
        weight_decay: of all three optimisers.
        accumulate: batches for each update.
        clip_norm: the largest norm of the gradient of each optimiser.
        weights: start from these, a name of the zoo or a path.
        switch_state: of ``net``'s optimiser at the switch, ``fresh`` (authors) or ``keep``, see :class:`SRITMModule`.
    """

    arch: ClassVar[str] = "jsigan"
    best: ClassVar[str] = "last"  # the GAN stage is expected to lower PSNR: its best would be its first

    def __init__(
        self,
        scale: Literal[1, 2, 4] = 2,
        base_channels: int = 32,
        relativistic: bool = True,
        lambda_rec: float = 1.0,
        lambda_adv: float = 1.0,
        lambda_fm: float = 0.5,
        lambda_d: float = 0.5,
        logit_norm: bool = True,
        sync_batchnorm: bool = False,
        rates: Sequence[Rate] = AUTHORS_RATES,
        discriminator_rate: float = 1.0,
        optimizer: str = "authors_adam",
        weight_decay: float = 0.0,
        accumulate: int = 1,
        clip_norm: float | None = None,
        weights: str | None = None,
        switch_state: Literal["fresh", "keep"] = "fresh",
    ) -> None:
        net_args: dict[str, Any] = {"scale": scale}
        net = JSINet(**net_args)
        super().__init__(net, net_args, rates, optimizer, weight_decay, accumulate, clip_norm, weights, switch_state)
        self.automatic_optimization = False
        self.D1, self.D2 = (Discriminator(base_channels, logit_norm, sync_batchnorm) for _ in range(2))
        for discriminator in (self.D1, self.D2):
            channels_last_(discriminator)
        mean = mean_over_ranks if sync_batchnorm else torch.mean
        self.hinge_d: Callable[[Tensor, Tensor], Tensor] = hinge_d
        self.hinge_g: Callable[[Tensor, Tensor], Tensor] = hinge_g
        if relativistic:
            self.hinge_d, self.hinge_g = (partial(f, mean=mean) for f in (relativistic_hinge_d, relativistic_hinge_g))
        self.sync_batchnorm = sync_batchnorm
        self.lambda_rec = lambda_rec
        self.lambda_adv = lambda_adv
        self.lambda_fm = lambda_fm
        self.lambda_d = lambda_d
        self.discriminator_rate = discriminator_rate
        for name in ("lambda_rec", "lambda_adv", "lambda_fm", "lambda_d"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigError(f"model.{name} is {getattr(self, name)}: give 0 or more")
        if not 0 < discriminator_rate < inf:
            raise ConfigError(f"model.discriminator_rate is {discriminator_rate}: give more than 0")
        self._held: list[Batch] = []

    @property
    def stages(self) -> int:
        """JSInet, then the GAN."""
        return 2

    def configure_optimizers(self) -> Any:
        """Three optimisers, of ``net``, ``D1`` and ``D2``, from the start."""
        scales = ((self.net, 1.0), (self.D1, self.discriminator_rate), (self.D2, self.discriminator_rate))
        return [
            create_optimizer(
                self.optimizer, [{"params": list(part.parameters()), "rate_scale": scale}], self.weight_decay
            )
            for part, scale in scales
        ]

    def check_data(self, data: Any) -> None:
        """Refuse batches that the second stage can't use; of another data module they show in training."""
        if hasattr(data, "crops"):
            self._check_gan_batch(data.batch_size, data.crops.sizes[-1], data.world_size)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Have loggers count updates of ``net``; in manual optimisation the trainer counts batches for them."""
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.trainer.global_step

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Collect ``accumulate`` batches, then update; returns the loss of ``net`` for an update, else None."""
        # One update of net is one step: without this the trainer counts each optimiser's. It sets these hooks anew
        # for each batch, and a test holds it to that.
        for optimizer in self._three()[1:]:
            optimizer._on_before_step = optimizer._on_after_step = lambda: None
        self._held.append(batch)
        # By the batch's number, as the trainer does in automatic optimisation: a resumed run keeps the rhythm.
        if (batch_idx + 1) % self.accumulate and not self.trainer.is_last_batch:
            return None
        batches, self._held = self._held, []
        losses: dict[str, Tensor] = {}
        if self.stage == 1:
            losses |= self._update_net(batches, self._reconstruction)
        else:
            for held in batches:
                self._check_gan_batch(len(held["hdr"]), held["hdr"].shape[-1], self.trainer.world_size)
            losses |= self._update_discriminators(batches)
            self._advance()
            losses |= self._update_net(batches, self._adversarial)
        # Once and last: what is logged before another hook logs is lost in an epoch's first update.
        self.log_training(**losses)
        return losses["loss"]

    def look_inside(self, net: JSINet, sdr: Tensor) -> tuple[Tensor, dict[str, Panel]]:
        """The layers of the input and what the subnets make of them."""
        return look_inside_jsinet(net, sdr)

    def _three(self) -> list[LightningOptimizer]:
        return cast(list[LightningOptimizer], self.optimizers())

    def _advance(self) -> None:
        self.D1.advance()
        self.D2.advance()

    def _pairs(self) -> list[tuple[nn.Module, Callable[[Tensor], Tensor], float]]:
        """Each discriminator, what it sees of an image, and its weight."""
        return [(self.D1, lambda image: image, 1.0), (self.D2, hr_detail, self.lambda_d)]

    def _update_discriminators(self, batches: list[Batch]) -> dict[str, Tensor]:
        self._advance()
        with torch.no_grad():
            fakes = [self.net(batch["sdr"]) for batch in batches]
        losses = {}
        for name, optimizer, (discriminator, sees, weight) in zip(
            ("d1", "d2"), self._three()[1:], self._pairs(), strict=True
        ):
            self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            total = torch.zeros((), device=self.device)
            for batch, fake in zip(batches, fakes, strict=True):
                real_logit, _ = discriminator(sees(batch["hdr"]))
                fake_logit, _ = discriminator(sees(fake))
                loss = weight * self.hinge_d(real_logit, fake_logit) / len(batches)
                self.manual_backward(loss)
                total += loss.detach()
            optimizer.step()
            self.untoggle_optimizer(optimizer)
            losses[f"loss_{name}"] = total
        return losses

    def _update_net(self, batches: list[Batch], losses: Callable[[Batch], dict[str, Tensor]]) -> dict[str, Tensor]:
        optimizer = self._three()[0]
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        totals: dict[str, Tensor] = {}
        for batch in batches:
            terms = {name: term / len(batches) for name, term in losses(batch).items()}
            self.manual_backward(terms["loss"])
            totals = {name: totals.get(name, 0.0) + term.detach() for name, term in terms.items()}
        optimizer.step()
        self.untoggle_optimizer(optimizer)
        return totals

    def _reconstruction(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": mean_squared_error(self.net(batch["sdr"]), batch["hdr"])}

    def _adversarial(self, batch: Batch) -> dict[str, Tensor]:
        """The generator's loss (JSI-GAN, Eq. 13) and its terms."""
        preds, hdr = self.net(batch["sdr"]), batch["hdr"]
        rec = mean_squared_error(preds, hdr)
        adv, fm = rec.new_zeros(()), rec.new_zeros(())
        for discriminator, sees, weight in self._pairs():
            real_logit, real_maps = discriminator(sees(hdr))
            fake_logit, fake_maps = discriminator(sees(preds))
            adv = adv + weight * self.hinge_g(real_logit, fake_logit)
            fm = fm + weight * feature_matching(real_maps, fake_maps)
        loss = self.lambda_rec * rec + self.lambda_adv * adv + self.lambda_fm * fm
        return {"loss": loss, "loss_rec": rec, "loss_adv": adv, "loss_fm": fm}

    def _check_gan_batch(self, images: int, size: int, ranks: int) -> None:
        """Refuse batches of ``images`` a rank that the second stage learns nothing from."""
        least = ceil(GAN_BATCH / ranks) if self.sync_batchnorm else GAN_BATCH
        if images < least or size != GAN_SIZE:
            raise ConfigError(
                f"the GAN stage takes at least {least} images a rank of {GAN_SIZE}x{GAN_SIZE} HR pixels, "
                f"not {images} of {size}x{size}: set data.batch_size and the second number of data.crop"
            )


def hr_detail(image: Tensor) -> Tensor:
    """The detail layer of a HR picture, as JSInet makes it of its input (JSI-GAN, Eq. 1)."""
    return detail_layer(image, guided_filter(image, border="reflect"), DIVISION_EPS)
