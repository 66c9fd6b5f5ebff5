"""Pairs straight from a panorama, by protocol val-v1."""

from __future__ import annotations

from collections.abc import Iterator

from datamodules.pairs import PRESET, Pair, PairMaker
from datamodules.presets import preset
from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import Panorama


def validation_frames(panorama: Panorama, scale: int) -> Iterator[Pair]:
    """The frames on which networks are chosen and reported, from left to right."""
    return _maker(panorama, scale, 0).validation(Frame(0, Picture(panorama.light)))


def training_patches(panorama: Panorama, scale: int, seed: int, count: int) -> Iterator[Pair]:
    """The first ``count`` training patches."""
    return _maker(panorama, scale, seed).training(Frame(0, Picture(panorama.light)), count)


def _maker(panorama: Panorama, scale: int, seed: int) -> PairMaker:
    return PairMaker(preset(PRESET), scale, seed, panorama.scene, panorama.source, panoramic=True)
