"""Whether an encoder wrote the pictures it was given. Some have been seen to write others, without an error."""

from __future__ import annotations

import zlib

import cv2
import numpy as np

from zoo.convert.encoding import Planes

# In 10-bit codes; far beyond what the coarsest settings of x265 and SVT-AV1 move the mean of a sixteenth by.
_FARTHEST = 128


def fingerprint(planes: Planes, lossless: bool) -> np.ndarray:
    """A few numbers that tell pictures apart.

    Args:
        planes: codes of 10 bits.
        lossless: whether every code is to count, not only how bright the picture is in which part.
    """
    if not lossless:
        return cv2.resize(planes[0].astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA)
    return np.array([zlib.crc32(codes.astype("<u2").tobytes()) for codes in planes], dtype=np.float64)


def same_picture(given: np.ndarray, written: np.ndarray, lossless: bool) -> bool:
    """Whether fingerprints may be those of a picture before and after encoding."""
    return float(np.abs(given - written).max()) <= (0 if lossless else _FARTHEST)
