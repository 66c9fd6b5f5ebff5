"""Where shots of a video begin."""

from __future__ import annotations

import numpy as np

from datamodules.sources.decoding import decode_key_planes
from datamodules.sources.video_file import VideoFile

# Luma is looked at on every eighth column and row, and counted in bins of 1/64 of the codes.
_STEP = 8
_BINS = 64

# A shot begins where at least so large a share of the pixels moves to other bins: cuts move 0.5 and more, pans and
# changes of light within a shot less than 0.3 from one key frame to the next.
_CHANGE = 0.4


def shot_starts(video: VideoFile) -> tuple[int, ...]:
    """Numbers of the frames that shots begin with.

    Only key frames are looked at: encoders put one at a cut, and decoding them alone takes a small part of the time.
    A key frame begins a shot when the histogram of its luma differs from that of the key frame before it by 0.4 of the
    pixels. So a cut is found at its frame where the encoder has set a key frame, else at the next key frame (within
    one group of pictures), and so where that key frame is damaged; fades and dissolves may count as cuts or not.

    Returns:
        Rising numbers, 0 the first.
    """
    starts = [0]
    last = None
    for planes in decode_key_planes(video):
        luma = planes.codes[0][::_STEP, ::_STEP].astype(np.int64)
        histogram = np.bincount(luma.ravel() * _BINS >> video.depth, minlength=_BINS) / luma.size
        if last is not None and np.abs(histogram - last).sum() / 2 >= _CHANGE:
            starts.append(planes.number)
        last = histogram
    return tuple(starts)
