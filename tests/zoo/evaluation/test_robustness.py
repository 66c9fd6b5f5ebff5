from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
import torch

from zoo.color import SDR_CURVES
from zoo.evaluation import EvaluationFrame, open_sets
from zoo.evaluation.command import main
from zoo.evaluation.robustness import CODEC_QUALITIES, conditions
from zoo.evaluation.sets import VAL_V1

CURVES = ["reinhard-1000", *(curve for curve in SDR_CURVES if curve != "reinhard-1000")]
QUALITIES = [f"crf {crf}" for crf in CODEC_QUALITIES]


@pytest.fixture
def panorama(tmp_path: Path) -> Path:
    """Smooth coloured light over several stops; four frames of 32x32."""
    small = 2 ** np.random.default_rng(0).normal(0, 1.5, (8, 16, 3))
    light = cv2.resize(small, (128, 64), interpolation=cv2.INTER_CUBIC).clip(1e-3).astype(np.float32)
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"RGB": light}).write(str(tmp_path / "blobs.exr"))
    return tmp_path / "blobs.exr"


def means_of(folder: Path, metric: str) -> dict[str, dict[str, float]]:
    """By model, then condition."""
    means: dict[str, dict[str, float]] = {}
    for row in csv.DictReader((folder / "robustness.csv").open()):
        means.setdefault(row["model"], {})[row["condition"]] = float(row[metric])
    return means


def test_the_first_condition_is_the_protocol() -> None:
    assert list(conditions(styles=True, codec=True)) == [*CURVES, *QUALITIES]
    assert list(conditions(styles=False, codec=True)) == ["reinhard-1000", *QUALITIES]
    presets = conditions(styles=True, codec=True)
    assert presets["reinhard-1000"] == VAL_V1
    names = [preset.name for preset in presets.values()]  # the digest of a set goes by the name
    assert len(set(names)) == len(names)


def test_conditions_change_the_sdr_side_alone(panorama: Path) -> None:
    def frames(name: str) -> list[EvaluationFrame]:
        opened = open_sets([str(panorama)], scale=2, pairing=presets[name])
        digests.add(opened.digest)
        return next(iter(opened.read(opened.items)))[1]

    digests: set[str] = set()
    presets = conditions(styles=True, codec=True)
    first = frames("reinhard-1000")
    for name in list(presets)[1:]:
        for ours, theirs in zip(frames(name), first, strict=True):
            assert ours.key == theirs.key
            assert torch.equal(ours.hdr, theirs.hdr)
            assert not torch.equal(ours.sdr, theirs.sdr)
    assert len(digests) == len(presets)
    codes = 255 * frames("crf 42")[0].sdr
    torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)


def test_a_converter_that_inverts_one_curve_is_seen_for_what_it_is(panorama: Path, tmp_path: Path, capsys: Any) -> None:
    models = ["bicubic+oracle", "bicubic+bt2446c"]
    arguments = ["--data", str(panorama), "--scale", "1", "--styles", "-o", "out"]
    assert main(["--model", *models, *arguments]) == 0
    raw = means_of(tmp_path / "out", "psnr")
    assert list(raw["bicubic+oracle"]) == CURVES
    for model, own in zip(models, ("reinhard-1000", "bt2446c"), strict=True):
        assert max(raw[model], key=raw[model].__getitem__) == own
        others = [score for curve, score in raw[model].items() if curve != own]
        assert raw[model][own] > max(others) + 5
    shown = capsys.readouterr().out
    assert shown.strip() == (tmp_path / "out" / "robustness.md").read_text().strip()
    row = next(line for line in shown.splitlines() if line.startswith("| bicubic+oracle"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    scores = raw["bicubic+oracle"].values()
    assert cells[1:] == [f"{score:.2f}" for score in (*scores, min(scores), max(scores) - min(scores))]
    assert "## psnr_matched" in shown
    content = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert content["conditions"]["hable"]["data"]["preset"] == "val-v1, curve hable"
    assert len(content["pictures"]) == len(CURVES)
    assert all((tmp_path / "out" / name).stat().st_size > 1000 for name in content["pictures"])
    assert (tmp_path / "out" / "bt2446a" / "scores.csv").is_file()


def test_scores_fall_with_the_quality_of_the_codec(panorama: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(panorama), "--codec", "--metrics", "psnr", "-o", "out"]
    assert main(["--model", "bicubic+oracle", *arguments]) == 0
    scores = means_of(tmp_path / "out", "psnr")["bicubic+oracle"]
    assert list(scores) == ["reinhard-1000", *QUALITIES]
    assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_the_first_column_is_the_ordinary_evaluation(panorama: Path, tmp_path: Path) -> None:
    arguments = ["--model", "bicubic+bt2446c", "--data", str(panorama), "--metrics", "psnr"]
    assert main([*arguments, "--codec", "-o", "out"]) == 0
    assert main([*arguments, "--worst", "0", "-o", "plain"]) == 0
    plain = json.loads((tmp_path / "plain" / "scores.json").read_text())
    under = json.loads((tmp_path / "out" / "robustness.json").read_text())["conditions"]["reinhard-1000"]
    assert under["models"][0]["scores"] == plain["models"][0]["scores"]
    assert under["data"] == plain["data"]


def test_data_that_bring_their_sdr_are_refused(shards: Path, kaist: str, capsys: Any) -> None:
    for data, said in ((str(shards), "holds SDR that is made already"), (kaist, "brings its own SDR side")):
        assert main(["--model", "bicubic+bt2446c", "--data", data, "--codec", "-o", "out"]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evaluate.py")]
        assert said in line
