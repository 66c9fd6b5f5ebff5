"""Deep SR-ITM (Kim, Oh, Kim: ICCV 2019): base and detail passes, joined by skips, with spatially variant modulation.

Where the paper and the authors' released code differ, this is the code: skips concatenate the base pass's features
first, and the guided filter repeats the border.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import init

from zoo.errors import ConfigError
from zoo.nets.blocks import InputConv, OutputConv, ResBlock, conv3x3, init_convs
from zoo.ops.guided import detail_layer, guided_filter
from zoo.ops.pictures import check_pictures
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

_DIVISION_EPS = 2.220446049250313e-16  # MATLAB's eps
_PASS_BLOCKS = 6  # residual blocks of each pass; every second one is modulated (the paper's m = 3)
_FUSION_BLOCKS = 10  # the paper's n


class ResModBlock(ResBlock):
    """Residual block whose residual is scaled by a map from the shared modulation features (Eq. 5).

    The map is unbounded and starts near 0, so a fresh map all but switches the residual off.

    Shape: x and smf ``(B, channels, H, W)``; returns the same. Without smf it is a plain residual block.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.modulation = _modulation(channels)

    def forward(self, x: Tensor, smf: Tensor | None = None) -> Tensor:
        residual = self.residual(x)
        return x + (residual if smf is None else residual * self.modulation(smf))


class ResSkipBlock(nn.Module):
    """Residual block of the detail pass that also reads the base pass: ``x + skip(x, y)`` (Eq. 7).

    Shape: x and y, the base pass's features, ``(B, channels, H, W)``; returns the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 1),
            conv3x3(channels, channels),
            nn.ReLU(inplace=True),
            conv3x3(channels, channels),
        )

    def skip(self, x: Tensor, y: Tensor) -> Tensor:
        """The residual, from the base pass's features first and the detail pass's own second."""
        return self.residual(torch.cat([y, x], dim=1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.skip(x, y)


class ResSkipModBlock(ResSkipBlock):
    """:class:`ResSkipBlock` whose residual is scaled by a map from the shared modulation features (Eq. 8).

    Shape: x, y and smf ``(B, channels, H, W)``; returns the same. Without smf it is a plain :class:`ResSkipBlock`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.modulation = _modulation(channels)

    def forward(self, x: Tensor, y: Tensor, smf: Tensor | None = None) -> Tensor:
        residual = self.skip(x, y)
        return x + (residual if smf is None else residual * self.modulation(smf))


def feature_block(channels: int, skip: bool, modulation: bool) -> nn.Module:
    """A block of a pass: one that reads the pass before it or not, with a modulation branch or not."""
    if skip:
        return ResSkipModBlock(channels) if modulation else ResSkipBlock(channels)
    return ResModBlock(channels) if modulation else ResBlock(channels)


def apply_block(block: nn.Module, x: Tensor, y: Tensor | None, smf: Tensor | None) -> Tensor:
    """Call a :func:`feature_block` with those of features, other pass's features and modulation that it takes."""
    skip = [y] if isinstance(block, ResSkipBlock) else []
    modulation = [smf] if isinstance(block, ResModBlock | ResSkipModBlock) else []
    return block(x, *skip, *modulation)


class BasePass(nn.Module):
    """Features of the picture beside its base layer (Eq. 2 to 6)."""

    def __init__(self, channels: int, modulation: bool) -> None:
        super().__init__()
        self.modulation_features = modulation_features(6, channels) if modulation else None
        self.first = InputConv(6, channels)
        self.blocks = nn.ModuleList(
            feature_block(channels, False, modulation and i % 2 == 1) for i in range(_PASS_BLOCKS)
        )

    def forward(self, x: Tensor, modulate: bool) -> list[Tensor]:
        """Features ``(B, channels, H, W)`` after each block, from picture and base layer ``(B, 6, H, W)``."""
        smf = self.modulation_features(x) if modulate and self.modulation_features is not None else None
        x = self.first(x)
        features = []
        for block in self.blocks:
            x = apply_block(block, x, None, smf)
            features.append(x)
        return features


