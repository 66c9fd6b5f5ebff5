"""Training of JSInet alone: JSI-GAN's first stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor

from zoo.losses import mean_absolute_error, mean_squared_error
from zoo.modules.base import Batch, SRITMModule, build
from zoo.nets import JSINet
from zoo.optim import Rate
from zoo.pictures import Panel, map_panel, sdr_panel

LOSSES = {"mse": mean_squared_error, "mae": mean_absolute_error}
# Ten times lower after 200 and after 225 of 250 epochs (JSI-GAN, Implementation Details).
AUTHORS_RATE = Rate(1e-4, "steps", at=[0.8, 0.9])


class JSINetModule(SRITMModule):
    """JSInet by its reconstruction loss; defaults are the authors'.

    Args:
        scale: of the network.
        loss: ``mse`` (authors) or ``mae``.
        rates: one rate; the authors' by default.
        optimizer: see :func:`zoo.optim.create_optimizer`.
        weight_decay: of the optimiser.
        accumulate: batches for each update.
        clip_norm: the largest norm of the gradient.
        weights: start from these, a name of the zoo or a path.
        net_options: further arguments of the network, such as those of the paper's ablation.

    Raises:
        ConfigError: arguments that the network doesn't take.
    """

    arch: ClassVar[str] = "jsinet"

    def __init__(
        self,
        scale: Literal[1, 2, 4] = 2,
        loss: Literal["mse", "mae"] = "mse",
        rates: Sequence[Rate] = (AUTHORS_RATE,),
        optimizer: str = "authors_adam",
        weight_decay: float = 0.0,
        accumulate: int = 1,
        clip_norm: float | None = None,
        weights: str | None = None,
        net_options: dict[str, Any] | None = None,
    ) -> None:
        net, net_args = build(JSINet, {"scale": scale}, net_options)
        super().__init__(net, net_args, rates, optimizer, weight_decay, accumulate, clip_norm, weights)
        self.loss = LOSSES[loss]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One update of ``net``."""
        loss = self.loss(self.net(batch["sdr"]), batch["hdr"])
        self.log_training(loss=loss)
        return loss

    def look_inside(self, net: JSINet, sdr: Tensor) -> tuple[Tensor, dict[str, Panel]]:
        """The layers of the input and what the subnets make of them."""
        return look_inside_jsinet(net, sdr)


def look_inside_jsinet(net: JSINet, sdr: Tensor) -> tuple[Tensor, dict[str, Panel]]:
    """What JSI-GAN's Fig. 4 shows (I, D and C; P is the prediction), beside the layers of the input.

    In the luma alone: I is no picture in itself, since C scales the codes of its chroma, whose grey isn't 0. The paper
    shows 64 ``|D|``; here it keeps its sign.
    """
    parts = net.components(sdr[None])
    return parts.pred[0], {
        "base": sdr_panel(parts.base[0], net.scale),
        "detail": map_panel(parts.detail[0, 0], net.scale, neutral=1),
        "I": map_panel(parts.I[0, 0]),
        "D": map_panel(parts.D[0, 0], neutral=0),
        "C": map_panel(parts.C[0, 0], neutral=1),
    }
