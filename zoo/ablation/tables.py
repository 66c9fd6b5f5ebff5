"""What an ablation trains: a table's file in ``configs/ablations``, and the recipe of each of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import ConfigError, one_line
from zoo.runs import find_config

TABLES = ("deep_sritm.table1", "deep_sritm.table2", "deep_sritm.table3", "jsigan.table1", "jsigan.table3")
"""The papers' tables, by name."""

METRICS = ("psnr", "ssim")
"""Of ``zoo.metrics``; what the papers print of their ablations."""

_EPOCHS = 10  # of a short run
_EPOCH_UPDATES = 50  # at most, however long the run: a checkpoint follows each epoch


@dataclass(frozen=True)
class Budget:
    """What all runs of a table have in common.

    Attributes:
        updates: of the network, over both stages.
        data: a set as ``data.root`` takes it; None for the table's own.
        crop: HR pixels, of the first stage where the second has its own size; None for the table's own.
        batch: None for the table's own.

    Raises:
        ConfigError: updates that can't be cut into epochs, or a batch or crop of nothing.
    """

    updates: int
    data: str | None = None
    crop: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.updates < _EPOCHS or self.updates % self.epoch_updates or self.updates % _EPOCHS:
            raise ConfigError(
                f"--updates {self.updates}: give a multiple of {_EPOCHS}, beyond {_EPOCHS * _EPOCH_UPDATES} a multiple "
                f"of {_EPOCH_UPDATES}"
            )
        for option, value in (("--crop", self.crop), ("--batch", self.batch)):
            if value is not None and value < 1:
                raise ConfigError(f"{option} {value}: give 1 or more")

    @property
    def epoch_updates(self) -> int:
        """Updates of an epoch, after which stages may switch."""
        return max(1, min(_EPOCH_UPDATES, self.updates // _EPOCHS))

    @property
    def epochs(self) -> int:
        """Of the run."""
        return self.updates // self.epoch_updates


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its letter.
        title: what is peculiar to it.
        paper: printed figures by metric.
        second_stage: share of the updates that the second stage gets; None where there is one stage.
        recipe: as ``tools/fit.py`` takes it, but for the budget.
    """

    name: str
    title: str
    paper: Mapping[str, float]
    second_stage: float | None
    recipe: Mapping[str, Any]

    @property
    def scale(self) -> int:
        """HR over LR size; columns of several scales can't be ranked together."""
        return int(self.recipe["scale"])

    def fit_config(self, budget: Budget, seed: int) -> dict[str, Any]:
        """The whole recipe of a run."""
        data = dict(self.recipe["data"])
        if budget.data is not None:
            data["root"] = budget.data
        if budget.crop is not None:
            data["crop"] = [budget.crop, *data["crop"][1:]]
        if budget.batch is not None:
            data["batch_size"] = budget.batch
        config: dict[str, Any] = {
            "seed_everything": seed,
            "average": None,
            "panels": {"frames": 0},
            "trainer": {
                "devices": 1,
                "max_epochs": budget.epochs,
                "limit_train_batches": budget.epoch_updates,
                "check_val_every_n_epoch": budget.epochs + 1,  # the end is scored, nothing before it
                "enable_progress_bar": False,
            },
        }
        if self.second_stage is not None:
            second = round(self.second_stage * budget.epochs)
            config["stage"] = {"epoch": budget.epochs - min(max(second, 1), budget.epochs - 1)}
        return _merged({**self.recipe, "data": data}, config)


@dataclass(frozen=True)
class Ablation:
    """A table.

    Attributes:
        name: the stem of its file.
        title: for people.
        columns: in the paper's order.
    """

    name: str
    title: str
    columns: tuple[Column, ...]

    def chosen(self, names: list[str] | None) -> Ablation:
        """The table with these columns alone; all if None.

        Raises:
            ConfigError: it has no such column.
        """
        if names is None:
            return self
        known = [column.name for column in self.columns]
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"{self.name} has no column {unknown[0]!r}; it has {', '.join(known)}")
        return Ablation(self.name, self.title, tuple(column for column in self.columns if column.name in names))


def read_ablation(name: str) -> Ablation:
    """A table of the papers, or of a file like those in ``configs/ablations``.

    Args:
        name: one of ``TABLES``, or a path.

    Raises:
        ConfigError: there is none, or the file isn't one.
    """
    if not (name in TABLES or Path(name).is_file()):
        raise ConfigError(f"no ablation {name!r}: give a file, or one of {', '.join(TABLES)}")
    path = find_config(f"ablations/{name}" if name in TABLES else name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        common = content["recipe"]
        columns = [
            Column(
                str(letter),
                entry["title"],
                entry.get("paper", {}),
                entry.get("second_stage", content.get("second_stage")),
                _merged(common, entry.get("recipe", {})),
            )
            for letter, entry in content["columns"].items()
        ]
        missing = next((key for key in ("scale", "model", "data") if key not in common), None)
        if missing is not None or "crop" not in common["data"]:
            raise ConfigError(f"{path}: its recipe lacks {missing or 'data.crop'}")
        return Ablation(path.stem, content["title"], tuple(columns))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {one_line(error)}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no ablation ({error}): it holds title, recipe, and columns with titles"
        ) from error


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings joined at all depths; of anything else what stands above replaces what stands below."""
    joined = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(joined.get(key), Mapping)
        joined[key] = _merged(joined[key], value) if both else value
    return joined
