"""What the apparatus around a training step costs, against a plain PyTorch loop of the same step.

    python tests/benchmarks/bench_training.py                                   # JSInet x2, its recipe
    python tests/benchmarks/bench_training.py jsigan --stage 2 --batch 4 --pairs 10 --block 5
    python tests/benchmarks/bench_training.py --ranks                           # discriminators that rest, two ranks

Without ``--ranks`` a run of the recipe as ``tools/fit.py`` makes it, with all its callbacks, loggers and its data
module, and two plain loops take turns in one process, a block of steps each, in an order that goes round:

- loader: batches from another loader of the same data module;
- preloaded: a few batches that lie on the device already.

A plain loop has the same network, loss, optimiser and precision, and nothing else: no average of the weights, no look
at gradients, no logs. Validations, checkpoints at an epoch's end and the first block are left out. Ratios are medians
over rounds, of the clock's time and of this process's CPU time, with 95 % bootstrap intervals. Where the machine is
busy with other things the clock's ratio is still right on average; CPU time is steadier, and says the same where the
step is the CPU's own.

With ``--ranks`` two gloo ranks train JSInet under plain DDP: alone; alone, where unused parameters are looked for; and
beside JSI-GAN's two discriminators, which rest in the first stage but whose buckets and buffers are sent all the same.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

PRELOADED = 4
Step = Callable[[dict[str, Any]], object]


class Done(Exception):
    """Enough rounds were timed."""


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Median of paired ratios, and a 95 % bootstrap interval of it."""
    values = np.array(ratios)
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


def report(rounds: list[dict[str, tuple[float, float]]], against: str, block: int) -> None:
    """A table of milliseconds for a step, and of the ratios to one of the columns."""
    print(f"{'':22}{'ms/step':>9}{'clock':>9}{'95 %':>18}{'CPU time':>10}{'95 %':>18}")
    for name in rounds[0]:
        ms = 1000 * statistics.median(each[name][0] for each in rounds) / block
        line = f"{name:22}{ms:9.2f}"
        if name != against:
            for kind in (0, 1):
                middle, low, high = interval([each[name][kind] / each[against][kind] for each in rounds])
                line += f"{middle - 1:+9.2%} {f'{low - 1:+.2%} to {high - 1:+.2%}':>18}"
        print(line, flush=True)


def timed(steps: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of the clock and of this process's CPUs."""
    _wait(device)
    begin = _clocks()
    steps()
    _wait(device)
    end = _clocks()
    return end[0] - begin[0], end[1] - begin[1]


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_step(module: Any, device: torch.device, precision: str) -> Step:
    """The step of ``module``, which no trainer has, on a batch of codes."""
    from zoo.modules.base import codes_to_signal

    module.to(device)
    optimizers = module.configure_optimizers()
    optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = 1e-6
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")

    def autocast() -> Any:
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype)

    def update(optimizer: Any, loss: Callable[[], torch.Tensor]) -> None:
        optimizer.zero_grad()
        with autocast():
            value = loss()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()

    def simple(batch: dict[str, Any]) -> None:
        from zoo.losses import mean_squared_error

        loss = getattr(module, "loss", mean_squared_error)
        update(optimizers[0], lambda: loss(module.net(batch["sdr"]), batch["hdr"]))

    def gan(batch: dict[str, Any]) -> None:
        module._advance()
        with torch.no_grad(), autocast():
            fake = module.net(batch["sdr"])
        for optimizer, (discriminator, sees, weight) in zip(optimizers[1:], module._pairs(), strict=True):
            real, false = sees(batch["hdr"]), sees(fake)
            update(optimizer, lambda: weight * module.hinge_d(discriminator(real)[0], discriminator(false)[0]))  # noqa: B023
        module._advance()
        for discriminator in (module.D1, module.D2):
            discriminator.requires_grad_(False)
        update(optimizers[0], lambda: module._adversarial(batch)["loss"])
        for discriminator in (module.D1, module.D2):
            discriminator.requires_grad_(True)

    step = gan if hasattr(module, "D1") and module.stage == 2 else simple

    def on_codes(batch: dict[str, Any]) -> None:
        moved = {key: batch[key].to(device, non_blocking=True) for key in ("sdr", "hdr")}
        step(codes_to_signal({**batch, **moved}, module.net))

    return on_codes


def endless(loader: Any) -> Iterator[dict[str, Any]]:
    """Batch after batch, epoch after epoch."""
    for epoch in itertools.count():
        loader.batch_sampler.set_epoch(epoch)
        yield from loader


