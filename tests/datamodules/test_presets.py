from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.presets import PRESETS, frame_numbers, patch_count, preset
from zoo.color import SDR_CURVES
from zoo.errors import ConfigError


def test_unknown_preset_lists_known_names() -> None:
    with pytest.raises(ConfigError, match="preset 'real' is unknown; known: val-v1, mixed, paper"):
        preset("real")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_named_and_weigh_known_curves(name: str) -> None:
    chosen = preset(name)
    assert chosen.name == name
    assert set(chosen.curves) <= set(SDR_CURVES)
    assert sum(chosen.curves.values()) == pytest.approx(1)
    for stage in chosen.degradations:
        assert 0 < sum(probability for _, probability in stage) <= 1


def test_val_v1_has_one_curve_and_nothing_drawn_in_its_pixels() -> None:
    assert preset("val-v1").curves == {"reinhard-1000": 1}
    assert not preset("val-v1").draws
    assert preset("mixed").draws
    assert set(preset("mixed").curves) == set(SDR_CURVES)


def test_papers_recipe_takes_20_to_40_patches_of_a_frame() -> None:
    counts = {patch_count(preset("paper"), 0, "film", number) for number in range(400)}
    assert counts == set(range(20, 41))


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    seed=st.integers(0, 100),
    name=st.sampled_from(["paper"]),
)
def test_each_shot_gives_frames_at_a_stride_of_its_own(lengths: list[int], seed: int, name: str) -> None:
    shots = [sum(lengths[:i]) for i in range(len(lengths))]
    numbers = frame_numbers(preset(name), seed, "film", sum(lengths), shots)
    assert numbers == sorted(set(numbers))
    for first, length in zip(shots, lengths, strict=True):
        inside = [number for number in numbers if first <= number < first + length]
        strides = {after - before for before, after in itertools.pairwise(inside)}
        assert inside
        assert len(strides) <= 1
        assert all(10 <= stride <= 80 for stride in strides)
        # Nothing is left over at either end that another frame would fit in.
        if strides:
            (stride,) = strides
            assert inside[0] - first < stride
            assert first + length - inside[-1] <= stride


def test_stride_of_one_uses_every_frame() -> None:
    every = replace(preset("paper"), stride=(1, 1))
    assert frame_numbers(every, 0, "film", 10, (0, 4)) == list(range(10))


def test_frames_follow_from_seed_and_scene() -> None:
    chosen = [frame_numbers(preset("paper"), seed, scene, 1000) for seed in (0, 1) for scene in ("a", "b")]
    assert frame_numbers(preset("paper"), 0, "a", 1000) == chosen[0]
    assert len({tuple(numbers) for numbers in chosen}) == 4
