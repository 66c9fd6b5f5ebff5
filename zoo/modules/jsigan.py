"""Training of JSI-GAN: JSInet first, then JSInet against two discriminators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from zoo.modules.jsinet import AUTHORS_RATE
from zoo.nets import Discriminator, JSINet
from zoo.nets.jsinet import DIVISION_EPS
from zoo.ops.guided import detail_layer, guided_filter
from zoo.optim import Rate, create_optimizer

# The second stage runs at a hundredth of 1e-4 and falls in its last four tenths.
AUTHORS_RATES = (AUTHORS_RATE, Rate(1e-6, "tenths"))
GAN_SIZE = 160  # HR pixels; the discriminators give one logit for an image of 129 to 160 lines
GAN_BATCH = 4  # batch norm over one logit for an image: one image has no gradient, two have only its sign


class JSIGANModule(SRITMModule):
    """JSInet (``net``) with discriminators of images (``D1``) and of detail layers (``D2``); defaults are the authors'.

    Stage 1 is :class:`zoo.modules.JSINetModule`'s training; the discriminators rest. In stage 2 an update is, as
    released: one forward of ``net`` serves ``D1`` and ``D2``, which step; a fresh forward on the same data then serves
    ``net``, which steps. The discriminators' power iteration advances once for each of the two. Real and fake pass
    apart, and batch norm always uses the statistics of the batch in hand: of one rank, and with ``accumulate`` of one
    of its batches.

    Args:
        scale: of the network.
        base_channels: of the discriminators (authors: 32).
        relativistic: relativistic average hinge loss (authors) or the plain one.
        lambda_rec: weight of the reconstruction loss.
        lambda_adv: weight of the adversarial losses.
        lambda_fm: weight of the feature-matching losses.
        lambda_d: weight of ``D2``'s part in each of them.
        rates: one for each stage, for all three optimisers; the authors' by default.
        discriminator_rate: the discriminators learn at this multiple of the rate (authors: 1).
        optimizer: see :func:`zoo.optim.create_optimizer`.
        weight_decay: of all three optimisers.
        accumulate: batches for each update.
        clip_norm: the largest norm of the gradient of each optimiser.
        weights: start from these, a name of the zoo or a path.
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
        rates: Sequence[Rate] = AUTHORS_RATES,
        discriminator_rate: float = 1.0,
        optimizer: str = "authors_adam",
        weight_decay: float = 0.0,
        accumulate: int = 1,
        clip_norm: float | None = None,
        weights: str | None = None,
    ) -> None:
        net_args: dict[str, Any] = {"scale": scale}
        super().__init__(JSINet(**net_args), net_args, rates, optimizer, weight_decay, accumulate, clip_norm, weights)
        self.automatic_optimization = False
        self.D1 = Discriminator(base_channels)
        self.D2 = Discriminator(base_channels)
        for discriminator in (self.D1, self.D2):
            channels_last_(discriminator)
        self.hinge_d, self.hinge_g = (
            (relativistic_hinge_d, relativistic_hinge_g) if relativistic else (hinge_d, hinge_g)
        )
        self.lambda_rec = lambda_rec
        self.lambda_adv = lambda_adv
        self.lambda_fm = lambda_fm
        self.lambda_d = lambda_d
        self.discriminator_rate = discriminator_rate
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
            _check_gan_batch(data.batch_size, data.crops.sizes[-1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Collect ``accumulate`` batches, then update; returns the loss of ``net`` for an update, else None."""
        # One update of net is one step: without this the trainer counts each optimiser's. It sets these hooks anew
        # for each batch, and a test holds it to that.
        for optimizer in self._three()[1:]:
            optimizer._on_before_step = optimizer._on_after_step = lambda: None
        self._held.append(batch)
        if len(self._held) < self.accumulate and not self.trainer.is_last_batch:
            return None
        batches, self._held = self._held, []
        if self.stage == 1:
            return self._update_net(batches, self._reconstruction)
        for held in batches:
            _check_gan_batch(len(held["hdr"]), held["hdr"].shape[-1])
        self._update_discriminators(batches)
        self._advance()
        return self._update_net(batches, self._adversarial)

    def _three(self) -> list[LightningOptimizer]:
        return cast(list[LightningOptimizer], self.optimizers())

    def _advance(self) -> None:
        self.D1.advance()
        self.D2.advance()

    def _pairs(self) -> list[tuple[nn.Module, Callable[[Tensor], Tensor], float]]:
        """Each discriminator, what it sees of an image, and its weight."""
        return [(self.D1, lambda image: image, 1.0), (self.D2, hr_detail, self.lambda_d)]

    def _update_discriminators(self, batches: list[Batch]) -> None:
        self._advance()
        with torch.no_grad():
            fakes = [self.net(batch["sdr"]) for batch in batches]
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
            self.log_training(**{f"loss_{name}": total})

    def _update_net(self, batches: list[Batch], losses: Callable[[Batch], dict[str, Tensor]]) -> Tensor:
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
        self.log_training(**totals)
        return totals["loss"]

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


def hr_detail(image: Tensor) -> Tensor:
    """The detail layer of a HR picture, as JSInet makes it of its input (JSI-GAN, Eq. 1)."""
    return detail_layer(image, guided_filter(image, border="reflect"), DIVISION_EPS)


def _check_gan_batch(images: int, size: int) -> None:
    if images < GAN_BATCH or size != GAN_SIZE:
        raise ConfigError(
            f"the GAN stage takes at least {GAN_BATCH} images a rank of {GAN_SIZE}x{GAN_SIZE} HR pixels, "
            f"not {images} of {size}x{size}: set data.batch_size and the second number of data.crop"
        )
