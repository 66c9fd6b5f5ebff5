"""JSI-GAN's options and what its three optimisers do together."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor

from callbacks import StageSwitch
from tests.training import Callback, LightningModule, Trainer, random_codes, train
from zoo.errors import ConfigError
from zoo.modules import JSIGANModule
from zoo.optim import Rate

RATES = [Rate(1e-3), Rate(1e-3)]


def gan(**options: Any) -> JSIGANModule:
    """Scale 4 for its small LR pictures; narrow discriminators."""
    torch.manual_seed(0)
    return JSIGANModule(4, **{"base_channels": 2, "rates": RATES} | options)


def gan_batches(count: int, images: int = 4) -> list[dict[str, Any]]:
    return [random_codes(images, 40, 4, seed) for seed in range(count)]


def parameters_of(module: LightningModule) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def parts_that_differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name in first if not torch.equal(first[name], second[name])}


@pytest.mark.parametrize(("stage", "accumulate", "advances"), [(1, 1, 0), (2, 2, 2)])
def test_the_power_iteration_advances_twice_an_update_of_the_second_stage(
    monkeypatch: pytest.MonkeyPatch, stage: int, accumulate: int, advances: int
) -> None:
    module = gan(accumulate=accumulate)
    calls = []
    for name in ("D1", "D2"):
        discriminator = getattr(module, name)
        plain = discriminator.advance
        monkeypatch.setattr(discriminator, "advance", lambda plain=plain, name=name: (calls.append(name), plain()))
    train(
        module,
        gan_batches(accumulate),
        [StageSwitch(2 - stage)],
        epochs=1 if stage == 2 else 2,
        max_steps=1,
        precision="32-true",
    )
    assert calls == ["D1", "D2"] * advances


def test_without_the_norm_of_the_logit_a_gan_trains_and_logs_all_losses() -> None:
    module = gan(logit_norm=False)
    before = parameters_of(module)
    (step,) = train(module, gan_batches(1), [StageSwitch(0)], precision="32-true")
    # The first update of an epoch: what is logged before a hook logs would be missing there.
    assert {f"train/loss{term}" for term in ("", "_rec", "_adv", "_fm", "_d1", "_d2")} <= step.keys()
    assert step["train/loss_d1"] != pytest.approx(2, abs=1e-3)
    assert parts_that_differ(before, parameters_of(module)) == {"net", "D1", "D2"}


class Scaled(MixedPrecision):
    """16-mixed's gradient scaler, which grows after each step, without its autocast, so that nothing is rounded."""

    def __init__(self) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1))

    def autocast_context_manager(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


class Norms(Callback):
    """Notes the norm of the gradient that each optimiser was left with."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.norms = [
            float(torch.nn.utils.get_total_norm([p.grad for p in part.parameters() if p.grad is not None]))
            for part in (pl_module.net, pl_module.D1, pl_module.D2)
        ]


def test_clipping_and_accumulation_are_those_of_float32_under_a_gradient_scaler() -> None:
    """To the bit: scales are powers of two. A gradient clipped before it is unscaled would be a thousand times less."""
    ends, norms = [], Norms()
    for options in ({"precision": "32-true"}, {"plugins": [Scaled()], "precision": None}):
        module = gan(accumulate=2, clip_norm=1e-3)
        train(module, gan_batches(2), [StageSwitch(0), norms], **options)
        assert norms.norms == pytest.approx([1e-3] * 3, rel=1e-3)
        ends.append(parameters_of(module))
    assert parts_that_differ(*ends) == set()
    assert module.trainer.precision_plugin.scaler.get_scale() == 2**13  # after three optimisers' steps


def test_an_overflow_of_one_optimizer_leaves_out_that_one_alone() -> None:
    class Overflow(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.global_step == 0 and (gradient := pl_module.D1.layers[0].conv.weight.grad) is not None:
                gradient.fill_(float("inf"))

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            self.after = getattr(self, "after", [])
            self.after.append(parameters_of(pl_module))

    module, overflow = gan(), Overflow()
    before = parameters_of(module)
    train(module, gan_batches(2), [StageSwitch(0), overflow], plugins=[Scaled()], precision=None)
    assert parts_that_differ(before, overflow.after[0]) == {"net", "D2"}
    assert parts_that_differ(*overflow.after) == {"net", "D1", "D2"}
    counts = [{int(state["step"]) for state in o.state.values()} for o in module.trainer.optimizers]
    assert counts == [{2}, {1}, {2}]
    assert module.trainer.global_step == 2


class Steps(Callback):
    """Notes the trainer's step after each batch."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps.append((batch_idx, trainer.global_step))


def test_a_run_resumed_in_the_middle_of_an_update_keeps_the_rhythm(tmp_path: Path) -> None:
    """Its batches so far are lost; the update is made of the others, at the batch where it was due."""
    data = [random_codes(1, 6, 4, seed) for seed in range(8)]

    class InTheMiddle(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 4:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    train(gan(accumulate=4), data, [StageSwitch(1), InTheMiddle()], epochs=2, precision="32-true", max_steps=2)
    steps = Steps()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=2,
        max_steps=2,
        callbacks=[StageSwitch(1), steps],
    )
    trainer.fit(
        gan(accumulate=4), torch.utils.data.DataLoader(data, batch_size=None), ckpt_path=tmp_path / "middle.ckpt"
    )
    assert steps.steps == [(5, 1), (6, 1), (7, 2)]


class Held:
    """As much of a data module as is looked at before training."""

    class crops:
        sizes = (80, 160)

    def __init__(self, batch_size: int, world_size: int) -> None:
        self.batch_size, self.world_size = batch_size, world_size


@pytest.mark.parametrize(
    ("sync", "images", "ranks", "least"),
    [(False, 4, 2, None), (False, 3, 2, 4), (True, 2, 2, None), (True, 1, 2, 2), (True, 1, 4, None), (True, 3, 1, 4)],
)
def test_the_least_batch_is_a_ranks_or_with_synchronised_norms_that_of_all(
    sync: bool, images: int, ranks: int, least: int | None
) -> None:
    module = gan(sync_batchnorm=sync)
    if least is None:
        module.check_data(Held(images, ranks))
    else:
        with pytest.raises(ConfigError, match=f"takes at least {least} images a rank of 160x160"):
            module.check_data(Held(images, ranks))


_ON_RANKS = """
import sys
from pathlib import Path
from tests import two_ranks
from zoo.modules import JSIGANModule
from zoo.optim import Rate
make = lambda: JSIGANModule(4, base_channels=2, rates=[Rate(1e-4)] * 2, sync_batchnorm=True)
two_ranks.CASES["synced"] = (make, 0, 1, 2, 4, 40)
two_ranks.main("synced", int(sys.argv[1]), "64-true", False, Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_with_synchronised_norms_two_ranks_equal_one_process_with_the_global_batch(root: Path, tmp_path: Path) -> None:
    """Two images a rank, as one process with four; the generator's Adam moves by the sign of tiny gradients."""
    ends = []
    for ranks in (1, 2):
        out = tmp_path / str(ranks)
        out.mkdir()
        words = [sys.executable, "-c", _ON_RANKS, str(ranks), str(out)]
        subprocess.run(words, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=400)
        ends.append([torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(ranks)])
    (one,), (first, second) = ends
    assert parts_that_differ(first, second) == set()
    for name, expected in one.items():
        if name.endswith("layers.11.norm.bias"):
            continue  # its gradient is zero up to rounding
        torch.testing.assert_close(first[name], expected, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
