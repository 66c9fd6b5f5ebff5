"""How fast a run is, and what it waits for."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import defaultdict, deque
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from zoo.flops import FlopCounter, peak_flops


class Speed(Callback):
    """Log how fast training goes in the section ``speed``, with the trainer's other scalars, from rank 0.

    - ``samples_per_second``, of all ranks together;
    - ``data_wait``, the share of time in which the loop asked for a batch and had none; on a GPU the most that its
      waiting can be, since it may still have had updates to work off;
    - ``tflops``, TFLOP/s of each device: arithmetic of convolutions (:class:`zoo.flops.FlopCounter`) in that time;
    - ``mfu``, the same over what the device could do in this precision, where that is known: for common GPUs;
    - ``memory_gb``, the most so far, in 1e9 bytes: tensors on a GPU, else the process;
    - ``gpu_idle``, the share of the last second or less in which no kernel ran, where the package ``nvidia-ml-py`` is.

    All but the last two are over the last ``window`` batches, from when one is asked for to when it and its callbacks
    are done. Validations and what happens between epochs are left out, and so is the first update of a stage: its
    arithmetic is counted as it happens, once, which slows it and changes none of its bits. Nothing here waits for a
    GPU; over a window it can't run ahead far.

    Args:
        window: batches.

    Attributes:
        samples_per_second: by stage, of all that was timed.
    """

    def __init__(self, window: int = 50) -> None:
        # Of each batch: seconds, of which waited for data, and samples.
        self._batches: deque[tuple[float, float, int]] = deque(maxlen=window)
        self._stages: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])  # samples, seconds
        self._stage: int | None = None
        self._step = 0
        self._clock: float | None = None
        self._asked = 0.0
        self._waited = 0.0
        self._timed_loop: Any = None
        self._counter: FlopCounter | None = None
        self._counted_batches = 0
        self._counting = False
        self._flops = 0.0  # of a batch
        self._peak: float | None = None

    @property
    def samples_per_second(self) -> dict[int, float]:
        """By stage, of all that was timed; a stage of one update is missing."""
        return {stage: samples / seconds for stage, (samples, seconds) in sorted(self._stages.items())}

    @property
    def figures(self) -> dict[str, float]:
        """What the last batches say, by name: all that can be told without asking the device."""
        if not self._batches:
            return {}
        seconds, waited, samples = (sum(column) for column in zip(*self._batches, strict=True))
        figures = {"samples_per_second": samples / seconds, "data_wait": waited / seconds}
        if self._flops:
            flops = self._flops * len(self._batches) / seconds
            figures["tflops"] = flops / 1e12
            if self._peak is not None:
                figures["mfu"] = flops / self._peak
        return figures

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Time the loop's asking for batches, which no hook of a callback surrounds."""
        self._clock, self._stage, self._step = None, None, trainer.global_step
        self._peak = peak_flops(pl_module.device, str(trainer.precision))
        loop = trainer.fit_loop.epoch_loop
        if loop is self._timed_loop:
            return
        self._timed_loop = loop
        before, after = loop._on_before_fetch, loop._on_after_fetch

        def asks() -> None:
            before()
            self._asked = time.perf_counter()
            if self._clock is None:
                self._clock, self._waited = self._asked, 0.0

        def has() -> None:
            self._waited += time.perf_counter() - self._asked
            after()

        loop._on_before_fetch, loop._on_after_fetch = asks, has  # type: ignore[method-assign]

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Count the first update of a stage."""
        if pl_module.stage != self._stage:
            self._stage = pl_module.stage
            self._batches.clear()
            self._counter, self._counted_batches = FlopCounter(), 0
        if self._counter is not None:
            self._counter.__enter__()
            self._counting = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Take the time, and log when the trainer does."""
        if self._counter is not None:
            self._pause_counter()
            self._counted_batches += 1
            if trainer.global_step != self._step:
                self._flops = self._counter.total / self._counted_batches
                self._counter = None
        else:
            self._take_time(len(batch["key"]) * trainer.world_size)
        self._step = trainer.global_step
        self._clock, self._waited = time.perf_counter(), 0.0
        if trainer.is_global_zero and self._batches and trainer._logger_connector.should_update_logs:
            figures = {**self.figures, **_of_device(pl_module.device)}
            # Tensors on the CPU: plain numbers would be sent to the device.
            pl_module.log_dict({f"speed/{name}": torch.tensor(value) for name, value in figures.items()})

    def _take_time(self, samples: int) -> None:
        if self._clock is None:
            return
        seconds = time.perf_counter() - self._clock
        self._batches.append((seconds, self._waited, samples))
        assert self._stage is not None
        stage = self._stages[self._stage]
        stage[0] += samples
        stage[1] += seconds

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until the next batch is asked for."""
        self._clock = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock until the next batch is asked for."""
        self._clock = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave nothing switched on."""
        self._pause_counter()

    def _pause_counter(self) -> None:
        if self._counting:
            assert self._counter is not None
            self._counter.__exit__(None, None, None)
            self._counting = False


def _of_device(device: torch.device) -> dict[str, float]:
    """Memory, and how idle a GPU is."""
    if device.type == "cuda":
        figures = {"memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
        if importlib.util.find_spec("pynvml") is not None:
            figures["gpu_idle"] = 1 - torch.cuda.utilization(device) / 100
        return figures
    if sys.platform == "win32":
        return {}
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return {"memory_gb": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9}
