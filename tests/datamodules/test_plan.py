from __future__ import annotations

import json
import os
import pickle
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules import plan
from datamodules.plan import Part, Recipe, Survey, estimate, plan_parts
from datamodules.scenes import Scene
from zoo.errors import ConfigError

SCENE = Scene("film", Path("film.mkv"))


def survey(frame_count: int, size: tuple[int, int] = (2160, 3840), shots: tuple[int, ...] | None = (0,)) -> Survey:
    return Survey("HDRVideo", "0" * 64, (("film.mkv", 1, 2),), frame_count, size, False, shots)


frames = st.sets(st.integers(0, 60), min_size=1).map(lambda numbers: tuple(sorted(numbers)))
shots = st.none() | st.sets(st.integers(1, 60), max_size=4).map(lambda firsts: (0, *sorted(firsts)))


@settings(deadline=None)
@given(frames, shots)
def test_runs_hold_each_frame_once_in_order_and_none_spans_shots(numbers, firsts):
    runs = list(Part(0, SCENE, "train", Recipe(2), numbers, firsts).runs())
    assert [number for run in runs for number in run] == list(numbers)
    for run in runs:
        assert not any(run[0] < first <= run[-1] for first in firsts or ())


def test_frames_of_one_stride_are_one_run():
    assert list(Part(0, SCENE, "train", Recipe(2), (3, 13, 23, 33), (0,)).runs()) == [range(3, 34, 10)]


def test_a_two_hour_film_is_many_tasks_of_about_a_shard_each():
    film = survey(172_800, shots=tuple(range(0, 172_800, 120)))
    parts = plan_parts([("train", SCENE, film)], Recipe(2, stride=30), None)
    numbers = [number for part in parts for number in part.frames]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == pytest.approx(5760, rel=0.01)
    assert len(parts) > 400
    assert all(estimate([part], {"film": film}, 0).set_bytes < 1.01 * plan._PART_BYTES for part in parts)
    assert len({part.name for part in parts}) == len(parts)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_two_hour_film_gives_few_whole_frames_evenly_spread(split):
    film = survey(172_800, shots=tuple(range(0, 172_800, 120)))
    numbers = [number for part in plan_parts([(split, SCENE, film)], Recipe(2), None) for number in part.frames]
    assert len(numbers) == 16
    assert np.diff(numbers) == pytest.approx(172_800 / 16, abs=60)
    (few,) = plan_parts([(split, SCENE, survey(70, size=(160, 160)))], Recipe(2), None)
    assert len(few.frames) in (2, 3)
    (one,) = plan_parts([(split, SCENE, film)], Recipe(2, val_frames=1), None)
    assert one.frames == (pytest.approx(86_400, abs=60),)


def test_whole_pictures_of_what_is_no_film_are_all_taken():
    pictures = survey(40, size=(160, 160), shots=None)
    (part,) = plan_parts([("val", SCENE, pictures)], Recipe(2), None)
    assert part.frames == tuple(range(40))


def test_every_frame_of_what_is_no_film_is_used():
    (part,) = plan_parts([("train", SCENE, survey(7, shots=None))], Recipe(2, patches=1), None)
    assert part.frames == tuple(range(7))


def test_no_more_patches_are_planned_than_there_are_places():
    patches = survey(5, size=(160, 160), shots=None)
    (part,) = plan_parts([("train", SCENE, patches)], Recipe(2), None)
    assert estimate([part], {"film": patches}, 0).samples == {"train": 5, "val": 0, "test": 0}
    assert plan.patches_of_frame(part, 0, (160, 160), False) == 1
    assert plan.patches_of_frame(part, 0, (164, 168), False) == 6


def test_an_estimate_is_told_in_one_line():
    film = survey(60)
    parts = plan_parts([("train", SCENE, film)], Recipe(2, patches=10, stride=30), None)
    assert (
        str(estimate(parts, {"film": film}, 125))
        == "about 20 train samples, 3.54 MB (7.08 MB while they are made), 2 min"
    )


def test_a_survey_reads_back_as_written():
    for found in (survey(3), survey(3, shots=None)):
        assert Survey.parse(json.loads(json.dumps(asdict(found)))) == found


def test_a_survey_notices_changed_files(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    found = Survey("Still", "", (plan._stamp(path),), 1, (8, 8), False, None)
    assert found.changed_file() is None
    path.write_bytes(b"22")
    assert found.changed_file() == str(path)
    path.unlink()
    assert found.changed_file() == str(path)


def test_a_recipe_overrides_the_presets_numbers():
    sampling = Recipe(2, "paper", patches=7, stride=3).sampling
    assert (sampling.patches_per_frame, sampling.patches_per_panorama, sampling.stride) == ((7, 7), 7, (3, 3))
    with pytest.raises(ConfigError, match="stride is 0"):
        Recipe(2, stride=0)
    with pytest.raises(ConfigError, match="val_frames is 0"):
        Recipe(2, val_frames=0)


def test_a_source_is_opened_anew_where_newer_code_reads_it(tmp_path, monkeypatch):
    opened = tmp_path / "film.pickle"
    opened.write_bytes(pickle.dumps("as surveyed"))
    monkeypatch.setattr(Scene, "open", lambda _: "anew")
    part = Part(0, SCENE, "train", Recipe(2), (0,), (0,), opened)
    assert part.source() == "as surveyed"
    newest = max(path.stat().st_mtime for path in plan._SOURCES_CODE.glob("*.py"))
    os.utime(opened, (newest - 1, newest - 1))
    assert part.source() == "anew"
