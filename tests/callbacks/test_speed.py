from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.data import DataLoader, Dataset

import callbacks.speed
from callbacks import Speed, StageSwitch
from tests.training import Callback, Trainer, random_codes, train
from zoo.flops import FlopCounter
from zoo.modules import DeepSRITMModule, JSIGANModule, JSINetModule
from zoo.optim import Rate

RATES = [Rate(1e-4), Rate(5e-5)]


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowBatches(Dataset):
    """Batches of two images, each of which takes a second to come."""

    def __init__(self, clock: Clock, batches: int) -> None:
        self.clock, self.batches = clock, batches

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= self.batches:
            raise IndexError
        self.clock.now += 1.0
        return random_codes(2, 6, 2, index)


class Work(Callback):
    """Three seconds for a batch, a hundred for a validation and between two epochs."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *args: Any) -> None:
        self.clock.now += 3.0

    def on_validation_batch_start(self, *args: Any) -> None:
        self.clock.now += 100.0

    def on_train_epoch_end(self, *args: Any) -> None:
        self.clock.now += 100.0

    def on_train_epoch_start(self, *args: Any) -> None:
        self.clock.now += 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(callbacks.speed, "time", SimpleNamespace(perf_counter=clock))
    return clock


def bare_trainer(*used: Callback, **options: Any) -> Trainer:
    return Trainer(
        **{
            "accelerator": "cpu",
            "callbacks": list(used),
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **options,
        }
    )


def scalars(folder: Path) -> list[dict[str, float]]:
    """Rows of a CSV logger that hold figures of speed, by their names."""
    (path,) = folder.glob("**/metrics.csv")
    with path.open() as file:
        rows = [{k.removeprefix("speed/"): float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [row for row in rows if "samples_per_second" in row]


def test_training_is_timed_without_validation_and_what_lies_between_epochs(clock: Clock, tmp_path: Path) -> None:
    speed = Speed()
    trainer = bare_trainer(
        Work(clock), speed, logger=CSVLogger(tmp_path), log_every_n_steps=2, max_epochs=3, val_check_interval=2
    )
    loader = DataLoader(SlowBatches(clock, 4), batch_size=None)
    trainer.fit(JSINetModule(rates=RATES[:1]), loader, DataLoader([random_codes(1, 6, 2, 0)], batch_size=None))

    # A second to wait and three to work for two images; the first update isn't timed.
    assert speed.figures["samples_per_second"] == pytest.approx(0.5)
    assert speed.figures["data_wait"] == pytest.approx(0.25)
    assert speed.samples_per_second == {1: pytest.approx(0.5)}
    rows = scalars(tmp_path)
    assert [row["step"] for row in rows] == [1, 3, 5, 7, 9, 11]
    for row in rows:
        assert row["samples_per_second"] == pytest.approx(0.5)
        assert row["data_wait"] == pytest.approx(0.25)
        assert 0.01 < row["memory_gb"] < 100
        assert "mfu" not in row  # of a CPU nobody promises anything


def test_the_arithmetic_of_an_update_is_counted_for_each_stage(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks.speed, "peak_flops", lambda device, precision: 1e9)
    module = DeepSRITMModule(rates=RATES)
    expected = []
    for module.net.modulation_on in (False, True):
        with FlopCounter() as counter:
            module.net(torch.rand(2, 3, 6, 6)).sum().backward()
        expected.append(counter.total)
    module.net.modulation_on = False
    module.zero_grad()
    assert expected[1] > 1.2 * expected[0]

    trainer = bare_trainer(
        StageSwitch(1), Work(clock), Speed(), logger=CSVLogger(tmp_path), log_every_n_steps=1, max_epochs=2
    )
    trainer.fit(module, DataLoader(SlowBatches(clock, 3), batch_size=None))
    rows = scalars(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 4, 5]
    for row, flops in zip(rows, [expected[0]] * 2 + [expected[1]] * 2, strict=True):
        assert row["tflops"] == pytest.approx(flops / 4.0 / 1e12, rel=1e-5)  # a batch takes four seconds
        assert row["mfu"] == pytest.approx(flops / 4.0 / 1e9, rel=1e-5)


@pytest.mark.parametrize(
    ("module_class", "options"), [(JSINetModule, {"rates": RATES[:1]}), (JSIGANModule, {"base_channels": 4})]
)
def test_accumulated_batches_count_each(module_class: type, options: dict[str, Any], clock: Clock) -> None:
    """In automatic optimisation they are worked off one by one, in manual all at once."""
    flops = {}
    for accumulate in (1, 2):
        speed = Speed()
        module = module_class(**options, accumulate=accumulate)
        used = [Work(clock), speed, *([StageSwitch(1)] if module.stages == 2 else [])]
        trainer = bare_trainer(*used, max_epochs=2, max_steps=2)
        trainer.fit(module, DataLoader(SlowBatches(clock, 4), batch_size=None))
        flops[accumulate] = speed.figures["tflops"]
    assert flops[1] > 0
    assert flops[1] == pytest.approx(flops[2])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_is_the_same_to_the_bit(precision: Any) -> None:
    ends = []
    for used in ([], [Speed()]):
        torch.manual_seed(0)
        module = DeepSRITMModule(rates=RATES)
        batches = [random_codes(2, 6, 2, 0)] * 2
        train(module, batches, [StageSwitch(1), *used], epochs=2, precision=precision)
        ends.append([torch.get_rng_state(), *module.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_an_error_in_the_counted_update_leaves_nothing_switched_on() -> None:
    class Broken(JSINetModule):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert _get_current_dispatch_mode_stack()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        train(Broken(rates=RATES[:1]), [random_codes(1, 6, 2, 0)], [Speed()])
    assert not _get_current_dispatch_mode_stack()


def test_a_gpu_says_how_idle_it_was_where_it_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3_000_000_000)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 75)
    found: Any = None
    monkeypatch.setattr(callbacks.speed.importlib.util, "find_spec", lambda name: found)  # type: ignore[attr-defined]
    assert callbacks.speed._of_device(torch.device("cuda")) == {"memory_gb": 3.0}
    found = True
    assert callbacks.speed._of_device(torch.device("cuda")) == {"memory_gb": 3.0, "gpu_idle": 0.25}


TWO_RANKS = """
import sys
from callbacks import Speed
from tests.callbacks.test_speed import RATES, bare_trainer, random_codes
from zoo.modules import JSINetModule
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

speed = Speed()
trainer = bare_trainer(
    speed,
    logger=CSVLogger(sys.argv[1]),
    log_every_n_steps=2,
    max_epochs=1,
    devices=2,
    strategy="ddp_fork_find_unused_parameters_true",
    use_distributed_sampler=False,
)
batches = [random_codes(2, 6, 2, seed) for seed in range(4)]
trainer.fit(JSINetModule(rates=RATES[:1]), DataLoader(batches, batch_size=None))
"""


def test_two_ranks_are_counted_together(root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", TWO_RANKS, str(tmp_path)], cwd=root, check=True, timeout=300)
    rows = scalars(tmp_path)
    assert [row["step"] for row in rows] == [1, 3]
    with FlopCounter() as counter:
        JSINetModule(rates=RATES[:1]).net(torch.rand(2, 3, 6, 6)).sum().backward()
    for row in rows:
        # Images of both ranks, arithmetic of one: a batch of a rank has two images.
        batches_per_second = row["tflops"] * 1e12 / counter.total
        assert row["samples_per_second"] == pytest.approx(2 * 2 * batches_per_second, rel=1e-4)
