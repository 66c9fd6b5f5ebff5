from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins import MixedPrecision

from callbacks import DivergenceGuard, StageSwitch
from tests.training import Callback, LightningModule, Trainer, random_codes, train
from zoo.errors import ConfigError, DivergenceError
from zoo.modules import JSIGANModule, JSINetModule
from zoo.optim import Rate

Fit = Callable[..., list[dict[str, float]]]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Train in a folder of its own, since the guard writes there."""

    def run(*args: Any, **options: Any) -> list[dict[str, float]]:
        return train(*args, default_root_dir=tmp_path, **options)

    return run


class Poison(Callback):
    """Spoils a weight before a given batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            with torch.no_grad():
                pl_module.net.ir.head.weight.fill_(float("nan"))


class Spoil(Callback):
    """Spoils the gradient of ``net`` at given steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step in self.steps and pl_module.net.ir.head.weight.grad is not None:
            pl_module.net.ir.head.weight.grad.fill_(float("inf"))


def batches(count: int, images: int = 1, side: int = 6, scale: int = 2) -> list[dict[str, Any]]:
    noise = [random_codes(images, side, scale, seed) for seed in range(count)]
    return [{**batch, "key": [f"{seed}/{key}" for key in batch["key"]]} for seed, batch in enumerate(noise)]


def automatic(**options: Any) -> JSINetModule:
    torch.manual_seed(0)
    return JSINetModule(rates=[Rate(1e-4)], **options)


def gan(**options: Any) -> JSIGANModule:
    torch.manual_seed(0)
    return JSIGANModule(4, rates=[Rate(1e-4)] * 2, base_channels=2, **options)


def weights_of(module: LightningModule) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def test_nothing_is_saved_after_an_accident(fit: Fit, tmp_path: Path) -> None:
    """Checkpoints are also taken between two looks: by the clock, or because the run is told to stop."""

    class Save(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt", weights_only=False)

    with pytest.raises(DivergenceError, match="diverged at step 3"):
        fit(automatic(), batches(6), [Poison(2), DivergenceGuard(every=99), Save()], precision="32-true")
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["1.ckpt", "2.ckpt"]


@pytest.mark.parametrize(("name", "of"), [("JSINet", ""), ("JSI-GAN, first stage", " of net")])
def test_a_loss_of_nan_ends_the_run_at_the_next_look_and_its_step_is_named(fit: Fit, name: str, of: str) -> None:
    callbacks: list[Callback] = [Poison(2), DivergenceGuard(every=4)]
    module: Any = automatic()
    if of:
        module = JSIGANModule(rates=[Rate(1e-4)] * 2, base_channels=2)
        callbacks.insert(0, StageSwitch(1))
    with pytest.raises(DivergenceError, match=rf"diverged at step 3: the loss{of} is nan; .*lower the rates") as error:
        fit(module, batches(6), callbacks, epochs=2)
    assert len(str(error.value).splitlines()) == 1
    assert module.trainer.global_step == 4


def test_the_batch_of_the_accident_is_kept_in_codes(fit: Fit, tmp_path: Path) -> None:
    given = batches(4, images=2)
    with pytest.raises(DivergenceError, match=r"the batch is in \S+diverged-3\.npz; "):
        fit(automatic(), given, [Poison(2), DivergenceGuard(every=4)])
    kept = np.load(tmp_path / "diverged-3.npz", allow_pickle=False)
    assert list(kept["key"]) == ["2/0", "2/1"]
    np.testing.assert_array_equal(kept["sdr"], given[2]["sdr"].numpy())
    np.testing.assert_array_equal(kept["hdr"], given[2]["hdr"].numpy())
    assert (kept["sdr"].dtype, kept["hdr"].dtype) == (np.uint8, np.uint16)
    assert np.isnan(kept["loss"]).tolist() == [True]


@pytest.mark.parametrize("module", [automatic, gan])
def test_all_batches_of_an_accumulated_update_are_kept(fit: Fit, tmp_path: Path, module: Any) -> None:
    stage = [StageSwitch(1)] if module is gan else []
    given = batches(4, scale=4 if module is gan else 2)
    with pytest.raises(DivergenceError, match="at step 2"):
        fit(module(accumulate=2), given, [*stage, Poison(3), DivergenceGuard()], epochs=2)
    assert list(np.load(tmp_path / "diverged-2.npz")["key"]) == ["2/0", "3/0"]


def test_a_folder_that_cannot_be_written_does_not_hide_the_divergence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DivergenceError, match=r"the loss is nan; the batch couldn't be kept in \S+: .*; lower the"):
        train(automatic(), batches(1), [Poison(0), DivergenceGuard()], default_root_dir=tmp_path / "file")


def test_a_run_shorter_than_the_interval_is_looked_at_in_the_end(fit: Fit) -> None:
    with pytest.raises(DivergenceError, match="at step 2"):
        fit(automatic(), batches(2), [Poison(1), DivergenceGuard(every=100)])


def test_a_gradient_that_is_not_finite_is_found_in_its_own_batch(fit: Fit, tmp_path: Path) -> None:
    """Though the loss was a number, and that of the next batch isn't."""
    with pytest.raises(DivergenceError, match=r"at step 2: the gradient is NaN or infinite, though the loss was 0\."):
        fit(automatic(), batches(4), [Spoil(1), DivergenceGuard(every=4)])
    assert list(np.load(tmp_path / "diverged-2.npz")["key"]) == ["1/0"]


