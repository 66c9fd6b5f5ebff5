"""Metrics: for each quantity a function on a batch and a torchmetrics class that gathers a set.

``create`` builds one by its name, ``Suite`` runs several in one pass; each states its ``protocol`` (docs/metrics.md).
"""

from zoo._torchvision import ensure_torchvision

ensure_torchvision()  # torchmetrics imports torchvision

from zoo.metrics.base import FrameMean, FrameMetric, PixelMetric, Protocol  # noqa: E402
from zoo.metrics.cvvdp import ColorVideoVDP, cvvdp  # noqa: E402
from zoo.metrics.delta_e_itp import DeltaEITP, delta_e_itp, delta_e_itp_map  # noqa: E402
from zoo.metrics.frames import FramePair  # noqa: E402
from zoo.metrics.hdr_vdp import HDRVDP2, HDRVDP3  # noqa: E402
from zoo.metrics.mpsnr import MPSNR, mpsnr  # noqa: E402
from zoo.metrics.psnr import PSNR, PSNRRGB, MatchedPSNR, matched_psnr, psnr, psnr_rgb  # noqa: E402
from zoo.metrics.pu21 import PU21PSNR, PU21SSIM, pu21_encode, pu21_psnr, pu21_ssim  # noqa: E402
from zoo.metrics.sr_sim import SRSIM, sr_sim  # noqa: E402
from zoo.metrics.ssim import (  # noqa: E402
    SSIM,
    MultiScaleSSIM,
    VolumeSSIM,
    ms_ssim,
    ms_ssim_planes,
    ssim,
    ssim_planes,
    ssim_volume,
)
from zoo.metrics.suite import METRICS, Suite, create  # noqa: E402

__all__ = [
    "HDRVDP2",
    "HDRVDP3",
    "METRICS",
    "MPSNR",
    "PSNR",
    "PSNRRGB",
    "PU21PSNR",
    "PU21SSIM",
    "SRSIM",
    "SSIM",
    "ColorVideoVDP",
    "DeltaEITP",
    "FrameMean",
    "FrameMetric",
    "FramePair",
    "MatchedPSNR",
    "MultiScaleSSIM",
    "PixelMetric",
    "Protocol",
    "Suite",
    "VolumeSSIM",
    "create",
    "cvvdp",
    "delta_e_itp",
    "delta_e_itp_map",
    "matched_psnr",
    "mpsnr",
    "ms_ssim",
    "ms_ssim_planes",
    "psnr",
    "psnr_rgb",
    "pu21_encode",
    "pu21_psnr",
    "pu21_ssim",
    "sr_sim",
    "ssim",
    "ssim_planes",
    "ssim_volume",
]
