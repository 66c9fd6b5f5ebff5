"""Whether two videos of the same content show the same thing at the same time and place."""

from __future__ import annotations

import functools
import logging

import cv2
import numpy as np

from datamodules.sources.decoding import decode_planes, luma_plane
from datamodules.sources.video_file import VideoFile
from zoo.errors import DataError

logger = logging.getLogger(__name__)

# Where in the videos one looks, and at how many frames in a row.
_PLACES = (1 / 6, 1 / 2, 5 / 6)
_FRAMES = 12

# Shifts in time that are tried, frames to either side, and the gain in correlation that makes one believed.
_MAX_SHIFT = 2
_BELIEVED_GAIN = 0.1

# Width that luma is reduced to for comparisons in time, and the change from frame to frame (share of the codes, root
# mean square) below which nothing moves.
_REDUCED_WIDTH = 96
_STILL = 5e-4

# The share of the spectra's energy that lies in the peak of phase correlation (its mean over unrelated pictures is
# below 0.02), side of the square in the middle that is compared, and the shift that is let pass, pixels of the SDR.
_MIN_RESPONSE = 0.1
_SQUARE = 1024
_MAX_PIXELS = 0.5

# The gain in correlation of edges that makes a shift in space believed. Blurred pictures leave little but noise and the
# codec's blocks to phase correlation, so its peak may lie anywhere; there edges hardly change over a pixel. A shift by
# a pixel gains 0.3 at a blur of 1.5 pixels (Gaussian's sigma), 0.08 at 3, 0.01 at 8.
_BELIEVED_EDGE_GAIN = 0.03

# A shift by which pictures of fine texture may look unlike and still be the same; beyond it they are others.
_NEAR_PIXELS = 8

# Pearson's correlation of luma below which pictures are taken for different ones; two gradings have 0.8 and more.
_MIN_LIKENESS = 0.5


