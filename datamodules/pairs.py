"""Pairs of LR SDR and HR HDR codes, made from frames of any source (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange
from torch import Tensor

from datamodules.degrade import degrade
from datamodules.draws import generator
from datamodules.grading import GradedFrame, by_strips, grade, reduce_sdr
from datamodules.patches import GRID, PATCH_SIZE, Window, choose_place, flat_places, panorama_places, with_margin
from datamodules.presets import Preset
from datamodules.sources.frame import Frame
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

PRESET = "val-v1"
"""Name of the protocol by which networks are compared."""

# One patch in so many may show anything, a clear sky too.
_ANY_KIND_EVERY = 4


@dataclass(frozen=True)
class Pair:
    """One sample: the same picture as LR SDR and as HR HDR, Y'CbCr codes in narrow range, 4:4:4.

    Attributes:
        sdr: ``(h, w, 3)`` uint8, BT.709, 1..254.
        hdr: ``(H, W, 3)`` uint16, BT.2020 PQ, 10 bit, 4..1019.
        meta: how it was made, as JSON takes it. Always: source, scene, crop (top, left, height, width in HR pixels; the
            columns of a panorama wrap around), preset, curve (``paired`` for true pairs), exposure (the key, in the
            unit of the scene light, null for what is graded), seed (null where nothing was drawn), signals. Where they
            apply: frame and what the source says of it (time, file), stops, gamut_expansion, degradations.
    """

    sdr: np.ndarray
    hdr: np.ndarray
    meta: dict[str, Any]


class PairMaker:
    """Makes the pairs of one source for one set. What is drawn follows from seed, scene and frame alone.

    Args:
        preset: how the SDR side is made.
        scale: 1, 2 or 4.
        seed: of the set.
        scene: name of the scene, unique in the set.
        source: name of the file or folder, for the record.
        panoramic: whether the frames are equirectangular panoramas.
        gamut_expansion: whether the HDR side of BT.709 material gets more saturated colours; see ``expand_gamut``.
    """

    def __init__(
        self,
        preset: Preset,
        scale: int,
        seed: int,
        scene: str,
        source: str,
        panoramic: bool,
        gamut_expansion: bool = False,
    ) -> None:
        self.preset = preset
        self.scale = scale
        self.seed = seed
        self.scene = scene
        self.source = source
        self.panoramic = panoramic
        self.gamut_expansion = gamut_expansion

    def training(self, frame: Frame, count: int) -> Iterator[Pair]:
        """Patches of HR 160x160 to train on, each a function of (seed, scene, frame, its index).

        Every fourth, counted from 0, is whatever is drawn; the others are chosen by ``choose_place``. All scales show
        the same places. The LR side is reduced, and degraded, with a margin of 16 HR pixels that is cut off afterwards.

        Args:
            frame: of the source.
            count: how many.

        Yields:
            The pairs, not flipped or turned; none if the frame is black, or smaller than a patch between black bars.

        Raises:
            DataError: the frame is too small for a patch or can't be graded.
        """
        graded = self._grade(frame)
        luma = graded.hdr[0]
        height, width = luma.shape
        if self.panoramic:
            rows, columns = panorama_places(height, width)
            needed = "a panorama of at least 432x216"
        else:
            rows, columns = flat_places(luma)
            needed = f"pictures of at least {PATCH_SIZE}x{PATCH_SIZE}"
        if min(height, width) < PATCH_SIZE or (self.panoramic and not rows):
            raise DataError(
                f"{self.source}: {width}x{height} is too small for training patches of {PATCH_SIZE}x{PATCH_SIZE}; "
                f"use {needed}"
            )
        if not rows or not columns:
            return
        for index in range(count):
            draws = generator(self.seed, self.scene, *self._frame_key(frame), index)
            top, left = choose_place(luma, rows, columns, draws, any_kind=index % _ANY_KIND_EVERY == 0)
            window = Window(top, left, PATCH_SIZE, PATCH_SIZE)
            around, inner = with_margin(window, height, width, self.panoramic)
            sdr, degradations = self._lr(graded, around, (*self._frame_key(frame), index))
            sdr = inner.reduced(self.scale).cut(sdr)
            yield self._pair(frame, graded, window, sdr, self.seed, degradations)

    def validation(self, frame: Frame) -> Iterator[Pair]:
        """Whole frames to validate and test on.

        Of a panorama the band of rows H/4 to 3H/4 is cut from the left into squares as high as the band, each reduced
        by itself: four of 256x256 from 1024x512. Other frames are one pair each; what is left over of a multiple of 4
        is cut off on the right and at the bottom.

        Args:
            frame: of the source.

        Yields:
            The pairs, from left to right.

        Raises:
            DataError: the frame can't be graded or is smaller than 4x4.
        """
        graded = self._grade(frame)
        height, width = graded.hdr.shape[-2:]
        if self.panoramic:
            size = height // 2
            windows = [Window(size // 2, left, size, size) for left in range(0, width, size)]
        elif min(height, width) < GRID:
            raise DataError(f"{self.source}: {width}x{height} is no picture to validate on; leave it out")
        else:
            windows = [Window(0, 0, height // GRID * GRID, width // GRID * GRID)]
        seed = self.seed if self.preset.draws else None
        for number, window in enumerate(windows):
            sdr, degradations = self._lr(graded, window, (*self._frame_key(frame), "whole", number))
            yield self._pair(frame, graded, window, sdr, seed, degradations)

    def _frame_key(self, frame: Frame) -> tuple[int, ...]:
        # A panorama is a scene's only frame, and the places drawn in it are older than frames.
        return () if self.panoramic else (frame.number,)

    def _grade(self, frame: Frame) -> GradedFrame:
        draws = generator(self.seed, self.scene, frame.meta.get("shot", 0), "grade")
        curves, weights = zip(*self.preset.curves.items(), strict=True)
        curve = curves[int(np.searchsorted(np.cumsum(weights) / sum(weights), draws.random(), side="right"))]
        stops = float(draws.uniform(-1, 1)) * self.preset.exposure_stops
        graded = grade(frame, self.source, self.panoramic, curve, stops, self.gamut_expansion)
        if frame.sdr is not None:
            self._check_sizes(frame)
        if self.preset.exposure_stops and frame.hdr.signal is None:
            graded.record["stops"] = stops
        return graded

    def _check_sizes(self, frame: Frame) -> None:
        """Refuse a true pair whose SDR side is neither HR nor LR of the set's scale."""
        assert frame.sdr is not None
        (height, width), (sdr_height, sdr_width) = frame.hdr.values.shape[-2:], frame.sdr.values.shape[-2:]
        if (sdr_height, sdr_width) not in ((height, width), (height / self.scale, width / self.scale)):
            raise DataError(
                f"{self.source}: SDR of frame {frame.number} is {sdr_width}x{sdr_height}, HDR {width}x{height}; "
                f"a set of scale {self.scale} takes SDR of the same size or exactly 1/{self.scale} of it"
            )

    def _lr(
        self, graded: GradedFrame, window: Window, key: tuple[int | str, ...]
    ) -> tuple[Tensor, list[dict[str, Any]]]:
        """LR codes ``(3, h, w)`` of a part of the frame, degraded, and the record of that."""
        if graded.origin.shape == graded.hdr.shape:
            sdr = reduce_sdr(by_strips(graded.to_code_units, window.cut(graded.origin)), self.scale)
        else:
            sdr = reduce_sdr(graded.to_code_units(window.reduced(self.scale).cut(graded.origin)), 1)
        return degrade(sdr, self.preset.degradations, generator(self.seed, self.scene, *key, "degradations"))

    def _pair(
        self,
        frame: Frame,
        graded: GradedFrame,
        window: Window,
        sdr: Tensor,
        seed: int | None,
        degradations: list[dict[str, Any]],
    ) -> Pair:
        """Whole codes ``(3, h, w)`` as the arrays that are stored, with their record."""
        meta = frame.meta | {
            "source": self.source,
            "scene": self.scene,
            "crop": [window.top, window.left, window.height, window.width],
            "preset": self.preset.name,
            **graded.record,
            "seed": seed,
            "signals": {"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)},
        }
        if not self.panoramic:
            meta["frame"] = frame.number
        if self.preset.degradations:
            meta["degradations"] = degradations
        return Pair(
            sdr=rearrange(sdr, "c h w -> h w c").numpy().astype(np.uint8),
            hdr=rearrange(window.cut(graded.hdr), "c h w -> h w c").numpy().astype(np.uint16),
            meta=meta,
        )
