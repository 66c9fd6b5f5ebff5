"""The loop over frames and models, and the journal that lets a stopped evaluation go on."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.progress import Progress
from zoo.errors import DataError, one_line
from zoo.evaluation.models import EvaluatedModel
from zoo.evaluation.provenance import device_name
from zoo.evaluation.sets import EvaluationFrame, EvaluationSet, Item
from zoo.metrics import Suite

logger = logging.getLogger(__name__)

_CORNER = 64  # rows and columns

Precision = Literal["32", "bf16", "16", "64"]

PRECISIONS: dict[str, tuple[torch.dtype, torch.dtype | None]] = {
    "32": (torch.float32, None),
    "bf16": (torch.float32, torch.bfloat16),
    "16": (torch.float32, torch.float16),
    "64": (torch.float64, None),
}
"""Types of parameters and of autocast."""


@dataclass(frozen=True)
class Row:
    """What came of one frame and one model.

    Attributes:
        inputs: digest of all that the scores follow from; scores of other inputs are never mixed with these.
        model: the model's label.
        item: what was read.
        of: how many frames the item gives.
        frame: its key; empty where the item couldn't be read.
        scene: of the frame.
        size: height and width of the truth.
        scores: by metric; empty where there are none.
        seconds: of the network alone.
        memory: peak bytes above what was held before, of the network alone; None where it can't be told.
        machine: what seconds and memory were taken on, as ``device_name`` says it.
        error: why there are no scores.
    """

    inputs: str
    model: str
    item: str
    of: int
    frame: str
    scene: str
    size: tuple[int, int]
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int | None = None
    machine: str = ""
    error: str | None = None


class Journal:
    """Rows on disk, a line of JSON each, of one process; a kill costs the line that was being written.

    Args:
        folder: of the evaluation; made if absent.
        rank: which process writes here.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self._path = folder / f"rows-{rank}.jsonl"

    def append(self, row: Row) -> None:
        """Add a row."""
        # JSON has no infinity, and Python's reader takes the word that its writer makes of it.
        line = json.dumps(asdict(row)) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            if file.tell() and not _ends_line(file):
                line = "\n" + line
            file.write(line.encode())

    def rows(self) -> Iterator[Row]:
        """The rows of all processes, as they are now; broken lines are passed over."""
        for path in sorted(self.folder.glob("rows-*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    content = json.loads(line)
                    yield Row(**{**content, "size": tuple(content["size"])})
                except (ValueError, TypeError, KeyError):
                    continue


def _ends_line(file: Any) -> bool:
    file.seek(-1, 2)
    return bool(file.read(1) == b"\n")


def inputs_digest(model: EvaluatedModel, frames: EvaluationSet, suite: Suite, precision: str, code: str | None) -> str:
    """SHA-256 in hex of all that a model's scores follow from.

    Args:
        model: the model.
        frames: the set.
        suite: the metrics.
        precision: of the network.
        code: the commit.
    """
    protocols = {name: protocol.as_dict() for name, protocol in suite.protocols.items()}
    facts = [model.name, model.sha256, model.source, model.scale, frames.digest, protocols, precision, code]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class Scorer:
    """Predicts and scores frames one at a time on a device.

    Args:
        suite: the metrics.
        device: where.
        precision: of the networks, a key of ``PRECISIONS``.
        processes: that score on this machine at once.

    Attributes:
        machine: what seconds and memory are taken on.
    """

    def __init__(self, suite: Suite, device: torch.device, precision: Precision = "32", processes: int = 1) -> None:
        self.suite = suite.to(device)
        self.device = device
        self.precision = precision
        self.machine = device_name(device, processes)
        self._warm: set[str] = set()

    @torch.inference_mode()
    def predict(self, model: EvaluatedModel, sdr: Tensor) -> Tensor:
        """The prediction, ``(1, 3, H, W)``, code / 1023, unclipped, at least float32.

        Args:
            model: the model.
            sdr: ``(3, h, w)``, code / 255.

        Raises:
            DataError: the device has too little memory for it.
        """
        dtype, cast = PRECISIONS[self.precision]
        context = nullcontext() if cast is None else torch.autocast(self.device.type, dtype=cast)
        try:
            with context:
                preds = model.net(sdr[None].to(self.device, dtype))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            width, height = sdr.shape[-1], sdr.shape[-2]
            raise DataError(
                f"{model.label} has no room for {width}x{height} on {self.device}; use --precision bf16 or --device cpu"
            ) from None
        return preds.to(torch.promote_types(preds.dtype, torch.float32))

    def score(self, model: EvaluatedModel, frame: EvaluationFrame) -> tuple[dict[str, float], float, int | None]:
        """Scores of a frame, seconds, and peak memory.

        A corner of each model's first frame goes through before: what is loaded once doesn't count.

        Raises:
            DataError: values that can't be scored, or a pair of another scale than the model's.
            SignalError: the prediction isn't of the model's scale.
        """
        (height, width), (sdr_height, sdr_width) = frame.hdr.shape[-2:], frame.sdr.shape[-2:]
        if (height, width) != (model.scale * sdr_height, model.scale * sdr_width):
            raise DataError(
                f"SDR of {sdr_width}x{sdr_height} and HDR of {width}x{height} are no pair of x{model.scale}"
            )
        if model.label not in self._warm:
            self.predict(model, frame.sdr[..., :_CORNER, :_CORNER])
            self._warm.add(model.label)
        memory = _PeakMemory(self.device)
        start = time.perf_counter()
        preds = self.predict(model, frame.sdr)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        peak = memory.peak()
        scores = self.suite.score(preds, frame.hdr[None].to(self.device))
        return {name: float(score) for name, score in scores.items()}, seconds, peak


class _PeakMemory:
    """Peak of memory from its making on, above what was held then."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: int | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        try:
            ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would be used without a trace
            Path("/proc/self/clear_refs").write_text("5")  # Linux: from now on, the peak counts anew
            self._before = _resident("VmRSS")
        except (OSError, AttributeError):  # another system, or another C library
            return

    def peak(self) -> int | None:
        """In bytes; None where the system doesn't tell."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return max(0, _resident("VmHWM") - self._before)


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def run_items(
    models: Sequence[EvaluatedModel],
    inputs: Sequence[str],
    frames: EvaluationSet,
    items: Sequence[Item],
    scorer: Scorer,
    journal: Journal,
) -> None:
    """Score what the journal lacks. Frames that can't be scored are written down with the reason.

    Args:
        models: the models.
        inputs: ``inputs_digest`` of each.
        frames: the set.
        items: this process's share of it.
        scorer: predicts and scores.
        journal: what is done, and where it is written.

    Raises:
        SignalError: a model's predictions aren't of its scale.
        ConfigError: the set has another scale than it was opened for.
    """
    done = finished(journal.rows())
    left = [item for item in items if any((digest, item.name) not in done for digest in inputs)]
    progress = Progress("frames", len(items), len(items) - len(left), len(left))
    for item, found in frames.read(left):
        for model, digest in zip(models, inputs, strict=True):
            if (digest, item.name) in done:
                continue
            if isinstance(found, DataError):
                journal.append(Row(digest, model.label, item.name, 1, "", "", (0, 0), error=one_line(found)))
                continue
            for frame in found:
                height, width = frame.hdr.shape[-2:]
                facts = (digest, model.label, item.name, len(found), frame.key, frame.scene, (height, width))
                try:
                    scores, seconds, memory = scorer.score(model, frame)
                except DataError as error:
                    journal.append(Row(*facts, error=one_line(error)))
                else:
                    journal.append(Row(*facts, scores, seconds, memory, scorer.machine))
        if isinstance(found, DataError):
            logger.warning("%s: %s", item.name, one_line(found))
        progress.advance(1, item.name)


def finished(rows: Iterator[Row]) -> set[tuple[str, str]]:
    """Inputs and items of which all frames have scores; what failed is tried again."""
    frames: dict[tuple[str, str], set[str]] = {}
    done = set()
    for row in rows:
        if row.error is None:
            scored = frames.setdefault((row.inputs, row.item), set())
            scored.add(row.frame)
            if len(scored) == row.of:
                done.add((row.inputs, row.item))
    return done


def newest(rows: Iterator[Row], inputs: str, items: Sequence[Item]) -> list[Row]:
    """The rows of one model in the order of the items; of a frame that was tried again, the try that gave scores."""
    place = {item.name: number for number, item in enumerate(items)}
    by_frame: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.inputs != inputs or row.item not in place:
            continue
        tries = by_frame.setdefault(row.item, {})
        if row.frame and row.error is None:
            tries.pop("", None)  # the item couldn't be read then
        known = tries.get(row.frame)
        if row.error is None or ((row.frame or not tries) and (known is None or known.error is not None)):
            tries[row.frame] = row
    return [row for item in sorted(by_frame, key=place.__getitem__) for row in by_frame[item].values()]