class DetailPass(nn.Module):
    """Features of the picture beside its detail layer; each block but the first reads the base pass (Eq. 7 to 9).

    Args:
        skips: whether they do.
    """

    def __init__(self, channels: int, modulation: bool, skips: bool = True) -> None:
        super().__init__()
        self.modulation_features = modulation_features(6, channels) if modulation else None
        self.first = InputConv(6, channels)
        self.blocks = nn.ModuleList([ResBlock(channels)])
        self.blocks.extend(feature_block(channels, skips, modulation and i % 2 == 1) for i in range(1, _PASS_BLOCKS))

    def forward(self, x: Tensor, base_features: list[Tensor], modulate: bool) -> Tensor:
        """Features ``(B, channels, H, W)`` from picture and detail layer ``(B, 6, H, W)``.

        Args:
            base_features: of the base pass, after each of its blocks; a block here reads those of one block earlier.
        """
        smf = self.modulation_features(x) if modulate and self.modulation_features is not None else None
        x = self.blocks[0](self.first(x))
        for block, y in zip(self.blocks[1:], base_features[:-1], strict=True):
            x = apply_block(block, x, y, smf)
        return x


class DeepSRITMComponents(NamedTuple):
    """What a prediction comes of; features are ``(B, channels, H, W)``, named as in Fig. 3.

    Attributes:
        pred: prediction ``(B, 3, scale H, scale W)`` on the output signal, unclipped.
        base: base layer of the input ``(B, 3, H, W)``.
        detail: detail layer of the input ``(B, 3, H, W)``.
        conv1_base: features after the first convolution of the base pass.
        conv1_detail: features after that of the detail pass.
        FE_b: features that the base pass ends in.
        FE_d: features that the detail pass ends in.
        y_f: features that the fusion ends in.
        modulation_base: map of the base pass's first modulated block (the paper's RMB1); None while it is off.
        modulation_detail: map of the detail pass's first modulated block (RSMB1); None while it is off.
    """

    pred: Tensor
    base: Tensor
    detail: Tensor
    conv1_base: Tensor
    conv1_detail: Tensor
    FE_b: Tensor
    FE_d: Tensor
    y_f: Tensor
    modulation_base: Tensor | None
    modulation_detail: Tensor | None


# Where in the network the features of DeepSRITMComponents come out.
_FEATURES = {
    "conv1_base": "base.first",
    "conv1_detail": "detail.first",
    "FE_b": f"base.blocks.{_PASS_BLOCKS - 1}",
    "FE_d": f"detail.blocks.{_PASS_BLOCKS - 1}",
    "y_f": "fusion",
    "modulation_base": "base.blocks.1.modulation",
    "modulation_detail": "detail.blocks.1.modulation",
}


