"""Metrics by their names, and several of them in one pass over the frames."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.errors import ConfigError
from zoo.metrics.base import FrameMean, FrameMetric, PixelMetric, Protocol, score_pixels
from zoo.metrics.cvvdp import ColorVideoVDP
from zoo.metrics.delta_e_itp import DeltaEITP
from zoo.metrics.frames import FramePair
from zoo.metrics.hdr_vdp import HDRVDP2, HDRVDP3
from zoo.metrics.mpsnr import MPSNR
from zoo.metrics.psnr import PSNR, PSNRRGB, MatchedPSNR
from zoo.metrics.pu21 import PU21PSNR, PU21SSIM
from zoo.metrics.sr_sim import SRSIM
from zoo.metrics.ssim import SSIM, MultiScaleSSIM, VolumeSSIM
from zoo.signal import HDR10_VIDEO, Signal

METRICS: dict[str, type[FrameMetric]] = {
    "psnr": PSNR,
    "psnr_rgb": PSNRRGB,
    "psnr_matched": MatchedPSNR,
    "mpsnr": MPSNR,
    "ssim": SSIM,
    "ssim_volume": VolumeSSIM,
    "ms_ssim": MultiScaleSSIM,
    "delta_e_itp": DeltaEITP,
    "pu21_psnr": PU21PSNR,
    "pu21_ssim": PU21SSIM,
    "sr_sim": SRSIM,
    "cvvdp": ColorVideoVDP,
    "hdr_vdp2": HDRVDP2,
    "hdr_vdp3": HDRVDP3,
}
"""The metrics that a name on a command line may mean."""


def create(name: str, signal: Signal = HDR10_VIDEO, **kwargs: Any) -> FrameMetric:
    """Build a metric by its name.

    Args:
        name: a key of ``METRICS``.
        signal: what predictions and truths are on.
        kwargs: what the class takes.

    Raises:
        ConfigError: no metric of that name, or what the metric needs isn't installed.
        SignalError: ``signal`` isn't HDR.
    """
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"no metric {name!r}; {hint}Known: {', '.join(METRICS)}")
    return METRICS[name](signal=signal, **kwargs)


class Suite(nn.Module):
    """Several metrics that share what they make of a frame.

    Args:
        names: keys of ``METRICS``, in the order of the table.
        signal: what predictions and truths are on.

    Attributes:
        metrics: the metrics by name; their own states stay empty.

    Raises:
        ConfigError: an unknown name, or a metric that can't run here.
        SignalError: ``signal`` isn't HDR.
    """

    def __init__(self, names: Iterable[str], signal: Signal = HDR10_VIDEO) -> None:
        super().__init__()
        self.signal = signal
        self.metrics = {name: create(name, signal) for name in names}
        self.means = nn.ModuleDict({name: FrameMean() for name in self.metrics})

    @property
    def protocols(self) -> dict[str, Protocol]:
        """What each figure means."""
        return {name: metric.protocol for name, metric in self.metrics.items()}

    @torch.no_grad()
    def score(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Scores of the frames of a batch, without adding them to the set's.

        Args:
            preds: ``(B, 3, H, W)``, code / ``signal.peak``, unclipped. Large frames are best given one by one.
            target: same shape, code / ``signal.peak``.

        Returns:
            For each metric ``(B,)`` in float64.

        Raises:
            SignalError: the shapes differ, or the values are integers.
            DataError: values that can't be scored, or frames too small for one of the metrics.
        """
        pair = FramePair(preds, target, self.signal)
        pair.check_values()
        pixelwise = {name: metric for name, metric in self.metrics.items() if isinstance(metric, PixelMetric)}
        scores = dict(zip(pixelwise, score_pixels(list(pixelwise.values()), pair), strict=True))
        return {
            name: scores[name] if name in scores else metric.score_pair(pair) for name, metric in self.metrics.items()
        }

    def update(self, preds: Tensor, target: Tensor) -> dict[str, Tensor]:
        """``score``, and add the frames to the set; nothing is added if one metric refuses them."""
        scores = self.score(preds, target)
        for name, mean in self._means().items():
            mean.update(scores[name])
        return scores

    def compute(self) -> dict[str, Tensor]:
        """The set's figures, over all ranks."""
        return {name: mean.compute() for name, mean in self._means().items()}

    def reset(self) -> None:
        """Forget the frames."""
        for mean in self._means().values():
            mean.reset()

    def _means(self) -> dict[str, FrameMean]:
        return cast(dict[str, FrameMean], dict(self.means.items()))
