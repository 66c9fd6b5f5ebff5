from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TextIO

import pytest
import torch
from torch.utils.data import DataLoader

import callbacks.progress
from callbacks import ProgressLine, Speed, StageSwitch
from tests.training import Callback, LightningModule, Trainer, random_codes
from zoo.errors import ConfigError
from zoo.modules import DeepSRITMModule
from zoo.optim import Rate

LINE = re.compile(
    r"epoch (?P<epoch>\d+)/2, stage (?P<stage>\d), step (?P<step>\d+)/6(, (?P<left>[\d:]+ left(?: in stage 1)?))?"
    r"(, loss (?P<loss>[\d.e+-]+))?(, val (?P<val>[\d.-]+) dB)?(, (?P<speed>[\d.e+-]+) samples/s)?"
    r"(, waits for data \d+%)?"
)


def fit(*used: Callback, **options: Any) -> Trainer:
    """Two epochs of three updates, the second of another stage, each validated."""
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        max_epochs=2,
        log_every_n_steps=1,
        callbacks=[StageSwitch(1), Speed(), *used],
        **options,
    )
    batches = DataLoader([random_codes(2, 6, 2, seed) for seed in range(3)], batch_size=None)
    trainer.fit(DeepSRITMModule(rates=[Rate(1e-4), Rate(1e-4)]), batches, batches)
    return trainer


@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, list[bytes]]]:
    """A terminal of a width; what was written to it is there afterwards."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other side was closed
                return
            if not data:
                return
            seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as file:
        yield file, seen
    reader.join()
    os.close(ours)


def test_a_file_gets_lines_without_control_characters() -> None:
    file = io.StringIO()
    trainer = fit(ProgressLine(every=0.0, file=file))
    lines = file.getvalue().splitlines()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", file.getvalue())
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    assert len(found) == len(lines)
    assert [match["step"] for match in found] == ["1", "2", "3", "3", "4", "5", "6", "6"]
    assert [match["stage"] for match in found] == ["1"] * 4 + ["2"] * 4
    assert [match["epoch"] for match in found] == ["1"] * 4 + ["2"] * 4
    # Nobody knows the pace before two updates of a stage.
    assert [bool(match["left"]) for match in found] == [False, True, True, True] * 2
    assert [match["left"].endswith("in stage 1") for match in found if match["left"]] == [True] * 3 + [False] * 3
    assert all(match["loss"] for match in found)
    assert float(found[-1]["val"]) == pytest.approx(float(trainer.callback_metrics["val/psnr"]), abs=0.01)
    assert not found[0]["val"]


def test_a_file_gets_a_line_for_each_validation_however_seldom_others_come() -> None:
    file = io.StringIO()
    fit(ProgressLine(every=1e6, file=file))
    steps = [match["step"] for line in file.getvalue().splitlines() if (match := LINE.fullmatch(line))]
    assert steps == ["3", "6"]


class Speaker(Callback):
    """Logs a message in the middle of a run."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2:
            logging.getLogger("a name").warning("something to know")


@pytest.mark.parametrize("columns", [60, 200])
def test_a_terminal_gets_one_line_and_messages_above_it(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks.progress, "_REDRAW_SECONDS", 0.0)
    with terminal(columns) as (file, seen):
        monkeypatch.setattr("sys.stderr", file)
        handler = logging.StreamHandler(file)
        handler.addFilter(logging.Filter("a name"))  # Lightning's own messages aren't wanted here
        logging.root.addHandler(handler)
        try:
            fit(ProgressLine(), Speaker())
        finally:
            logging.root.removeHandler(handler)
    text = b"".join(seen).decode()
    above, *rest = text.replace("\r\n", "\n").split("\n")
    assert above.rpartition("\r")[2].strip() == "something to know"
    line, end = rest
    assert end == ""
    states = [state for state in f"{above}\r{line}".split("\r") if state.startswith("epoch")]
    assert len(states) >= 8
    assert max(map(len, states)) <= columns
    assert states[-1].startswith("epoch 2/2, stage 2, step 6/6, 00:00 left, loss ")
    if columns > 100:
        assert "validating 2/3" in text
        assert "dB" in states[-1]
        assert "samples/s" in states[-1]
        assert "validating" not in states[-1]


def test_a_terminal_of_no_size_gets_lines() -> None:
    with terminal(0) as (file, seen):
        fit(ProgressLine(every=1e6, file=file))
    lines = b"".join(seen).decode().splitlines()
    assert [LINE.fullmatch(line)["step"] for line in lines] == ["3", "6"]  # type: ignore[index]


def test_the_line_is_left_standing_when_the_run_breaks_off() -> None:
    class Failing(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            raise ConfigError("stop here")

    handlers = list(logging.root.handlers)
    with terminal(100) as (file, seen), pytest.raises(ConfigError):
        fit(ProgressLine(file=file), Failing())
    assert b"".join(seen).endswith(b"\r\n")
    assert logging.root.handlers == handlers


def test_waiting_for_data_is_said_from_5_percent_on() -> None:
    for waited, said in ((0.04, False), (0.5, True)):
        line = ProgressLine()
        line._speed = SimpleNamespace(figures={"samples_per_second": 3.0, "data_wait": waited})  # type: ignore[assignment]
        module = SimpleNamespace(stage=1, stages=1)
        trainer = SimpleNamespace(max_epochs=-1, current_epoch=4, global_step=7)
        text = line._text(trainer, module)  # type: ignore[arg-type]
        assert text == "epoch 5, step 7, 3 samples/s" + ", waits for data 50%" * said


def test_the_time_left_is_at_the_pace_since_the_stage_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks.progress, "time", SimpleNamespace(monotonic=lambda: 130.0))
    line = ProgressLine()
    line._pace_from = (100.0, 10)
    module = SimpleNamespace(stage_updates=lambda: (5, 65))
    # Fifteen updates in 30 seconds, 60 to go.
    assert line._left(SimpleNamespace(global_step=25), module) == pytest.approx(120.0)  # type: ignore[arg-type]


def test_a_disabled_line_says_nothing() -> None:
    file = io.StringIO()
    line = ProgressLine(every=0.0, file=file)
    line.disable()
    fit(line, limit_train_batches=1, limit_val_batches=1)
    assert file.getvalue() == ""
    assert torch.is_grad_enabled()
