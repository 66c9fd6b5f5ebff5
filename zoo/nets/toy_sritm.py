"""The toy network of Deep SR-ITM's ablations (ICCV 2019, section 3.4, Fig. 4): one to three passes, few blocks.

Its code isn't released and the paper doesn't give its depth. This is a reading: what the paper says of it (bicubic and
local residuals, skips from pass to pass, a modulation of each pass, decomposed input), in the words of the full network
with m = 1 and n = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import init

from zoo.errors import ConfigError
from zoo.nets.blocks import InputConv, OutputConv, ResBlock, conv3x3, init_convs
from zoo.nets.deep_sritm import (
    apply_block,
    decompose,
    feature_block,
    is_modulation,
    modulation_features,
    upsampling,
)
from zoo.ops.pictures import check_pictures
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

Layer = Literal["image", "base", "detail"]
"""What a pass may read: the picture, its base layer, its detail layer."""

DEEP_SRITM_INPUTS: Sequence[Sequence[Layer]] = (("image", "base"), ("image", "detail"))


class ToyPass(nn.Module):
    """Convolution, residual block, and a second block that may read the pass before it and may be modulated.

    Args:
        in_channels: of what the pass reads.
        channels: of its features.
        skip: whether there is a pass before it to read.
        modulation_channels: of what its modulation reads; None without modulation.
    """

    def __init__(self, in_channels: int, channels: int, skip: bool, modulation_channels: int | None) -> None:
        super().__init__()
        self.modulation_features = (
            modulation_features(modulation_channels, channels) if modulation_channels is not None else None
        )
        self.first = InputConv(in_channels, channels)
        self.blocks = nn.ModuleList(
            [ResBlock(channels), feature_block(channels, skip, modulation_channels is not None)]
        )

    def forward(self, x: Tensor, before: Tensor | None, modulation_input: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features after the first block, which the next pass reads, and after the second.

        Args:
            x: ``(B, in_channels, H, W)``.
            before: those after the first block of the pass before this one.
            modulation_input: ``(B, modulation_channels, H, W)``; None leaves the modulation out.
        """
        smf = None
        if modulation_input is not None and self.modulation_features is not None:
            smf = self.modulation_features(modulation_input)
        middle = self.blocks[0](self.first(x))
        return middle, apply_block(self.blocks[1], middle, before, smf)


class ToySRITM(nn.Module):
    """The toy network::

        base = guided(x);  detail = x / base
        F_k  = pass k of the layers that it reads, and of pass k - 1
        pred = bicubic(x) + synthesis(fusion([F_1, F_2, ...]))

    Stages as for :class:`zoo.nets.DeepSRITM`: ``modulation_on`` says whether :meth:`forward` modulates.

    Args:
        scale: HR over LR size.
        modulation: whether each pass is modulated.
        inputs: the layers that each pass reads, of ``image``, ``base`` and ``detail``; their number is the passes'.
        modulation_inputs: the layers that the modulation of each pass reads; those of the pass itself by default.
        channels: of every hidden convolution.

    Attributes:
        halo: rows and columns of the input, to each side, that an output pixel depends on.

    Raises:
        ConfigError: another scale, no channels, no pass, a pass without a layer or with an unknown one, or modulation
            inputs of another number of passes.
    """

    input_signal: ClassVar[Signal] = SDR_VIDEO
    output_signal: ClassVar[Signal] = HDR10_VIDEO

    def __init__(
        self,
        scale: Literal[1, 2, 4] = 2,
        modulation: bool = True,
        inputs: Sequence[Sequence[Layer]] = DEEP_SRITM_INPUTS,
        modulation_inputs: Sequence[Sequence[Layer]] | None = None,
        channels: int = 64,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ConfigError(f"ToySRITM has no scale {scale!r}; use 1, 2 or 4")
        if channels < 1:
            raise ConfigError(f"ToySRITM can't have {channels} channels; use 1 or more")
        self.scale = scale
        self.halo = (15, 15)  # 4 of the guided filter, 5 convolutions of a pass, 3 of the fusion, 3 of the synthesis
        self.inputs = _checked("inputs", inputs)
        self.modulation_inputs = _checked(
            "modulation_inputs", inputs if modulation_inputs is None else modulation_inputs
        )
        if len(self.modulation_inputs) != len(self.inputs):
            raise ConfigError(
                f"ToySRITM has {len(self.inputs)} passes and modulation_inputs for {len(self.modulation_inputs)}; "
                "give one for each"
            )
        self.modulation_on = self.modulation = modulation
        self.passes = nn.ModuleList(
            ToyPass(3 * len(read), channels, number > 0, 3 * len(modulated) if modulation else None)
            for number, (read, modulated) in enumerate(zip(self.inputs, self.modulation_inputs, strict=True))
        )
        self.fusion = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(len(self.inputs) * channels, channels, 1),
            conv3x3(channels, channels),
            ResBlock(channels),
        )
        self.upsampling = upsampling(channels, scale)
        self.head = OutputConv(channels, 3)
        init_convs(self, init.xavier_normal_)

    def modulation_parameters(self) -> dict[str, nn.Parameter]:
        """The tensors that only the modulation uses, by name; empty without modulation."""
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
        base, detail = decompose(x)
        layers = {"image": x, "base": base, "detail": detail}
        before: Tensor | None = None
        ends = []
        for each, read, modulated in zip(self.passes, self.inputs, self.modulation_inputs, strict=True):
            before, end = each(
                torch.cat([layers[name] for name in read], dim=1),
                before,
                torch.cat([layers[name] for name in modulated], dim=1) if self.modulation_on else None,
            )
            ends.append(end)
        pred = imresize(x, self.scale) + self.head(self.upsampling(self.fusion(torch.cat(ends, dim=1))))
        return pred.to(next(self.parameters()).dtype)


def _checked(name: str, inputs: Sequence[Sequence[Layer]]) -> tuple[tuple[Layer, ...], ...]:
    """What passes read, as tuples."""
    known = get_args(Layer)
    if not inputs or not all(inputs) or any(layer not in known for read in inputs for layer in read):
        raise ConfigError(
            f"ToySRITM's {name} are {[list(read) for read in inputs]}; list some of {', '.join(known)} for each pass"
        )
    return tuple(tuple(read) for read in inputs)
