"""The tool from the command line to the table."""

from __future__ import annotations

import fcntl
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.wandb_records import offline_files, records
from zoo.ablation import Budget, read_ablation
from zoo.ablation.running import plan_runs, write_recipes


@pytest.fixture
def main(root: Path) -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("ablate", root / "tools" / "ablate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_columns_are_trained_side_by_side_and_one_that_fails_leaves_the_others(
    main: Callable[[list[str]], int],
    mine: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    words = [str(mine), "--updates", "10", "--seeds", "3", "--jobs", "2", "-o", "out"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "(b) seed 3: ToySRITM's inputs are [['luma']]; list some of image, base, detail" in said
    scores = json.loads(Path("out/scores.json").read_text())["columns"]
    result = scores["a"]["3"]
    assert scores["b"] == {}
    assert result["updates"] == 10
    assert f"(a) seed 3: {result['psnr']:.2f} dB, SSIM {result['ssim']:.4f}" in said
    assert Path("out/table.md").read_text() in said
    begun = [r.run for path in offline_files(Path("out/a-seed3")) for r in records(path) if r.HasField("run")]
    assert {run.run_group for run in begun} == {"mine"}

    # What has a result isn't trained again.
    written = Path("out/a-seed3/result.json").stat().st_mtime_ns
    assert main([*words, "--columns", "a"]) == 0
    assert Path("out/a-seed3/result.json").stat().st_mtime_ns == written


def test_what_can_not_be_run_is_said_in_one_line(
    main: Callable[[list[str]], int],
    mine: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    Path("out").mkdir()
    with Path("out/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words, message in [
            (["no_such_table"], "no ablation 'no_such_table': give a file, or one of deep_sritm.table1, "),
            ([str(mine), "--updates", "7"], "--updates 7: give a multiple of 10"),
            ([str(mine), "--columns", "z"], "mine has no column 'z'; it has a, b"),
            ([str(mine), "--jobs", "0"], "--jobs 0: give 1 or more"),
            ([str(mine), "--batch", "0"], "--batch 0: give 1 or more"),
            ([str(mine), "--seeds", "0", "-1"], "--seeds -1: give 0 or more"),
            ([str(mine), "--data", "absent", "-o", "out"], "no shard folder absent; "),
            ([str(mine), "-o", "out"], "another process trains in out: wait for it, or give another -o"),
        ]:
            assert main(words) == 2
            error = capsys.readouterr().err
            assert error.startswith(f"ablate.py: {message}")
            assert error.count("\n") == 1
    assert [path.name for path in Path("out").iterdir()] == [".lock"]


def test_nothing_is_written_where_something_is_wrong(
    main: Callable[[list[str]], int],
    mine: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    write_recipes(plan_runs(read_ablation(str(mine)), Budget(10), [1], Path("out")))
    assert main([str(mine), "--updates", "20", "--seeds", "0", "1", "-o", "out"]) == 2
    assert "a-seed1 was begun with another budget or an older recipe" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out").iterdir()) == ["a-seed1", "b-seed1"]
