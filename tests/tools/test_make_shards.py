from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import OpenEXR
import pytest

from datamodules.manifest import Manifest


@pytest.fixture(scope="module")
def tool(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_shards", root / "tools" / "make_shards.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``train`` and ``held``, with a panorama each, and a split file that lists both and one that is absent."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed, name in enumerate(("train/attic_1k.exr", "held/beach_1k.exr")):
        light = np.exp2(np.random.default_rng(seed).uniform(-4, 4, (216, 432, 3))).astype(np.float16)
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        (folder / name).parent.mkdir()
        OpenEXR.File(header, {"RGB": light}).write(str(folder / name))
    split = {"train": [{"file": "attic_1k.exr"}], "test": [{"file": "beach_1k.exr"}, {"file": "cave_1k.exr"}]}
    (folder / "split.json").write_text(json.dumps(split))
    return folder


def run(tool: ModuleType, *arguments: object) -> int:
    return tool.main([*map(str, arguments), "--workers", "1"])


def samples(folder: Path) -> tuple[int, ...]:
    manifest = Manifest.read(folder)
    return tuple(manifest.samples(split) for split in ("train", "val", "test"))


def test_folders_become_a_set_and_its_size_is_told(tool, photographs, tmp_path, capsys):
    out = tmp_path / "set"
    status = run(tool, photographs / "train", "--val", photographs / "held", "-o", out, "--scale", 4, "--patches", 2)
    assert status == 0
    assert samples(out) == (2, 4, 0)
    assert f"{out}: 2 train, 4 val, 0 test samples at scale 4" in capsys.readouterr().out


def test_a_split_file_names_the_panoramas(tool, photographs, tmp_path, caplog):
    out = tmp_path / "set"
    split = photographs / "split.json"
    folders = [photographs / "train", photographs / "held"]
    assert run(tool, *folders, "--split", split, "-o", out, "--patches", 2) == 0
    assert samples(out) == (2, 0, 4)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"1 of 3 sources of {split} not found: cave_1k.exr"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no sources named"),
        (["absent"], "absent doesn't exist"),
        (["train", "--val", "train"], "scene attic is there twice"),
        (["train", "--split", "split.json", "--test", "held"], "leave out --val and --test"),
        (["train/attic_1k.exr", "--split", "split.json"], "SRC are folders to look in"),
        (["train", "--patches", "0"], "patches is 0"),
        (["train", "-o", "held"], "isn't an empty folder"),
        (["train", "-o", "held", "--dry-run"], "isn't an empty folder"),
        (["train", "-o", "split.json/set", "--dry-run"], "split.json is no folder"),
        (["train", "--val-frames", "0"], "val_frames is 0"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_status_2(
    tool, photographs, monkeypatch, capsys, tmp_path, arguments, message
):
    monkeypatch.chdir(photographs)
    assert run(tool, *(["-o", tmp_path / "set"] if "-o" not in arguments else []), *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("make_shards.py: ")
    assert message in error


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(tool, photographs, tmp_path, capsys):
    arguments = ("--val", photographs / "held", "--patches", 2, "--dry-run")
    assert run(tool, photographs / "train", "-o", tmp_path / "set", *arguments) == 0
    assert re.fullmatch(
        r"about 2 train, 4 val samples, [\d.]+ kB \(.* while they are made\), \d+ s\n", capsys.readouterr().out
    )
    assert list(tmp_path.iterdir()) == []


def test_the_data_card_holds_the_command_that_makes_the_same_set(tool, photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(photographs)
    arguments = [
        "train",
        "--val",
        "held",
        "--preset",
        "mixed",
        "--patches",
        2,
        "--seed",
        7,
        "--val-frames",
        5,
        "--gamut-expansion",
    ]
    assert run(tool, *arguments, "-o", tmp_path / "set") == 0
    card = (tmp_path / "set" / "README.md").read_text()
    (command,) = re.findall(r"^    python tools/make_shards.py (.*)$", card, flags=re.MULTILINE)
    assert run(tool, *[tmp_path / "again" if word == "DIR" else word for word in shlex.split(command)]) == 0
    assert Manifest.read(tmp_path / "again") == Manifest.read(tmp_path / "set")
    assert (tmp_path / "again" / "README.md").read_text() == card
    assert "Preset `mixed`, seed 7" in card
    assert "--val-frames 5" in command


@pytest.mark.parametrize(
    "arguments",
    [["--patch", "3"], ["--scale", "3"], ["--preset", "mixd"], ["--size", "9"], ["--size", "0x8"], ["--signal", "pq"]],
)
def test_abbreviations_and_unknown_values_are_refused(tool, photographs, tmp_path, arguments):
    with pytest.raises(SystemExit) as refused:
        run(tool, photographs / "train", "-o", tmp_path / "set", *arguments)
    assert refused.value.code == 2
    assert not (tmp_path / "set").exists()
