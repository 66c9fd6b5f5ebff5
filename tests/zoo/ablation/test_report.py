"""Tests of what a table says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zoo.ablation.column import RESULT_NAME
from zoo.ablation.report import gather, table_text
from zoo.ablation.running import Run
from zoo.ablation.tables import Ablation, Budget, Column
from zoo.errors import ConfigError

RECIPE: dict[str, Any] = {"scale": 2, "data": {"root": "embedded", "crop": [80], "batch_size": 8}}


def column(name: str, psnr: float, scale: int = 2) -> Column:
    return Column(name, f"column {name}", {"psnr": psnr, "ssim": 0.9}, None, {**RECIPE, "scale": scale})


def result(psnr: float, ssim: float = 0.5) -> dict[str, Any]:
    return {"psnr": psnr, "ssim": ssim, "filter_parameters": 1000, "split": "test", "frames": {"x": {}, "y": {}}}


def test_means_deviations_ranks_and_the_order_of_pairs() -> None:
    ablation = Ablation("t", "Table", (column("a", 30.0), column("b", 31.0), column("c", 32.0), column("d", 20.0, 4)))
    scores = {
        "a": {0: result(20.0), 1: result(22.0)},
        "b": {0: result(21.0), 1: result(21.5)},  # above a in one seed, and in the mean
        "c": {0: result(19.0), 1: result(20.0)},  # below both in both
        "d": {},
    }
    text = table_text(ablation, Budget(300), scores)
    rows = {line[3]: [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[2:3] == "("}
    assert rows["a"][:7] == ["(a) column a", "2", "1,000", "21.00 ± 1.41", "2", "30.00", "3"]
    assert rows["a"][7:] == ["0.5000 ± 0.0000", "1", "0.9000", "1"]
    assert rows["b"][3:7] == ["21.25 ± 0.35", "1", "31.00", "2"]
    assert rows["c"][3:7] == ["19.50 ± 0.71", "3", "32.00", "1"]
    # No result, and alone at its scale.
    assert rows["d"][1:7] == ["0", "-", "-", "-", "20.00", "1"]
    assert "PSNR, x2: 1 of 3 pairs of columns in the paper's order; with every seed in it: 0, against it: 2" in text
    # The printed SSIMs are equal: there is no order to be in.
    assert "SSIM, x2:" not in text
    assert "300 updates of batch 8, HR crops of 80, on embedded" in text
    assert "scored on 2 test frames" in text


def test_one_seed_has_no_deviation_and_a_table_without_results_is_still_one() -> None:
    ablation = Ablation("t", "Table", (column("a", 30.0), column("b", 31.0)))
    text = table_text(ablation, Budget(300), {"a": {0: result(20.0)}, "b": {}})
    row = next(line for line in text.splitlines() if "(a)" in line)
    assert " 20.00 |" in row
    assert "±" not in row
    assert "seeds none yet; scored on nothing yet" in table_text(ablation, Budget(300), {"a": {}, "b": {}})


def test_runs_of_different_data_are_not_compared(tmp_path: Path) -> None:
    ablation = Ablation("t", "Table", (column("a", 30.0),))
    runs = [Run("a", seed, tmp_path / f"a-seed{seed}", "") for seed in (0, 1)]
    for run, data in zip(runs, ("one", "other"), strict=True):
        run.folder.mkdir()
        (run.folder / RESULT_NAME).write_text(json.dumps(result(20.0) | {"data": data}))
    assert list(gather(ablation, runs[:1])["a"]) == [0]
    with pytest.raises(ConfigError, match=r"a-seed0 and \S+a-seed1 are of different data: give another -o"):
        gather(ablation, runs)
