"""Training of Deep SR-ITM: first without modulation, then with it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import init

from zoo.errors import ConfigError
from zoo.losses import clipped_half_sse, mean_absolute_error, mean_squared_error
from zoo.modules.base import Batch, SRITMModule, build
from zoo.nets import DeepSRITM
from zoo.nets.deep_sritm import ResModBlock, ResSkipModBlock
from zoo.nets.toy_sritm import ToySRITM
from zoo.optim import Rate, create_optimizer
from zoo.pictures import Panel, map_panel, sdr_panel
from zoo.weights import load_tensors

LOSSES = {"half_sse": clipped_half_sse, "mse": mean_squared_error, "mae": mean_absolute_error}
# As released; the paper gives 5e-7 for both. Ten times lower after 250 and 260 of the second stage's 270 epochs.
AUTHORS_RATES = (Rate(5e-7), Rate(1e-7, "steps", at=[250 / 270, 260 / 270]))


class DeepSRITMModule(SRITMModule):
    """Deep SR-ITM in two stages; defaults are the authors' where paper and release agree, else the release's.

    Stage 1 trains the base network: the forward leaves the modulation out, and its 36 tensors get no gradient and stay
    as they are to the bit. Stage 2 trains everything. The released script falls back to SGD by an oversight
    (``optimizer="sgd"``); the paper says Adam, the default here.

    Args:
        scale: of the network.
        modulation: ``False`` trains the base network alone, in one stage.
        loss: ``half_sse`` (authors), ``mse`` or ``mae``.
        rates: one for each stage, for kernels; the authors' by default.
        bias_rate: biases learn at this share of the rate (authors: 0.1).
        optimizer: see :func:`zoo.optim.create_optimizer`.
        weight_decay: of kernels; biases have none. With a mean loss the authors' 5e-4 stands for 5e-4 / (3 H W / 2).
        accumulate: batches for each update.
        clip_norm: the largest norm of the gradient.
        weights: start from these, a name of the zoo or a path; those of a base network leave the modulation fresh.
        start: of the modulation's fresh maps. ``authors``: near 0, so that the switch all but turns off the residuals
            of six blocks, which have to grow back. ``identity``: exactly 1, so that the network just after the switch
            gives what it gave before it.
        switch_state: of the optimiser at the switch, ``fresh`` (authors) or ``keep``, see :class:`SRITMModule`.
        net_options: further arguments of the network, such as those of the paper's ablations.

    Raises:
        ConfigError: a start of maps without modulation, or arguments that the network doesn't take.
    """

    arch: ClassVar[str] = "deep_sritm"
    network: ClassVar[type[nn.Module]] = DeepSRITM

    def __init__(
        self,
        scale: Literal[1, 2, 4] = 2,
        modulation: bool = True,
        loss: Literal["half_sse", "mse", "mae"] = "half_sse",
        rates: Sequence[Rate] = AUTHORS_RATES,
        bias_rate: float = 0.1,
        optimizer: str = "authors_adam",
        weight_decay: float = 5e-4,
        accumulate: int = 1,
        clip_norm: float | None = None,
        weights: str | None = None,
        start: Literal["authors", "identity"] = "authors",
        switch_state: Literal["fresh", "keep"] = "fresh",
        net_options: dict[str, Any] | None = None,
    ) -> None:
        self.modulation = modulation
        net, net_args = build(self.network, {"scale": scale, "modulation": modulation}, net_options)
        # Here and not at the switch: a resumed run has nothing to do again, and weights that are given go before it.
        if start == "identity":
            if not modulation:
                raise ConfigError("model.start is identity, but model.modulation is false: there are no maps to start")
            maps_to_one_(net)
        super().__init__(net, net_args, rates, optimizer, weight_decay, accumulate, clip_norm, weights, switch_state)
        self.loss = LOSSES[loss]
        if not 0 <= bias_rate < inf:
            raise ConfigError(f"model.bias_rate is {bias_rate}: give 0 or more")
        self.bias_rate = bias_rate
        self.net.modulation_on = modulation and self.stage == 2

    @property
    def stages(self) -> int:
        """Two with modulation, else one."""
        return 2 if self.modulation else 1

    def enter_stage(self, stage: int) -> None:
        """Also switch the modulation."""
        super().enter_stage(stage)
        self.net.modulation_on = self.modulation and stage == 2

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also restore the modulation's switch."""
        super().on_load_checkpoint(checkpoint)
        self.net.modulation_on = self.modulation and self.stage == 2

    def published_weights(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Without the modulation where it is still off."""
        tensors, args = super().published_weights()
        if self.net.modulation_on:
            return tensors, args
        modulation = self.net.modulation_parameters()
        return {k: v for k, v in tensors.items() if k not in modulation}, {**args, "modulation": False}

    def start_from(self, weights: str) -> None:
        """Also take a base network's weights: the modulation stays fresh."""
        tensors = self.read_start(weights)
        modulation = self.net.modulation_parameters()
        if modulation.keys().isdisjoint(tensors):
            tensors |= modulation
        load_tensors(self.net, tensors, weights)

    def configure_optimizers(self) -> Any:
        """Kernels and biases apart, and those of the modulation, which joins later, from the others."""
        modulation = self.net.modulation_parameters()
        base = [p for name, p in self.net.named_parameters() if name not in modulation]
        groups = []
        for parameters in (base, list(modulation.values())):
            kernels, biases = ([p for p in parameters if p.ndim == ndim] for ndim in (4, 1))
            groups.append({"params": kernels, "weight_decay": self.weight_decay})
            groups.append({"params": biases, "weight_decay": 0.0, "rate_scale": self.bias_rate})
        return create_optimizer(self.optimizer, [group for group in groups if group["params"]])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One update of ``net``."""
        loss = self.loss(self.net(batch["sdr"]), batch["hdr"])
        self.log_training(loss=loss)
        return loss

    def look_inside(self, net: DeepSRITM, sdr: Tensor) -> tuple[Tensor, dict[str, Panel]]:
        """Layers, features (the paper's Fig. 8) and, while it is on, modulation maps (Fig. 6).

        Of features and maps the mean over their channels is drawn, of the detail layer the luma: the paper doesn't say
        what its figures show. Maps are also drawn in greys, which show structure where the whole map is far from 1.
        """
        parts = net.components(sdr[None])
        panels = {
            "base": sdr_panel(parts.base[0], net.scale),
            "detail": map_panel(parts.detail[0, 0], net.scale, neutral=1),
        }
        for name in ("conv1_base", "conv1_detail", "FE_b", "FE_d", "y_f"):
            panels[name] = map_panel(getattr(parts, name)[0].mean(0), net.scale)
        for name in ("modulation_base", "modulation_detail"):
            if (modulation := getattr(parts, name)) is not None:
                panels[name] = map_panel(modulation[0].mean(0), net.scale, neutral=1)
                panels[f"{name}_grey"] = map_panel(modulation[0].mean(0), net.scale)
        return parts.pred[0], panels


class ToySRITMModule(DeepSRITMModule):
    """The toy network of Deep SR-ITM's ablations, trained as :class:`DeepSRITMModule`; it isn't in the zoo.

    The paper's rate for it is 1e-6, in both stages.
    """

    arch: ClassVar[str] = "toy_sritm"
    network: ClassVar[type[nn.Module]] = ToySRITM

    def look_inside(self, net: Any, sdr: Tensor) -> tuple[Tensor, dict[str, Panel]]:
        """The prediction alone."""
        return net(sdr[None])[0], {}


def maps_to_one_(net: nn.Module) -> None:
    """Set the last convolution of each modulation branch so that its map is 1 whatever it is given, until it learns."""
    for block in net.modules():
        if isinstance(block, ResModBlock | ResSkipModBlock):
            weight, bias = block.modulation[-1].parameters()
            init.zeros_(weight)
            init.ones_(bias)