def test_weights_that_are_not_finite_are_found_though_losses_and_gradients_were(fit: Fit) -> None:
    class AfterTheLast(Poison):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
            super().on_train_batch_start(trainer, pl_module, None, self.batch)

    with pytest.raises(DivergenceError, match="by step 1: weights are NaN or infinite, though"):
        fit(automatic(), batches(1), [AfterTheLast(7), DivergenceGuard()])


@pytest.mark.parametrize("part", ["D1", "D2"])
def test_the_loss_of_a_discriminator_is_looked_at(fit: Fit, part: str) -> None:
    module = gan()
    plain, calls = module.hinge_d, []

    def hinge(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return plain(real, fake) * (float("nan") if len(calls) == ("D1", "D2").index(part) + 1 else 1)

    module.hinge_d = hinge
    with pytest.raises(DivergenceError, match=f"diverged at step 1: the loss of {part} is nan"):
        fit(module, batches(1, 4, 40, 4), [StageSwitch(0), DivergenceGuard()], precision="32-true")


def test_a_sound_run_goes_through(fit: Fit, tmp_path: Path) -> None:
    module = automatic()
    fit(module, batches(3), [DivergenceGuard(every=2)])
    assert module.trainer.global_step == 3
    assert not list(tmp_path.glob("diverged*"))


def test_a_skipped_update_leaves_weights_and_state_as_if_it_had_not_been(
    fit: Fit, caplog: pytest.LogCaptureFixture
) -> None:
    given = batches(4)
    module, guard = automatic(), DivergenceGuard(skips=1)
    with caplog.at_level(logging.WARNING, "callbacks"):
        steps = fit(module, given, [Spoil(1), guard])
    expected = automatic()
    fit(expected, [given[0], *given[2:]])
    for name, tensor in weights_of(expected).items():
        assert torch.equal(module.get_parameter(name), tensor), name
    assert module.trainer.global_step == 4
    assert [step["train/skipped"] for step in steps] == [0, 1, 1, 1]
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("step 2 is left out: the gradient is NaN or infinite, though the loss was 0.")
    assert warning.endswith("; pictures: 1/0")


@pytest.mark.parametrize(("bad", "stops"), [((1, 2, 4, 5), None), ((1, 2, 3, 5), 4)])
def test_more_than_the_stated_skips_in_a_row_end_the_run_with_sound_weights(
    fit: Fit, tmp_path: Path, bad: tuple[int, ...], stops: int | None
) -> None:
    module, guard = automatic(clip_norm=1.0), DivergenceGuard(skips=2)
    if stops is None:
        fit(module, batches(7), [Spoil(*bad), guard])
        assert guard.state_dict() == {"skipped": 4, "row": 0}
    else:
        with pytest.raises(
            DivergenceError,
            match=r"at step 4: the gradient is .*, after 2 updates in a row were left out; the batch is",
        ):
            fit(module, batches(7), [Spoil(*bad), guard])
        assert list(np.load(tmp_path / "diverged-4.npz")["key"]) == ["3/0"]
    assert all(p.isfinite().all() for p in module.parameters())


def test_an_infinite_loss_with_finite_gradients_is_skipped_too(fit: Fit) -> None:
    module = automatic()
    plain, calls = module.loss, []

    def loss(preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return plain(preds, target) + (float("inf") if len(calls) == 1 else 0)

    module.loss = loss
    before = weights_of(module)
    fit(module, batches(1), [DivergenceGuard(skips=1)])
    assert all(torch.equal(module.get_parameter(name), tensor) for name, tensor in before.items())


def test_one_optimizer_is_skipped_and_the_others_step(fit: Fit) -> None:
    module = gan()
    before = weights_of(module)
    fit(module, batches(1, 4, 40, 4), [StageSwitch(0), Spoil(0), DivergenceGuard(skips=1)], precision="32-true")
    moved = {name.partition(".")[0] for name, p in weights_of(module).items() if not torch.equal(p, before[name])}
    assert moved == {"D1", "D2"}


def scaled(**options: Any) -> dict[str, Any]:
    return {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", **options))], "precision": None}


def test_an_overflow_that_the_gradient_scaler_leaves_out_is_no_divergence(fit: Fit) -> None:
    module = automatic()
    fit(module, batches(3), [Spoil(1), DivergenceGuard(every=1)], **scaled())
    assert all(p.isfinite().all() for p in module.parameters())
    assert module.trainer.precision_plugin.scaler.get_scale() == 2**15


def test_a_scale_that_falls_without_end_is_a_divergence(fit: Fit) -> None:
    with pytest.raises(DivergenceError, match=r"by step 3: gradients overflow in float16 until .* fallen to 0\.5;"):
        fit(automatic(), batches(4), [Spoil(0, 1, 2), DivergenceGuard(every=1)], **scaled(init_scale=4.0))


@pytest.mark.parametrize(("every", "skips"), [(0, 0), (1, -1)])
def test_numbers_without_sense_are_refused(every: int, skips: int) -> None:
    with pytest.raises(ConfigError, match="give at least 1, and at least 0"):
        DivergenceGuard(every, skips)


def test_the_last_good_state_is_named(tmp_path: Path) -> None:
    class Saved:
        last_model_path = "runs/a/checkpoints/last.ckpt"

    class Stopped(Trainer):
        checkpoint_callback = Saved()

    trainer = Stopped(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        max_epochs=1,
        default_root_dir=tmp_path,
        callbacks=[Poison(0), DivergenceGuard()],
    )
    with pytest.raises(
        DivergenceError, match=r"the loss is nan; .*the last good state is runs/a/checkpoints/last\.ckpt"
    ):
        trainer.fit(automatic(), torch.utils.data.DataLoader(batches(1), batch_size=None))


_SKIPPING = """
import sys
from pathlib import Path
from callbacks import DivergenceGuard
from tests import two_ranks
two_ranks.NotedGuard = lambda out: DivergenceGuard(skips=1)
two_ranks.main("diverging", 2, "32-true", False, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_ranks_skip_alike_where_the_loss_of_one_is_nan(root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", _SKIPPING, str(tmp_path)], cwd=root, env=environment, check=True, timeout=400)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) and first[name].isfinite().all() for name in first)
