"""Metrics: for each quantity a function on a batch and a torchmetrics class that gathers a set."""

from zoo._torchvision import ensure_torchvision

ensure_torchvision()  # torchmetrics imports torchvision

from zoo.metrics.psnr import PSNR, MatchedPSNR, matched_psnr, psnr  # noqa: E402

__all__ = ["PSNR", "MatchedPSNR", "matched_psnr", "psnr"]
