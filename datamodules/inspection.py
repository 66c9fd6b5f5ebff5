"""What a set of shards holds, measured: which shards are whole, and luminance, clipping and gamut of the samples.

Memory doesn't grow with the set: one shard's index and one sample are held at a time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.index import open_index, read_sample, scan_shard
from datamodules.manifest import Manifest, ShardEntry
from datamodules.shards import Sample
from zoo.color import codes_to_components, convert_primaries, decode, luma, ycbcr_to_rgb
from zoo.errors import DataError
from zoo.signal import Signal

LUMINANCE_EDGES = tuple(100 * 2.0**stop for stop in range(-14, 8))
"""Upper edges of the bins of luminance, cd/m²: a stop each, with one at SDR white, from 0.006 to 12800."""

GAMUTS = ("bt709", "p3d65")
"""Gamuts that the HDR side is held against."""

PERCENTILES = (1, 50, 99, 99.9)
"""Percentiles of luminance that are told."""

# What of a sample's record is counted by value, and what by quartiles.
_COUNTED = ("scene", "preset", "curve")
_SPREAD = ("exposure", "stops")

_SEED = 0  # of the draw of samples: the same set gives the same report
_FINE = 8  # bins a stop that percentiles are read from
_PIXELS = 2**16  # of a picture that are measured
_ON_EDGE = 1e-5  # relative: what rounding lifts above an edge lies on it

# Rounding Y' and Cr to 8 bit moves R' by up to 0.5 / 219 + 1.5748 * 0.5 / 224 below the white that was meant.
_CHANNEL_WHITE = 1 - 0.006

# Rounding to 10 bit takes a colour on a gamut's border out of it by less than this share of its greatest channel, if it
# is no darker than this in cd/m²; in the dark a code is a larger step.
_OUTSIDE = 0.02
_OUTSIDE_FROM = 1.0


@dataclass(frozen=True)
class SideReport:
    """Pixels of one side of the samples, SDR or HDR. Shares are of all pixels measured.

    Attributes:
        signal: text form.
        pixels: how many were measured.
        luminance: shares of the bins that end at ``LUMINANCE_EDGES``; the first holds black too.
        percentiles: luminance in cd/m² by percentile, to an eighth of a stop (rounded up).
        maximum: highest luminance, cd/m².
        codes: lowest and highest code of luma, each with the share of pixels that have it. A hard clip shows here.
        black: share with luma at black or below.
        white: share with luma at nominal white or above.
        channel_white: share with a channel of R'G'B' at nominal white, to the rounding of 8 bit.
        outside: shares outside the gamuts of ``GAMUTS``; empty for SDR. A pixel of 1 cd/m² or more is outside if, as
            linear RGB on the gamut's primaries, its least channel is below -2 % of its greatest.
    """

    signal: str
    pixels: int
    luminance: tuple[float, ...]
    percentiles: dict[str, float]
    maximum: float
    codes: tuple[tuple[int, float], tuple[int, float]]
    black: float
    white: float
    channel_white: float
    outside: dict[str, float]


@dataclass(frozen=True)
class SplitReport:
    """What the measured samples of a split are.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        samples: measured ones.
        counts: how many samples have which ``size`` (HR, ``WIDTHxHEIGHT``), ``scene``, ``preset``, ``curve`` and
            ``degradations`` (names joined by ``+``), the most frequent first.
        spreads: least, quartiles and greatest of what samples record of their ``exposure`` (the scene's key, in the
            unit of its light) and ``stops`` (drawn beside it); without what none records.
        sdr: the pixels of the SDR side.
        hdr: the pixels of the HDR side.
    """

    split: str
    samples: int
    counts: dict[str, dict[str, int]]
    spreads: dict[str, tuple[float, ...]]
    sdr: SideReport
    hdr: SideReport


def find_damage(folder: Path, manifest: Manifest) -> dict[str, str]:
    """What is wrong with the shards of a set: one line for each that is missing or isn't what the manifest says.

    A shard is compared by size always, and by SHA-256 when this file is met first.
    """
    damage = {}
    for entries in manifest.splits.values():
        for entry in entries:
            try:
                open_index(folder, entry)
            except DataError as error:
                damage[entry.file] = str(error)
    return damage


def draw_samples(folder: Path, entries: Sequence[ShardEntry], count: int) -> Iterator[Sample]:
    """Samples drawn at random without repetition, always the same ones of a set, in the order of the set.

    At random, not at even steps: shards may deal scenes in turn, and a step of their number would meet one scene alone.

    Args:
        folder: the set's folder.
        entries: whole shards.
        count: how many; all if there are fewer.

    Raises:
        DataError: a shard was removed or cut meanwhile.
    """
    total = sum(entry.samples for entry in entries)
    numbers = np.sort(np.random.default_rng(_SEED).choice(total, min(count, total), replace=False))
    first = 0
    for entry in entries:
        places = numbers[(numbers >= first) & (numbers < first + entry.samples)] - first
        first += entry.samples
        if len(places):
            index = scan_shard(folder / entry.file)
            if len(index) < entry.samples:
                raise DataError(f"shard {folder / entry.file} changed while it was inspected; inspect the set again")
            for place in places:
                yield read_sample(folder / entry.file, index[place])


def inspect_split(
    folder: Path, manifest: Manifest, split: str, entries: Sequence[ShardEntry], count: int
) -> SplitReport:
    """Measure samples of a split.

    Args:
        folder: the set's folder.
        manifest: of the set.
        split: the name for the report.
        entries: the split's shards that are whole, at least one.
        count: samples to measure, drawn by ``draw_samples``.

    Raises:
        DataError: a shard was removed or cut meanwhile.
        SignalError: the manifest names signals that aren't known.
    """
    sdr = PixelStatistics(Signal.parse(manifest.signals["sdr"]))
    hdr = PixelStatistics(Signal.parse(manifest.signals["hdr"]), GAMUTS)
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("size", *_COUNTED, "degradations")}
    recorded: dict[str, list[float]] = {name: [] for name in _SPREAD}
    samples = 0
    for sample in draw_samples(folder, entries, count):
        samples += 1
        sdr.update(sample.sdr)
        hdr.update(sample.hdr)
        height, width = sample.hdr.shape[:2]
        counts["size"][f"{width}x{height}"] += 1
        for name in _COUNTED:
            counts[name][str(sample.meta.get(name, "not recorded"))] += 1
        degradations = [degradation["name"] for degradation in sample.meta.get("degradations", ())]
        counts["degradations"]["+".join(degradations) or "none"] += 1
        for name, values in recorded.items():
            if sample.meta.get(name) is not None:
                values.append(sample.meta[name])
    return SplitReport(
        split,
        samples,
        {name: dict(counter.most_common()) for name, counter in counts.items()},
        {name: _spread(values) for name, values in recorded.items() if values},
        sdr.report(),
        hdr.report(),
    )


def _spread(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(np.percentile(values, (0, 25, 50, 75, 100)).tolist())


class PixelStatistics:
    """Running counts over pixels on a Y'CbCr signal.

    Args:
        signal: what the codes are on.
        gamuts: primaries that colours are held against.
    """

    def __init__(self, signal: Signal, gamuts: Sequence[str] = ()) -> None:
        self.signal = signal
        self._pixels = 0
        self._luminance = np.zeros(1 + _FINE * (len(LUMINANCE_EDGES) - 1), np.int64)
        self._maximum = 0.0
        self._codes = np.zeros(signal.peak + 1, np.int64)
        self._black = self._white = self._channel_white = 0
        self._outside = dict.fromkeys(gamuts, 0)

    def update(self, codes: np.ndarray) -> None:
        """Count the pixels of a picture, (H, W, 3) whole codes; of one larger than 256x256 a grid of that many."""
        step = math.ceil(math.sqrt(codes.shape[0] * codes.shape[1] / _PIXELS))
        codes = codes[::step, ::step]
        self._codes += np.bincount(codes[..., 0].ravel(), minlength=len(self._codes))
        self._count(torch.from_numpy(codes.astype(np.float32)).permute(2, 0, 1))

    def _count(self, codes: Tensor) -> None:
        components = codes_to_components(codes, self.signal)
        rgb = ycbcr_to_rgb(components, self.signal.matrix)
        self._pixels += codes[0].numel()
        self._black += int((components[0] <= 0).sum())
        self._white += int((components[0] >= 1).sum())
        self._channel_white += int((rgb.amax(dim=0) >= _CHANNEL_WHITE).sum())

        # Some triples of codes are no colour; a screen shows them clipped.
        rgb = rgb.clamp(0, 1)
        light = decode(rgb, replace(self.signal, matrix="rgb", range="full"))
        luminance = luma(light, "ycbcr2020" if self.signal.primaries == "bt2020" else "ycbcr709")
        self._luminance += _fine_histogram(luminance)
        self._maximum = max(self._maximum, float(luminance.max()))
        for gamut in self._outside:
            least, greatest = convert_primaries(light, self.signal.primaries, gamut).aminmax(dim=0)
            outside = (least < -_OUTSIDE * greatest) & (luminance[0] >= _OUTSIDE_FROM)
            self._outside[gamut] += int(outside.sum())

    def report(self) -> SideReport:
        """What has been counted; at least one pixel."""
        assert self._pixels
        shares = self._luminance / self._pixels
        whole_stops = (shares[0], *shares[1:].reshape(-1, _FINE).sum(axis=1))
        occupied = np.flatnonzero(self._codes)
        lowest, highest = ((int(code), float(self._codes[code] / self._pixels)) for code in occupied[[0, -1]])
        return SideReport(
            signal=str(self.signal),
            pixels=self._pixels,
            luminance=tuple(map(float, whole_stops)),
            percentiles={f"{percentile:g}": self._percentile(percentile) for percentile in PERCENTILES},
            maximum=self._maximum,
            codes=(lowest, highest),
            black=self._black / self._pixels,
            white=self._white / self._pixels,
            channel_white=self._channel_white / self._pixels,
            outside={gamut: count / self._pixels for gamut, count in self._outside.items()},
        )

    def _percentile(self, percentile: float) -> float:
        """Upper edge of the fine bin that a percentile of luminance lies in, or the maximum if that is lower; cd/m²."""
        wanted = percentile / 100 * self._pixels
        place = int(np.searchsorted(np.cumsum(self._luminance), wanted))
        return min(LUMINANCE_EDGES[0] * 2 ** (place / _FINE), self._maximum)


def _fine_histogram(luminance: Tensor) -> np.ndarray:
    """Counts of bins that include their upper edge: all up to the lowest edge, then ``_FINE`` for each stop."""
    last = _FINE * (len(LUMINANCE_EDGES) - 1)
    # The clamp keeps the logarithm of black finite; it goes to the first bin all the same.
    stops = (luminance.clamp(min=LUMINANCE_EDGES[0]) * ((1 - _ON_EDGE) / LUMINANCE_EDGES[0])).log2()
    places = (_FINE * stops).ceil().clamp(0, last).long()
    return torch.bincount(places.flatten(), minlength=last + 1).numpy()