class DeepSRITM(nn.Module):
    """Deep SR-ITM::

        base   = guided(x);  detail = x / base
        FE_b   = base pass([x, base]);  FE_d = detail pass([x, detail], features of the base pass)
        pred   = bicubic(x) + synthesis(fusion([FE_b, FE_d]))

    Training is in two stages, without and then with modulation; ``modulation_on`` says which, and may be set at any
    time. While it is off, the modulation branches aren't computed, so their parameters get no gradient.

    Args:
        scale: HR over LR size. Scale 1 is ours: inverse tone mapping alone, by the same graph.
        modulation: whether the network has the 36 modulation tensors.
        channels: of every hidden convolution, 64 in the paper.
        decomposition: whether there is a guided filter; without it, as in the paper's ablation (Table 3), both passes
            read the picture twice.
        skips: whether the detail pass reads the base pass (likewise).

    Attributes:
        halo: rows and columns of the input, to each side, that an output pixel depends on.

    Raises:
        ConfigError: another scale, or no channels.
    """

    input_signal: ClassVar[Signal] = SDR_VIDEO
    output_signal: ClassVar[Signal] = HDR10_VIDEO
    half_precision: ClassVar[tuple[torch.dtype, ...]] = (torch.bfloat16, torch.float16)

    def __init__(
        self,
        scale: Literal[1, 2, 4] = 2,
        modulation: bool = True,
        channels: int = 64,
        decomposition: bool = True,
        skips: bool = True,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ConfigError(f"DeepSRITM has no scale {scale!r}; use 1, 2 or 4")
        if channels < 1:
            raise ConfigError(f"DeepSRITM can't have {channels} channels; use 1 or more (the paper: 64)")
        self.scale = scale
        # 4 of the guided filter, 13 convolutions of a pass, 21 of the fusion, 3 of the synthesis.
        self.halo = (41, 41)
        self.decomposition = decomposition
        self.modulation = modulation
        self._modulation_on = modulation
        self.base = BasePass(channels, modulation)
        self.detail = DetailPass(channels, modulation, skips)
        self.fusion = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 1),
            conv3x3(channels, channels),
            *(ResBlock(channels) for _ in range(_FUSION_BLOCKS)),
        )
        self.upsampling = upsampling(channels, scale)
        self.head = OutputConv(channels, 3)
        init_convs(self, init.xavier_normal_)

    @property
    def modulation_on(self) -> bool:
        """Whether :meth:`forward` modulates.

        Raises:
            ConfigError: it is set although the network was built without modulation.
        """
        return self._modulation_on

    @modulation_on.setter
    def modulation_on(self, on: bool) -> None:
        if on and not self.modulation:
            raise ConfigError("this DeepSRITM has no modulation tensors to switch on; build it with modulation=True")
        self._modulation_on = on

    @staticmethod
    def arguments_of(names: Iterable[str]) -> dict[str, Any]:
        """Constructor arguments that a state dict with these names tells of: whether there is a modulation."""
        return {"modulation": any(is_modulation(name) for name in names)}

    def modulation_parameters(self) -> dict[str, nn.Parameter]:
        """The 36 tensors that only the modulation uses, by name; empty without modulation."""
        return {name: parameter for name, parameter in self.named_parameters() if is_modulation(name)}

    def forward(self, x: Tensor) -> Tensor:
        """Convert LR SDR to HR HDR.

        Args:
            x: ``(B, 3, H, W)`` on ``input_signal``, of any size and float type.

        Returns:
            ``(B, 3, scale H, scale W)`` on ``output_signal``, unclipped, in the parameters' type.

        Raises:
            SignalError: ``x`` has another shape, or isn't float.
        """
        check_pictures(x, self.input_signal)
        base, detail = self._layers(x)
        base_features = self.base(torch.cat([x, base], dim=1), self.modulation_on)
        detail_features = self.detail(torch.cat([x, detail], dim=1), base_features, self.modulation_on)
        fused = self.fusion(torch.cat([base_features[-1], detail_features], dim=1))
        del base_features, detail_features  # 7 maps, which the synthesis has better use for
        pred = imresize(x, self.scale) + self.head(self.upsampling(fused))
        return pred.to(next(self.parameters()).dtype)

    def _layers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return decompose(x) if self.decomposition else (x, x)

    def components(self, x: Tensor) -> DeepSRITMComponents:
        """The prediction and what it comes of; ``x`` as in :meth:`forward`.

        Listens to :meth:`forward`, which so keeps no more features in memory than it needs.
        """
        check_pictures(x, self.input_signal)
        seen: dict[str, Tensor] = {}
        # A network without modulation has no such part.
        parts = {name: part for name, path in _FEATURES.items() if (part := dict(self.named_modules()).get(path))}
        hooks = [
            part.register_forward_hook(lambda module, args, output, name=name: seen.update({name: output}))
            for name, part in parts.items()
        ]
        try:
            pred = self.forward(x)  # not __call__: where the network is compiled, hooks aren't heard
        finally:
            for hook in hooks:
                hook.remove()
        base, detail = self._layers(x)
        return DeepSRITMComponents(pred, base, detail, *(seen.get(name) for name in _FEATURES))  # type: ignore[arg-type]


def decompose(x: Tensor) -> tuple[Tensor, Tensor]:
    """Base and detail layer of a picture, at least float32."""
    base = guided_filter(x, border="replicate")
    return base, detail_layer(x, base, _DIVISION_EPS)


def is_modulation(name: str) -> bool:
    """Whether only the modulation uses the tensor of that name."""
    return ".modulation" in name


def upsampling(channels: int, scale: int) -> nn.Sequential:
    """From fused features to those at HR size."""
    layers = nn.Sequential(nn.ReLU(), conv3x3(channels, channels), nn.ReLU(inplace=True))
    for step in {1: (1,), 2: (2,), 4: (2, 2)}[scale]:
        layers.extend([conv3x3(channels, step**2 * channels), nn.ReLU(inplace=True), nn.PixelShuffle(step)])
    return layers


def modulation_features(in_channels: int, channels: int) -> nn.Sequential:
    """Shared modulation features of a pass (Eq. 4)."""
    return nn.Sequential(
        InputConv(in_channels, channels),
        nn.ReLU(inplace=True),
        conv3x3(channels, channels),
        nn.ReLU(inplace=True),
        conv3x3(channels, channels),
        nn.ReLU(inplace=True),
    )


def _modulation(channels: int) -> nn.Sequential:
    """From shared modulation features to one block's map."""
    return nn.Sequential(conv3x3(channels, channels), nn.ReLU(inplace=True), conv3x3(channels, channels))