def overhead(options: argparse.Namespace) -> None:
    """The run's step against the plain ones."""
    from zoo.fit import FitCLI  # before pytorch_lightning, isort: skip
    from pytorch_lightning import Callback

    class Rounds(Callback):
        """Times the run's blocks, and does the plain loops' between them."""

        def __init__(self) -> None:
            self.rounds: list[dict[str, Any]] = []
            self.steps = 0
            self.spent = [0.0, 0.0]
            self.mark = _clocks()
            self.plain: dict[str, Callable[[], object]] = {}

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            step = plain_step(twin, pl_module.device, str(trainer.precision))
            batches = endless(trainer.datamodule.train_dataloader())
            kept = [
                {key: value.to(pl_module.device) if hasattr(value, "to") else value for key, value in batch.items()}
                for batch in itertools.islice(batches, PRELOADED)
            ]
            again = itertools.cycle(kept)
            self.plain = {
                "loader": lambda: [step(next(batches)) for _ in range(options.block)],
                "preloaded": lambda: [step(next(again)) for _ in range(options.block)],
            }

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.mark = _clocks()  # what lies between two epochs isn't a step

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            device = pl_module.device
            self.steps += 1
            if self.steps == options.block:
                _wait(device)
            now = _clocks()
            self.spent = [spent + end - begin for spent, end, begin in zip(self.spent, now, self.mark, strict=True)]
            if self.steps == options.block:
                order = list(self.plain.items())
                if len(self.rounds) % 2:
                    order.reverse()
                times = {"run": tuple(self.spent)} | {name: timed(steps, device) for name, steps in order}
                self.rounds.append({name: times[name] for name in ("loader", "preloaded", "run")})
                if len(self.rounds) > options.pairs:
                    raise Done
                self.steps, self.spent = 0, [0.0, 0.0]
            self.mark = _clocks()

    with tempfile.TemporaryDirectory() as folder:
        given = {
            "config": options.name,
            "run_dir": f"{folder}/run",
            "data.root": options.data,
            "data.crop": f"[{options.crop}]",
            "data.batch_size": options.batch,
            "data.val_scenes": "[circus_arena]" if options.data == "embedded" else None,
            "data.num_workers": options.workers,
            "trainer.max_epochs": 10_000,
            "trainer.check_val_every_n_epoch": 20_000,
            "trainer.accelerator": options.accelerator,
            "trainer.precision": options.precision,
            "panels.frames": 0,
        }
        words = [f"--{key}={value}" for key, value in given.items() if value is not None]
        two_stages = options.name.startswith(("jsigan", "deep_sritm"))
        if two_stages:
            words.append(f"--stage.epoch={9_999 if options.stage == 1 else 0}")
        cli = FitCLI(words)
        cli.check()
        twin: Any = deepcopy(cli.model)
        twin.stage = options.stage
        if hasattr(twin.net, "modulation_on"):
            twin.net.modulation_on = options.stage == 2
        cli.begin()
        rounds = Rounds()
        cli.trainer.callbacks.append(rounds)  # type: ignore[attr-defined]
        with suppress(Done):
            cli.trainer.fit(cli.model, cli.datamodule)
        device = cli.trainer.strategy.root_device
        print(
            f"{options.name}, stage {options.stage}: {options.pairs} rounds of {options.block} steps, batch "
            f"{options.batch}, HR {options.crop}, {cli.trainer.precision} on {device}, {torch.get_num_threads()} "
            f"threads, {cli.config.data.num_workers} workers, log_every_n_steps {cli.trainer.log_every_n_steps}"
        )
        for against in ("loader", "preloaded"):
            report(rounds.rounds[1:], against, options.block)


class OneStep(nn.Module):
    """JSInet's loss, in a module that may own more than it uses, as a LightningModule does."""

    def __init__(self, net: nn.Module, resting: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net
        self.resting = resting

    def forward(self, sdr: torch.Tensor, hdr: torch.Tensor) -> torch.Tensor:
        """The mean squared error."""
        return (self.net(sdr) - hdr).square().mean()


def rank_main(rank: int, rendezvous: str, options: argparse.Namespace) -> None:
    """One of two ranks."""
    from zoo.nets import Discriminator, JSINet
    from zoo.optim import create_optimizer

    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    size = options.crop
    sdr, hdr = torch.rand(options.batch, 3, size // 2, size // 2), torch.rand(options.batch, 3, size, size)
    kinds = {"alone": (False, False), "alone, looking": (False, True), "with D1, D2, looking": (True, True)}
    blocks = {}
    for name, (discriminators, looking) in kinds.items():
        resting = nn.ModuleList([Discriminator(32), Discriminator(32)]) if discriminators else None
        ddp = DistributedDataParallel(OneStep(JSINet(2), resting), find_unused_parameters=looking)
        optimizer = create_optimizer("adam", ddp.module.net.parameters())

        def steps(ddp: Any = ddp, optimizer: Any = optimizer) -> None:
            for _ in range(options.block):
                optimizer.zero_grad()
                ddp(sdr, hdr).backward()
                optimizer.step()

        blocks[name] = steps
    rounds = []
    order = list(blocks)
    for _ in range(options.pairs + 1):
        times = {}
        for name in order:
            dist.barrier()
            times[name] = timed(blocks[name], torch.device("cpu"))
        rounds.append({name: times[name] for name in kinds})
        order = [*order[1:], order[0]]
    if rank == 0:
        parts = {"JSInet": JSINet(2), "a discriminator": Discriminator(32)}
        sizes = ", ".join(f"{n} {sum(p.numel() for p in m.parameters()):,}" for n, m in parts.items())
        print(
            f"2 gloo ranks on {os.cpu_count()} CPUs: {options.pairs} rounds of {options.block} steps, batch "
            f"{options.batch} a rank, HR {options.crop}; parameters: {sizes}"
        )
        report(rounds[1:], "alone", options.block)
    dist.destroy_process_group()


def main() -> int:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="jsinet_x2", help="a recipe")
    parser.add_argument("--ranks", action="store_true", help="what resting discriminators cost two ranks")
    parser.add_argument("--stage", type=int, default=1, choices=(1, 2))
    parser.add_argument("--pairs", type=int, default=20, help="rounds")
    parser.add_argument(
        "--block", type=int, default=20, help="steps of each in a round, a multiple of the log interval"
    )
    parser.add_argument("--crop", type=int, default=160, help="HR pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--workers", type=int, help="the recipe's by default")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", help="the fastest of the hardware by default")
    options = parser.parse_args()
    if not options.ranks:
        overhead(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(rank_main, (str(Path(folder) / "rendezvous"), options), nprocs=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
