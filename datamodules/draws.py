"""Random numbers that are a function of what they are drawn for."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*key: int | str) -> np.random.Generator:
    """Random numbers that depend on ``key`` alone, not on what was drawn before or in which process.

    A Philox generator whose key is the first 128 bits, little-endian, of the SHA-256 of the parts joined by ``/``.

    Args:
        key: the seed of the set first, then what is drawn for: scene, frame, patch, ...
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
