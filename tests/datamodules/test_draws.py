from __future__ import annotations

import hashlib

import numpy as np

from datamodules.draws import generator


def test_draws_follow_from_the_key_alone() -> None:
    generator(0, "scene", 1).random(5)
    assert generator(0, "scene", 1).random() == generator(0, "scene", 1).random()
    keys = [(0, "scene", 1), (1, "scene", 1), (0, "other", 1), (0, "scene", 2), (0, "scene")]
    assert len({generator(*key).random() for key in keys}) == len(keys)


def test_draws_are_those_of_philox_keyed_by_sha256() -> None:
    key = int.from_bytes(hashlib.sha256(b"7/sunset/3").digest()[:16], "little")
    expected = np.random.Generator(np.random.Philox(key=key)).integers(1000, size=8)
    assert np.array_equal(generator(7, "sunset", 3).integers(1000, size=8), expected)