@functools.lru_cache(maxsize=64)
def check_alignment(hdr: VideoFile, sdr: VideoFile) -> None:
    """Compare luma of both videos at three places, 12 frames each.

    In time: the changes from frame to frame are correlated at shifts of -2 to +2 frames; a shift that correlates better
    than none by 0.1 is believed. Changes, because what stands still is alike at any shift. In space: phase correlation
    of the middle frame of each place, the HDR side reduced to the SDR side's size; its shift is believed if edges
    correlate better there than at none by 0.03. Where nothing moves, or the picture is flat or blurred, nothing can be
    told; that nothing moves is logged if it holds for all places.

    Args:
        hdr: the HDR video.
        sdr: the SDR video, as many frames, of the same shape.

    Raises:
        DataError: a shift in time, a shift in space of more than half a pixel of the SDR side, or other content.
    """
    pair = f"{hdr.path} and {sdr.path}"
    count = min(len(hdr.pts), len(sdr.pts))
    length = min(_FRAMES, count)
    places = [round(place * (count - length)) for place in _PLACES]
    moves = False
    middles = []
    for first in places:
        hdr_luma, sdr_luma = (_luma(video, range(first, first + length)) for video in (hdr, sdr))
        hdr_small, sdr_small = ([_reduced(luma) for luma in side] for side in (hdr_luma, sdr_luma))
        shift = _shift_in_time(np.diff(hdr_small, axis=0), np.diff(sdr_small, axis=0))
        moves |= shift is not None
        if shift:
            raise DataError(
                f"{pair}: near frame {first} the SDR side shows the same {abs(shift)} "
                f"frame{'s' if abs(shift) > 1 else ''} {'later' if shift > 0 else 'earlier'}; "
                "cut both so that they start with the same frame"
            )
        middles.append((first + length // 2, hdr_luma[length // 2], sdr_luma[length // 2]))
    # Only then in space, since a shift in time of a moving picture looks like one in space.
    for number, hdr_middle, sdr_middle in middles:
        _check_in_space(pair, number, hdr_middle, sdr_middle)
    if not moves:
        logger.warning("%s: nothing moves where they were compared, so a shift in time can't be seen", pair)


def _check_in_space(pair: str, number: int, hdr: np.ndarray, sdr: np.ndarray) -> None:
    x, y = _shift_in_space(hdr, sdr)
    shift = max(abs(x), abs(y))
    alike = _likeness(_reduced(hdr), _reduced(sdr)) >= _MIN_LIKENESS
    if shift > _MAX_PIXELS and (alike or shift <= _NEAR_PIXELS):
        raise DataError(
            f"{pair}: in frame {number} the SDR side lies {x:+.1f} pixels to the right and {y:+.1f} down of the HDR "
            "side; crop both alike"
        )
    if not alike:
        raise DataError(f"{pair}: frame {number} shows different pictures; name two gradings of one film")


def _luma(video: VideoFile, numbers: range) -> list[np.ndarray]:
    """Luma of frames, float32 in shares of the highest code."""
    peak = np.float32(2**video.depth - 1)
    return [luma_plane(planes, video.rotation) / peak for planes in decode_planes(video, numbers)]


def _reduced(luma: np.ndarray) -> np.ndarray:
    height, width = luma.shape
    reduced_width = min(_REDUCED_WIDTH, width)
    return cv2.resize(luma, (reduced_width, max(1, height * reduced_width // width)), interpolation=cv2.INTER_AREA)


def _shift_in_time(hdr: np.ndarray, sdr: np.ndarray) -> int | None:
    """Frames by which changes come later on the SDR side; None where too little changes to tell.

    Args:
        hdr: ``(N, h, w)``, changes from frame to frame.
        sdr: likewise; resized to the HDR's where they differ by a pixel.
    """
    if sdr.shape != hdr.shape:
        sdr = np.stack([cv2.resize(change, hdr.shape[:0:-1], interpolation=cv2.INTER_AREA) for change in sdr])
    scores = {}
    for shift in range(-_MAX_SHIFT, _MAX_SHIFT + 1):
        # Shifts for which fewer than two pairs of changes remain say nothing.
        if len(hdr) - abs(shift) < 2:
            continue
        ours = hdr[max(0, -shift) : len(hdr) - max(0, shift)]
        theirs = sdr[max(0, shift) : len(sdr) - max(0, -shift)]
        energies = np.square(ours).mean(), np.square(theirs).mean()
        if min(energies) > _STILL**2:
            scores[shift] = float((ours * theirs).mean() / np.sqrt(energies[0] * energies[1]))
    if 0 not in scores:
        return None
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] > scores[0] + _BELIEVED_GAIN else 0


def _likeness(hdr: np.ndarray, sdr: np.ndarray) -> float:
    """Pearson's correlation of two pictures; 1 where one of them is flat, which tells nothing."""
    if sdr.shape != hdr.shape:
        sdr = cv2.resize(sdr, hdr.shape[::-1], interpolation=cv2.INTER_AREA)
    if min(hdr.std(), sdr.std()) < _STILL:
        return 1.0
    return float(np.corrcoef(hdr.ravel(), sdr.ravel())[0, 1])


def _shift_in_space(hdr: np.ndarray, sdr: np.ndarray) -> tuple[float, float]:
    """Pixels of the SDR side by which it lies right and down of the HDR side; 0 where it can't be told."""
    height, width = sdr.shape
    if hdr.shape != sdr.shape:
        hdr = cv2.resize(hdr, (width, height), interpolation=cv2.INTER_AREA)
    top, left = max(0, (height - _SQUARE) // 2), max(0, (width - _SQUARE) // 2)
    square = np.s_[top : top + _SQUARE, left : left + _SQUARE]
    ours, theirs = (np.ascontiguousarray(side[square], dtype=np.float64) for side in (hdr, sdr))
    if min(ours.std(), theirs.std()) < _STILL:
        return 0.0, 0.0
    window = cv2.createHanningWindow(ours.shape[::-1], cv2.CV_64F)
    (x, y), response = cv2.phaseCorrelate(ours - ours.mean(), theirs - theirs.mean(), window)
    if response <= _MIN_RESPONSE:
        return 0.0, 0.0
    gain = _likeness_of_edges(ours, theirs, round(x), round(y)) - _likeness_of_edges(ours, theirs, 0, 0)
    return (x, y) if gain > _BELIEVED_EDGE_GAIN else (0.0, 0.0)


def _likeness_of_edges(hdr: np.ndarray, sdr: np.ndarray, right: int, down: int) -> float:
    """Correlation of the gradients of two pictures, the SDR side taken back by whole pixels; 0 where one is flat."""
    height, width = sdr.shape
    # The parts of both that show the same if the shift is right.
    hdr = hdr[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    sdr = sdr[max(0, down) : height - max(0, -down), max(0, right) : width - max(0, -right)]
    ours, theirs = (np.concatenate([np.diff(side, axis=axis).ravel() for axis in (0, 1)]) for side in (hdr, sdr))
    energy = float((ours @ ours) * (theirs @ theirs))
    return float(ours @ theirs) / energy**0.5 if energy else 0.0
