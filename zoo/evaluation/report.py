"""An evaluation from what is asked for to the files that hold it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from datamodules.presets import Preset
from datamodules.progress import ProgressHandler
from datamodules.scenes import Reading
from zoo.errors import ConfigError, DataError
from zoo.evaluation.models import EvaluatedModel, ModelRequest, load_model, parse_model
from zoo.evaluation.provenance import code_digest, device_name
from zoo.evaluation.running import (
    PRECISIONS,
    Journal,
    Precision,
    Row,
    Scorer,
    inputs_digest,
    newest,
    run_items,
)
from zoo.evaluation.sets import EMBEDDED, NOTHING_STATED, VAL_V1, EvaluationSet, Item, open_sets, spread
from zoo.evaluation.statistics import Estimate, paired_difference, set_mean
from zoo.metrics import Protocol, Suite
from zoo.processes import run_together

DEFAULT_METRICS = ("psnr", "psnr_matched", "ssim", "delta_e_itp")


@dataclass(frozen=True)
class Request:
    """What is to be evaluated.

    Attributes:
        models: as ``parse_model`` takes them; the first is what the others are compared with.
        output: the folder of the results; one that holds part of this evaluation is gone on with.
        data: as ``open_sets`` takes it.
        splits: likewise.
        scale: likewise; None takes the models', or 2.
        reading: likewise.
        pairing: likewise.
        metrics: keys of ``zoo.metrics.METRICS``.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: processes on this machine, each with a GPU of its own where ``device`` is CUDA.
        precision: of the networks; metrics don't follow it.
        limit: at most so many items, spread evenly over the set.
    """

    models: tuple[str, ...]
    output: Path
    data: tuple[str, ...] = (EMBEDDED,)
    splits: tuple[str, ...] = ("test",)
    scale: int | None = None
    reading: Reading = NOTHING_STATED
    pairing: Preset = VAL_V1
    metrics: tuple[str, ...] = DEFAULT_METRICS
    device: str = "auto"
    devices: int = 1
    precision: Precision = "32"
    limit: int | None = None


@dataclass(frozen=True)
class ModelResult:
    """What came of one model.

    Attributes:
        label: how the tables call it.
        name: of the zoo.
        parameters: how many.
        sha256: of its weights file.
        rows: of its frames that have scores, in the order of the set.
        failures: of those that have none.
        metrics: names, in the order of the table.
        machine: on which cost counts.
        source: digest of the code of a super-resolver of the user's own.
    """

    label: str
    name: str
    parameters: int
    sha256: str | None
    rows: list[Row]
    failures: list[Row]
    metrics: tuple[str, ...] = field(repr=False)
    machine: str = field(repr=False)
    source: str | None = None

    @cached_property
    def means(self) -> dict[str, Estimate]:
        """By metric; empty if no frame has scores."""
        scenes = [row.scene for row in self.rows]
        names = self.metrics if self.rows else ()
        return {name: set_mean([row.scores[name] for row in self.rows], scenes) for name in names}

    @property
    def timed(self) -> list[Row]:
        """The rows that were scored on ``machine``: a stopped evaluation may have gone on elsewhere."""
        return [row for row in self.rows if row.machine == self.machine]

    @property
    def seconds(self) -> float | None:
        """Of the network for a frame: the median, which a busy machine's outliers leave alone; None without one."""
        return median(row.seconds for row in self.timed) if self.timed else None

    @property
    def memory(self) -> int | None:
        """Peak in bytes of the network, over the frames that are timed; None where the system doesn't tell."""
        return max((row.memory for row in self.timed if row.memory is not None), default=None)

    def differences(self, reference: ModelResult) -> dict[str, Estimate]:
        """This model's scores less the reference's, on the frames that both have; by metric."""
        theirs = {(row.item, row.frame): row for row in reference.rows}
        both = [(row, theirs[row.item, row.frame]) for row in self.rows if (row.item, row.frame) in theirs]
        scenes = [row.scene for row, _ in both]
        return {
            name: paired_difference([a.scores[name] for a, _ in both], [b.scores[name] for _, b in both], scenes)
            for name in (self.metrics if both else ())
        }


