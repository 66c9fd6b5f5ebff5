from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from datamodules.card import SourceFacts, describe, write_card
from datamodules.manifest import Manifest, ShardEntry, SourceEntry
from datamodules.parts import Loss
from datamodules.plan import Recipe, Survey
from datamodules.presets import PRESETS
from datamodules.scenes import Scene

MANIFEST = Manifest(
    scale=2,
    signals={"sdr": "bt709-bt1886-ycbcr709-narrow-8", "hdr": "bt2020-pq-ycbcr2020-narrow-10"},
    preset="mixed",
    seed=3,
    sources=(SourceEntry("sunset", "CC0-1.0", "ab" * 32),),
    splits={"train": (ShardEntry("train-000000.tar", 7, 1_024_000, "cd" * 32),), "val": (), "test": ()},
)
FACTS = SourceFacts(
    "train",
    Scene("sunset", Path("somewhere/hdr.mkv"), "CC0-1.0", Path("somewhere/sdr.mkv")),
    Survey("PairedVideo", "ab" * 32, (), 90, (1080, 1920), False, (0,)),
    frames=3,
)


def test_a_card_says_what_the_set_is_how_it_was_made_and_how_to_read_it(tmp_path):
    write_card(tmp_path, MANIFEST, Recipe(2, "mixed", 3, gamut_expansion=True), [FACTS], [], "python make -o DIR")
    card = (tmp_path / "README.md").read_text()
    assert "| `train` | 7 | 1 | 1.02 MB |" in card
    assert "    python make -o DIR\n" in card
    assert "Preset `mixed`, seed 3" in card
    assert "widened towards BT.2020" in card
    assert (
        f"| sunset | `train` | hdr.mkv + sdr.mkv | PairedVideo | 1920x1080 | 3 of 90 | CC0-1.0 | `{'ab' * 32}` |"
        in card
    )
    assert 'WebDataset("train-000000.tar"' in card
    assert "Left out" not in card
    assert str(Path("somewhere")) not in card


def test_a_card_says_how_many_frames_of_films_are_held_out(tmp_path):
    for split, said in (("train", False), ("val", True)):
        write_card(tmp_path, MANIFEST, Recipe(2, val_frames=9), [replace(FACTS, split=split)], [], None)
        assert ("at most 9 frames of a film" in (tmp_path / "README.md").read_text()) == said


def test_a_card_names_what_was_left_out(tmp_path):
    losses = [Loss("sunset", 2, "hdr.mkv: frame 8 is damaged | cut"), Loss("dusk", 0, "dusk.exr: no such file")]
    write_card(tmp_path, MANIFEST, Recipe(2), [FACTS], losses, None)
    card = (tmp_path / "README.md").read_text()
    assert "| sunset | 2 | hdr.mkv: frame 8 is damaged / cut |" in card
    assert "| dusk | all | dusk.exr: no such file |" in card


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_in_words_names_its_curves_and_what_it_does_to_sdr(preset):
    words = describe(preset)
    assert all(curve in words for curve in preset.curves)
    assert ("goes through" in words) == bool(preset.degradations)
    assert all(repr(degradation) in words for stage in preset.degradations for degradation, _ in stage)
