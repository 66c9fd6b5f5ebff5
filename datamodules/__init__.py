"""Shards of SDR and HDR pairs, made from photographs and streamed to training."""

from __future__ import annotations

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from datamodules.sritm import SRITMDataModule  # noqa: E402

__all__ = ["SRITMDataModule"]
