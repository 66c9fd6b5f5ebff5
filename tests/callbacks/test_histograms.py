from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from callbacks import Histograms
from zoo.errors import ConfigError


class _Board(CSVLogger):
    """A logger with TensorBoard's form of histograms."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.histograms: dict[str, tuple[np.ndarray, int]] = {}

    @property
    def experiment(self) -> Any:
        return self

    def add_histogram(self, key: str, values: np.ndarray, global_step: int) -> None:
        self.histograms[key] = values, global_step


class _Trainer:
    is_global_zero, global_step = True, 12

    def __init__(self, board: _Board, epoch: int) -> None:
        self.loggers, self.current_epoch = [board], epoch


class _Module:
    def __init__(self) -> None:
        self.net = torch.nn.Linear(3, 2)
        self.net(torch.ones(1, 3)).sum().backward()


def test_weights_and_last_gradients_are_logged_every_few_epochs(tmp_path: Path) -> None:
    board, module = _Board(tmp_path), _Module()
    callback = Histograms(every=2)

    callback.on_train_epoch_end(_Trainer(board, 0), module)  # type: ignore[arg-type]
    assert not board.histograms
    callback.on_train_epoch_end(_Trainer(board, 1), module)  # type: ignore[arg-type]

    assert set(board.histograms) == {"weights/weight", "weights/bias", "gradients/weight", "gradients/bias"}
    values, step = board.histograms["gradients/weight"]
    assert step == 12
    assert values.tolist() == [1.0] * 6


def test_what_is_not_finite_has_no_histogram(tmp_path: Path) -> None:
    board, module = _Board(tmp_path), _Module()
    module.net.weight.grad[0, 0] = float("nan")  # type: ignore[index]

    Histograms().on_train_epoch_end(_Trainer(board, 0), module)  # type: ignore[arg-type]

    assert "gradients/weight" not in board.histograms
    assert "gradients/bias" in board.histograms


def test_every_is_at_least_one() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Histograms(every=0)
