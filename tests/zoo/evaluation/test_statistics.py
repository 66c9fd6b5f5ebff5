from __future__ import annotations

import math

import numpy as np
import pytest

from zoo.evaluation import paired_difference, set_mean

SCORES = [30.0, 31.0, 40.0, 41.0, 42.0, 35.0]
SCENES = ["a", "a", "b", "b", "b", "c"]


def test_mean_and_deviation_are_those_of_the_frames() -> None:
    estimate = set_mean(SCORES, SCENES)
    assert estimate.mean == pytest.approx(np.mean(SCORES))
    assert estimate.std == pytest.approx(np.std(SCORES, ddof=1))
    assert (estimate.frames, estimate.scenes) == (6, 3)


def test_the_interval_is_that_of_drawing_whole_scenes() -> None:
    """By the definition: scenes drawn one by one, their frames strung together."""
    by_scene = {scene: [s for s, of in zip(SCORES, SCENES, strict=True) if of == scene] for scene in "abc"}
    generator = np.random.default_rng(1)
    means = [
        np.mean([score for scene in generator.choice(list("abc"), 3) for score in by_scene[scene]])
        for _ in range(20_000)
    ]
    estimate = set_mean(SCORES, SCENES)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))), abs=0.15)


def test_frames_of_one_scene_are_worth_less_than_frames_of_many() -> None:
    scores = np.repeat(np.random.default_rng(0).normal(35, 3, 8), 10).tolist()
    clustered = set_mean(scores, [str(i // 10) for i in range(80)])
    as_if_independent = set_mean(scores, [str(i) for i in range(80)])
    assert clustered.high - clustered.low > 2.5 * (as_if_independent.high - as_if_independent.low)


@pytest.mark.parametrize(("scores", "scenes"), [([30.0, 31.0], ["a", "a"]), ([30.0, math.inf], ["a", "b"])])
def test_no_interval_where_none_can_be_told(scores: list[float], scenes: list[str]) -> None:
    estimate = set_mean(scores, scenes)
    assert (estimate.low, estimate.high) == (None, None)
    assert estimate.mean == np.mean(scores)


def test_pairs_find_a_difference_that_means_hide() -> None:
    """Frames differ by ten decibels, the models by a tenth."""
    ours = [score + 0.1 + 0.01 * i for i, score in enumerate(SCORES)]
    difference = paired_difference(ours, SCORES, SCENES)
    assert difference.low is not None
    assert difference.low > 0.05
    assert set_mean(ours, SCENES).low < set_mean(SCORES, SCENES).high


def test_two_perfect_frames_do_not_differ() -> None:
    assert paired_difference([math.inf, 31.0], [math.inf, 30.0], ["a", "b"]).mean == 0.5
