from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from datamodules.manifest import Manifest, SourceEntry
from datamodules.shards import Sample, write_shard
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

SIGNALS = {"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)}


@pytest.fixture(scope="module")
def tool(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("inspect_shards", root / "tools" / "inspect_shards.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))


def grey(key: str, hdr_luma: int, sdr_luma: int, height: int = 16, width: int = 16) -> Sample:
    """A sample of one grey."""
    sdr = np.full((height // 2, width // 2, 3), 128, np.uint8)
    hdr = np.full((height, width, 3), 512, np.uint16)
    sdr[..., 0], hdr[..., 0] = sdr_luma, hdr_luma
    return Sample(key, sdr, hdr, {"scene": key, "preset": "mixed", "curve": "hable", "exposure": 2.0, "stops": -0.5})


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two training shards, of a sample at 1000 and one at 10 cd/m² and half as many pixels; a wide frame in val."""
    folder = tmp_path / "greys"
    folder.mkdir()
    splits = {
        "train": (
            write_shard(folder / "train-0.tar", [grey("bright-0", 723, 235)]),
            write_shard(folder / "train-1.tar", [grey("dark-0", 330, 60, height=8)]),
        ),
        "val": (write_shard(folder / "val-0.tar", [grey("wide-0", 520, 120, 200, 1000)]),),
        "test": (),
    }
    sources = (SourceEntry("bright", "CC0-1.0", "0" * 64), SourceEntry("dark", None, "1" * 64))
    Manifest(2, SIGNALS, "mixed", 7, sources, splits).write(folder)
    return folder


def run(tool: ModuleType, *arguments: object) -> int:
    return tool.main(list(map(str, arguments)))


def test_the_summary_tells_facts_and_measurements(tool, shards, tmp_path, capsys):
    assert run(tool, shards, "-o", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for line in (
        f"{shards}: scale 2, preset mixed, seed 7",
        "2 sources: CC0-1.0 (1), licence unknown (1)",
        "0 of 3 shards are damaged",
        "train: 2 of 2 samples measured, 0.00 Mpixel of HDR",
        "HR size 16x16 (1), 16x8 (1)",
        "SDR curve hable (2)",
        "exposure key least 2, quartiles 2 2 2, greatest 2",
        "stops drawn least -0.5, quartiles -0.5 -0.5 -0.5, greatest -0.5",
        "highest code of luma 235: 66.67 % 723: 66.67 %",
        "luma at nominal white or above 66.67 % 0.00 %",
        "gamut of HDR: 0.00 % outside BT.709, 0.00 % outside P3-D65",
        f"contact sheet: {tmp_path / 'out' / 'greys-train.png'}",
    ):
        assert line in lines
    assert "800 to 1600 0.00 % 66.67 % " + 30 * "#" in lines
    assert f"50 to 100 66.67 % {30 * '#'} 0.00 %" in lines


def test_the_sheet_shows_each_pair_sdr_left_and_hdr_right(tool, shards, tmp_path):
    run(tool, shards, "-o", tmp_path / "out")
    sheet = cv2.imread(str(tmp_path / "out" / "greys-train.png"))
    assert sheet.shape == (2 * 18 + 192 + 6, 2 * 2 * (192 + 6), 3)
    top, hdr, second = 2 * 18, 192 + 6, 2 * (192 + 6)
    assert (sheet[top : top + 16, :16] == 255).all()  # SDR white, each LR pixel twice in both directions
    assert (sheet[top : top + 16, hdr : hdr + 16] >= 254).all()  # 1000 cd/m² is white through the curve
    dark_sdr, dark_hdr = sheet[top, second, 0], sheet[top, second + hdr, 0]
    assert 0 < dark_sdr < 128
    assert 0 < dark_hdr < 128
    assert not sheet[top + 8 : top + 16, second : second + 16].any()  # half as high
    assert sheet[:18].any()  # the label


def test_a_large_frame_is_reduced_to_its_tile(tool, shards, tmp_path):
    run(tool, shards, "-o", tmp_path / "out", "--split", "val")
    sheet = cv2.imread(str(tmp_path / "out" / "greys-val.png"))
    assert sheet.shape == (2 * 18 + 192 + 6, 2 * (192 + 6), 3)
    assert sheet[36 : 36 + 38, 198 : 198 + 192].all()
    assert not sheet[36 + 38 :].any()


def test_samples_bounds_what_is_measured(tool, shards, tmp_path, capsys):
    run(tool, shards, "-o", tmp_path, "--samples", 1)
    assert "train: 1 of 2 samples measured" in capsys.readouterr().out


def test_json_holds_the_same_for_programs(tool, shards, tmp_path, capsys):
    assert run(tool, shards, "-o", tmp_path, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["manifest"]["seed"] == 7
    assert report["damage"] == {}
    assert report["measured"]["hdr"]["codes"][1] == [723, pytest.approx(2 / 3)]
    assert len(report["luminance_edges"]) == len(report["measured"]["sdr"]["luminance"])
    assert report["contact_sheet"] == str(tmp_path / "greys-train.png")


def test_a_damaged_shard_is_named_and_the_others_are_measured(tool, shards, tmp_path, capsys):
    (shards / "train-0.tar").write_bytes((shards / "train-0.tar").read_bytes()[:3000])
    assert run(tool, shards, "-o", tmp_path) == 1
    printed = capsys.readouterr().out
    assert "1 of 3 shards are damaged" in printed
    assert "train-0.tar has 3000 bytes" in printed
    assert "train: 1 of 2 samples measured" in printed


def test_a_split_without_a_whole_shard_is_said_to_be_so(tool, shards, tmp_path, capsys):
    (shards / "val-0.tar").unlink()
    assert run(tool, shards, "-o", tmp_path / "out", "--split", "val") == 1
    assert "val: no shard is whole" in capsys.readouterr().out
    assert run(tool, shards, "-o", tmp_path / "out", "--split", "val", "--json") == 1
    assert json.loads(capsys.readouterr().out)["measured"] is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "no shard folder absent"),
        (["home"], "has no dataset.json"),
        (["greys", "--split", "test"], "split test of the set is empty; choose train or val"),
        (["greys", "--samples", "0"], "--samples is 0"),
        (["greys", "-o", "greys/dataset.json"], "can't write the contact sheet"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_status_2(
    tool, shards, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home" / "index").mkdir(parents=True)
    assert run(tool, *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("inspect_shards.py: ")
    assert message in error[0]


def test_a_set_without_samples_is_refused(tool, tmp_path, capsys):
    Manifest(2, SIGNALS, "mixed", 0, (), {"train": (), "val": (), "test": ()}).write(tmp_path)
    assert run(tool, tmp_path) == 2
    assert "the set has no samples" in capsys.readouterr().err
