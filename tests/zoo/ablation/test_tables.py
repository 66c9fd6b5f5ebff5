"""Tests of the tables' files and of the recipes made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo.modules
from zoo.ablation import TABLES, Budget, read_ablation
from zoo.errors import ConfigError
from zoo.fit import FitCLI
from zoo.optim import Rate


def filters(table: str) -> dict[str, int]:
    """Filter parameters of each column's network."""
    counts = {}
    for column in read_ablation(table).columns:
        model = column.recipe["model"]
        options = dict(model["init_args"])
        rates = [Rate(**rate) for rate in options.pop("rates")]
        module: Any = getattr(zoo.modules, model["class_path"])(scale=column.scale, rates=rates, **options)
        counts[column.name] = sum(p.numel() for p in module.net.parameters() if p.ndim == 4)
    return counts


def test_each_file_is_a_table(root: Path) -> None:
    assert sorted(TABLES) == sorted(path.stem for path in (root / "configs" / "ablations").glob("*.yaml"))


def test_the_columns_of_table_1_have_as_many_filter_parameters_as_d() -> None:
    counts = filters("deep_sritm.table1")
    assert counts["d"] == 614_848
    assert all(abs(count / counts["d"] - 1) < 0.011 for count in counts.values()), counts


def test_the_columns_of_the_other_tables_lack_what_they_say() -> None:
    assert filters("deep_sritm.table2") == {"a": 913_216, "b": 913_216, "c": 916_672}
    full = {"b": 1_860_032, "c": 1_900_992, "d": 2_456_768, "e": 2_497_728}  # c, e: the authors' base and full network
    assert filters("deep_sritm.table3") == {"a": full["b"], **full}
    counts = filters("jsigan.table1")
    assert counts["b"] == counts["c"] < counts["e"] == counts["f"]
    assert counts["a"] < counts["d"] < counts["f"]


@pytest.mark.parametrize("table", TABLES)
def test_a_run_of_each_table_is_one_that_can_be_trained(table: str, tmp_path: Path) -> None:
    column = read_ablation(table).columns[-1]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(column.fit_config(Budget(300), seed=7)))
    cli = FitCLI(["--config", str(path), "--trainer.accelerator", "cpu"])
    cli.config_init.stage.setup(cli.trainer, cli.model, "fit")
    cli.model.configure_optimizers()
    cli.model.check_data(cli.datamodule)
    assert cli.trainer.max_epochs * cli.trainer.limit_train_batches == 300
    assert cli.datamodule.seed == 7
    assert cli.datamodule.scale == cli.model.net.scale == column.scale
    assert cli.config.trainer.precision == "32-true"


@pytest.mark.parametrize("table", TABLES)
def test_the_printed_figures_are_the_papers(table: str, reference: Path) -> None:
    paper = "deep_sritm" if table.startswith("deep") else "jsi_gan"
    text = (reference / "papers" / f"{paper}.txt").read_text(encoding="utf-8")
    for column in read_ablation(table).columns:
        assert f"{column.paper['psnr']:.2f}" in text, column
        assert f"{column.paper['ssim']:.4f}" in text, column


@pytest.mark.parametrize(("updates", "epochs", "each"), [(10, 10, 1), (300, 10, 30), (500, 10, 50), (1000, 20, 50)])
def test_a_budget_is_cut_into_epochs(updates: int, epochs: int, each: int) -> None:
    budget = Budget(updates)
    assert (budget.epochs, budget.epoch_updates) == (epochs, each)


@pytest.mark.parametrize("updates", [-10, 0, 5, 25, 510, 1025])
def test_a_budget_that_would_leave_updates_over_is_refused(updates: int) -> None:
    with pytest.raises(ConfigError, match=rf"--updates {updates}: give a multiple of 10, beyond 500 a multiple of 50"):
        Budget(updates)


def test_the_second_stage_gets_its_share_of_the_epochs() -> None:
    modulated = read_ablation("deep_sritm.table2").columns[0]
    assert modulated.fit_config(Budget(1000), 0)["stage"] == {"epoch": 9}  # 11 of 20: 660 of 1150
    assert modulated.fit_config(Budget(10), 0)["stage"] == {"epoch": 4}
    plain, both = (read_ablation("deep_sritm.table3").columns[index] for index in (1, 4))
    assert "stage" not in plain.fit_config(Budget(10), 0)
    assert both.fit_config(Budget(10), 0)["stage"] == {"epoch": 4}


def test_options_take_the_place_of_the_tables_own() -> None:
    column = read_ablation("jsigan.table3").chosen(["d"]).columns[0]
    data = column.fit_config(Budget(300, "shards/mine", 40, 4), 1)["data"]
    assert data == {"root": "shards/mine", "crop": [40, 160], "batch_size": 4}  # 160 is all that the GAN takes
    assert column.fit_config(Budget(300), 1)["data"] == {"root": "embedded", "crop": [80, 160], "batch_size": 8}


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no ablation 'deep_sritm\.table4': give a file, or one of deep_sritm\.table1"
    ):
        read_ablation("deep_sritm.table4")
    with pytest.raises(ConfigError, match=r"deep_sritm\.table1 has no column 'f'; it has a, b, c, d, e"):
        read_ablation("deep_sritm.table1").chosen(["a", "f"])
    path = tmp_path / "mine.yaml"
    for text, message in [
        ("title: [", r"mine\.yaml is no YAML"),
        ("- a", r"mine\.yaml is no ablation"),
        ("title: t\nrecipe: {scale: 2, model: {}, data: {crop: [80]}}\n", r"is no ablation \('columns'\)"),
        ("title: t\nrecipe: {scale: 2, model: {}, data: {}}\ncolumns: {a: {title: a}}\n", r"recipe lacks data\.crop"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_ablation(str(path))