@dataclass(frozen=True)
class Evaluation:
    """The result.

    Attributes:
        request: what was asked for.
        set_name: of the data, for people.
        scale: HR over LR size.
        digest: of the data.
        facts: how its frames were made.
        items: how many were taken of how many.
        protocols: what each figure means.
        better_high: metrics of which a higher figure is better.
        models: in the order of the request.
        machine: what their cost was taken on.
        frames: the set, to look at frames again.
    """

    request: Request
    set_name: str
    scale: int
    digest: str
    facts: dict[str, Any]
    items: tuple[int, int]
    protocols: dict[str, Protocol]
    better_high: frozenset[str]
    models: list[ModelResult]
    machine: str
    frames: EvaluationSet = field(repr=False)

    @property
    def failures(self) -> list[tuple[str, Row]]:
        """Frames without scores, with the model's label."""
        return [(model.label, row) for model in self.models for row in model.failures]


@dataclass(frozen=True)
class _Prepared:
    requests: list[ModelRequest]
    frames: EvaluationSet
    items: list[Item]
    suite: Suite


def evaluate(request: Request) -> Evaluation | None:
    """Score the models, or go on with doing so.

    Started by a launcher (``torchrun``), each process takes its share of the frames, and the first gives the result.
    Which process scores a frame has no part in its scores. All processes must see the same folders.

    Returns:
        The result; None in a launcher's other processes.

    Raises:
        ConfigError: what is asked for contradicts itself, or can't be had here.
        DataError: the set can't be used, or none of its frames could be scored.
        WeightsError: weights can't be had or used.
        UnknownModelError: no such model.
        SignalError: model and set are on different signals.
        ZooError: a process was killed.
    """
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1 and request.devices > 1:
        raise ConfigError("--devices starts processes itself; leave it out under a launcher such as torchrun")
    device = resolve_device(request.device, int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda" and request.devices > torch.cuda.device_count():
        raise ConfigError(f"--devices {request.devices}: torch sees {torch.cuda.device_count()} GPUs here")
    prepared = _prepare(request)
    if ranks > 1:
        dist.init_process_group("gloo", timeout=timedelta(days=7))
        try:
            at_once = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
            models = _work(request, prepared, rank, ranks, device, at_once)
            dist.barrier()
        finally:
            dist.destroy_process_group()
        return _gather(request, prepared, models, device_name(device, at_once)) if rank == 0 else None
    if request.devices == 1:
        return _gather(request, prepared, _work(request, prepared, 0, 1, device, 1), device_name(device))
    models = [load_model(model, prepared.frames.scale) for model in prepared.requests]  # says now what is wrong
    threads = max(1, torch.get_num_threads() // request.devices)
    run_together(_work_in_process, request.devices, request, threads)
    return _gather(request, prepared, models, device_name(device, request.devices, threads))


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` is CUDA where torch sees a GPU, else the CPU: scores are computed in float64, which Apple's GPUs lack.

    Raises:
        ConfigError: another name, or no GPU.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {name}: choose auto, cpu or cuda")
    gpus = torch.cuda.device_count()
    if name == "cuda" and not gpus:
        raise ConfigError("--device cuda: torch sees no GPU here; use cpu, or a torch built for the GPU")
    return torch.device("cuda", local_rank % gpus) if gpus and name != "cpu" else torch.device("cpu")


def _prepare(request: Request) -> _Prepared:
    if request.devices < 1 or (request.limit is not None and request.limit < 1):
        raise ConfigError("--devices and --limit are at least 1")
    suite = Suite(request.metrics)
    requests, scale = requested_models(request)
    frames = open_sets(request.data, request.splits, scale, request.reading, request.pairing)
    return _Prepared(requests, frames, spread(frames.items, request.limit), suite)


def requested_models(request: Request) -> tuple[list[ModelRequest], int | None]:
    """The models, and the scale that they have or that is asked for; None where nothing says it.

    Raises:
        ConfigError: a model given twice, models of several scales, or of another than is asked for.
        UnknownModelError, WeightsError: as ``parse_model``.
    """
    if twice := next((a for a, b in pairwise(sorted(request.models)) if a == b), None):
        raise ConfigError(f"--model {twice} is given twice")
    requests = [parse_model(text) for text in request.models]
    scales = {model.scale for model in requests if model.scale is not None}
    if len(scales) > 1:
        named = ", ".join(f"{model.label} x{model.scale}" for model in requests if model.scale)
        raise ConfigError(f"models of several scales can't be one table ({named}); evaluate them one by one")
    own = next(iter(scales), None)
    if request.scale is not None and own is not None and own != request.scale:
        label = next(model.label for model in requests if model.scale == own)
        raise ConfigError(
            f"{label} is of scale {own}, not --scale {request.scale}; leave --scale out, or choose another"
        )
    return requests, request.scale or own


def _work_in_process(request: Request, threads: int, rank: int) -> None:
    """One of several processes on this machine; the first tells how far its own share is."""
    if rank == 0:
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[ProgressHandler()])
    torch.set_num_threads(threads)
    _work(request, _prepare(request), rank, request.devices, resolve_device(request.device, rank), request.devices)


def _work(
    request: Request, prepared: _Prepared, rank: int, ranks: int, device: torch.device, at_once: int
) -> list[EvaluatedModel]:
    """Score a share; ``at_once`` of the ranks are on this machine."""
    dtype = PRECISIONS[request.precision][0]
    models = [load_model(model, prepared.frames.scale, device, dtype) for model in prepared.requests]
    # Fixed shares, not those of what is left: what another process has just written must not move them.
    share = prepared.items[rank::ranks]
    scorer = Scorer(prepared.suite, device, request.precision, at_once)
    run_items(models, _inputs(request, prepared, models), prepared.frames, share, scorer, Journal(request.output, rank))
    return models


def _inputs(request: Request, prepared: _Prepared, models: Sequence[EvaluatedModel]) -> list[str]:
    code = code_digest()
    return [inputs_digest(model, prepared.frames, prepared.suite, request.precision, code) for model in models]


def _gather(request: Request, prepared: _Prepared, models: Sequence[EvaluatedModel], machine: str) -> Evaluation:
    rows = list(Journal(request.output).rows())
    results = []
    for model, digest in zip(models, _inputs(request, prepared, models), strict=True):
        own = newest(iter(rows), digest, prepared.items)
        scored = [row for row in own if row.error is None]
        failed = [row for row in own if row.error is not None]
        results.append(
            ModelResult(
                label=model.label,
                name=model.name,
                parameters=model.parameters,
                sha256=model.sha256,
                rows=scored,
                failures=failed,
                metrics=tuple(request.metrics),
                machine=machine,
                source=model.source,
            )
        )
    if not any(result.rows for result in results):
        reason = next((row.error for result in results for row in result.failures), "the set is empty")
        raise DataError(f"none of the {len(prepared.items)} frames of {prepared.frames.name} has scores: {reason}")
    metrics = prepared.suite.metrics
    return Evaluation(
        request=request,
        set_name=prepared.frames.name,
        scale=prepared.frames.scale,
        digest=prepared.frames.digest,
        facts=prepared.frames.facts,
        items=(len(prepared.items), len(prepared.frames.items)),
        protocols=prepared.suite.protocols,
        better_high=frozenset(name for name, metric in metrics.items() if metric.higher_is_better),
        models=results,
        machine=machine,
        frames=prepared.frames,
    )


def check_room(output: Path) -> None:
    """Refuse a folder that can't be written to, before hours of work.

    Raises:
        ConfigError: it can't.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / ".write").touch()
        (output / ".write").unlink()
    except OSError as error:
        raise ConfigError(
            f"-o {output} can't be written to ({error.strerror or error}); name another folder"
        ) from error
