"""ColorVideoVDP (Mantiuk et al., SIGGRAPH 2024) through its authors' package, extra ``metrics``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.color.transfer import PQ_PEAK
from zoo.errors import ConfigError
from zoo.metrics.base import CLIPPED_CODES, FrameMetric, Protocol
from zoo.metrics.frames import FramePair
from zoo.precision import without_autocast
from zoo.signal import HDR10_VIDEO, Signal

# A 30-inch 4K display seen from twice its height in a dim room: the package's "standard_hdr_pq" but for its peak of
# 1500 cd/m², beyond which it is blind (highlights of 4000 cd/m² and more cut to 4000 score perfect).
_RESOLUTION = (3840, 2160)
_DIAGONAL_INCHES = 30
_DISTANCE_METRES = 0.7472
_CONTRAST = 1e6
_AMBIENT_LUX = 10


def cvvdp(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO, peak: float = PQ_PEAK) -> Tensor:
    """ColorVideoVDP of each frame as a still, in just objectionable differences below 10.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here.
        target: same shape, code / 1023.
        signal: what both hold.
        peak: what the display shows at most, cd/m²; it clips above.

    Returns:
        ``(B,)``, float64; 10 for a perfect frame. A 1080p frame takes about 1.6 GB.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: NaN, infinity, or a truth outside [0, 1].
        ConfigError: the package is absent.
    """
    return ColorVideoVDP(signal, peak).score(preds, target)


class ColorVideoVDP(FrameMetric):
    """Mean over frames of ``cvvdp``. Frames are scored as stills: flicker isn't seen.

    Args:
        signal: what predictions and truths are on.
        peak: of the display, cd/m².
        kwargs: what ``torchmetrics.Metric`` takes.

    Raises:
        ConfigError: the package is absent.
        SignalError: ``signal`` isn't HDR.
    """

    higher_is_better = True

    def __init__(self, signal: Signal = HDR10_VIDEO, peak: float = PQ_PEAK, **kwargs: Any) -> None:
        super().__init__(signal, **kwargs)
        self.peak = peak
        self._models: dict[torch.device, Any] = {}
        _package()

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity=f"ColorVideoVDP {_version()} of stills",
            signal=str(self.signal),
            values="light on BT.2020",
            range="light in cd/m²",
            clipping=f"{CLIPPED_CODES}; light of both to what the display shows",
            peak=f"{self.peak:g} cd/m²",
            display=(
                f"{_DIAGONAL_INCHES} inches, {_RESOLUTION[0]}x{_RESOLUTION[1]}, from {_DISTANCE_METRES} m, "
                f"{self.peak:g} cd/m², contrast {_CONTRAST:.0f}:1, {_AMBIENT_LUX} lux"
            ),
            unit="JOD",
        )

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame."""
        model = self._model(pair.preds.device)
        with torch.no_grad(), without_autocast(pair.preds):
            parts = [strip.light for strip in pair.strips()]
            preds, target = (torch.cat(strips, dim=-2).float() for strips in zip(*parts, strict=True))
            scores = [model.predict(p[None], t[None], dim_order="BCHW")[0] for p, t in zip(preds, target, strict=True)]
        return torch.stack([torch.as_tensor(score).reshape(()) for score in scores]).double()

    def _model(self, device: torch.device) -> Any:
        if device not in self._models:
            package, display = _package()
            photometry = display.vvdp_display_photo_eotf(
                Y_peak=self.peak, contrast=_CONTRAST, source_colorspace="BT.2020-linear", E_ambient=_AMBIENT_LUX
            )
            geometry = display.vvdp_display_geometry(
                _RESOLUTION, distance_m=_DISTANCE_METRES, diagonal_size_inches=_DIAGONAL_INCHES
            )
            self._models[device] = package.cvvdp(
                display_photometry=photometry, display_geometry=geometry, device=device, quiet=True
            )
        return self._models[device]


def _package() -> tuple[Any, Any]:
    """The package and its module of displays."""
    try:
        import pycvvdp
        import pycvvdp.display_model
    except ImportError as error:
        raise ConfigError(
            f"metric 'cvvdp' needs the package of that name ({error}); install sritm-zoo[metrics]"
        ) from None
    return pycvvdp, pycvvdp.display_model


def _version() -> str:
    from importlib.metadata import version

    return version("cvvdp")
