from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from zoo.cli import main as sritm
from zoo.errors import ConfigError
from zoo.fit.budget import Plan, plan
from zoo.fit.configuration import FitCLI
from zoo.fit.hardware import fast_precision, resolve_accelerator, resolve_devices
from zoo.fit.main import _planned


def test_a_plan_fills_the_minutes() -> None:
    # Ten batches of 0.5 s and of 3 s; validations of 4 s every second epoch.
    chosen = plan(10, 2, lambda stage: ((0.5, 10), (3.0, 10))[stage - 1], lambda: 4.0, every=2)
    assert chosen.stage_epoch is not None
    first, second = chosen.stage_epoch, chosen.max_epochs - chosen.stage_epoch
    assert second * 10 >= 30
    assert 580 <= first * 7 + second * 32 <= 600


def test_a_plan_keeps_thirty_gan_steps_and_one_epoch_however_little_time_there_is() -> None:
    assert plan(0.01, 2, lambda stage: (5.0, 8), lambda: 1.0, every=1) == Plan(1, 5)
    assert plan(0.01, 1, lambda stage: (5.0, 8), lambda: 1.0, every=1) == Plan(None, 1)


def test_each_stage_is_timed_in_steps_of_its_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few steps an epoch has: one is the least."""
    probes: list[dict[str, str]] = []

    class Bare:
        config = SimpleNamespace(budget=10, trainer=SimpleNamespace(check_val_every_n_epoch=1))
        model = SimpleNamespace(stages=2)
        datamodule = None
        trainer = SimpleNamespace(fit=lambda *_: None, validate=lambda *_, **__: None)
        timer = SimpleNamespace(step=1.0, batches=1)

        def __init__(self, args: Sequence[str]) -> None:
            probes.append(dict(arg.removeprefix("--").split("=") for arg in args))

    monkeypatch.setattr(sys.modules["zoo.fit.main"], "FitCLI", Bare)  # zoo.fit.main is the function
    monkeypatch.setenv("SRITM_FIT_PLAN", "")  # so that it is removed afterwards
    monkeypatch.delenv("SRITM_FIT_PLAN")
    _planned(Bare([]), [])  # type: ignore[arg-type]
    _, first, second = probes
    assert int(first["stage.epoch"]) >= int(first["trainer.max_steps"])
    assert int(second["stage.epoch"]) == 0
    for probe in (first, second):
        assert int(probe["trainer.max_epochs"]) > int(probe["trainer.max_steps"]) > 1


def test_all_devices_of_the_machine_are_counted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_accelerator("auto", -1) == ("cpu", 1)
    assert resolve_devices("cpu", -1, 1) == 1
    assert resolve_devices("gpu", "auto", 4) == 4
    assert resolve_devices("gpu", "0,3", 2) == "0,3"


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert resolve_accelerator("auto", "auto") == ("gpu", 4)
    assert resolve_accelerator("auto", 2) == ("gpu", 2)
    assert resolve_accelerator("gpu", "0,3") == ("gpu", 2)
    assert resolve_accelerator("cpu", 3) == ("cpu", 3)
    with pytest.raises(ConfigError, match=r"--trainer\.devices 8: torch sees 4 GPUs here"):
        resolve_accelerator("auto", 8)


def test_auto_is_one_cpu_process_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_accelerator("auto", "auto") == ("cpu", 1)
    with pytest.raises(ConfigError, match=r"add --trainer\.accelerator cpu for 2 processes"):
        resolve_accelerator("auto", "2")
    with pytest.raises(ConfigError, match="give a number"):
        resolve_accelerator("cpu", "two")


def test_bfloat16_is_taken_only_where_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert fast_precision("cpu") == "32-true"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert fast_precision("cpu") == "bf16-mixed"


def test_the_terminal_lists_and_shows_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert sritm(["list", "jsinet*"]) == 0
    assert capsys.readouterr().out.count("jsinet_x") == 3
    assert sritm(["show", "deep_sritm_x2"]) == 0
    assert "2,502,595" in capsys.readouterr().out
    assert sritm(["show", "deep_sritm"]) == 2
    assert "did you mean deep_sritm_x" in capsys.readouterr().err


def test_one_batch_is_not_taken_for_all_batches() -> None:
    options = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "0.5"]
    trainer = FitCLI(["--config", "configs/jsinet_x2.yaml", *options]).config.trainer
    assert (type(trainer.limit_train_batches), trainer.limit_train_batches) == (int, 1)
    assert trainer.limit_val_batches == 0.5
