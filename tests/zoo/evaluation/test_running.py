from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.errors import DataError, SignalError
from zoo.evaluation.models import EvaluatedModel
from zoo.evaluation.provenance import device_name
from zoo.evaluation.running import Journal, Row, Scorer, finished, inputs_digest, newest, run_items
from zoo.evaluation.sets import EvaluationFrame, Item
from zoo.metrics import Suite, psnr
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

CPU = torch.device("cpu")


class Enlarging(nn.Module):
    """A network that counts its calls."""

    input_signal, output_signal, scale = SDR_VIDEO, HDR10_VIDEO, 2

    def __init__(self, result: float | None = None, columns: int = 0) -> None:
        super().__init__()
        self.calls = 0
        self.result = result
        self.columns = columns

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        larger = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        larger = larger if self.result is None else torch.full_like(larger, self.result)
        return larger[..., self.columns :]


class Noise:
    """A set of frames of noise, of which number 1 is damaged if told so; see ``EvaluationSet``."""

    name, scale, digest, facts = "noise", 2, "0", {"input": "noise"}

    def __init__(self, damaged: bool = False, count: int = 3, odd: int = -1) -> None:
        self.odd = odd
        self.items = [Item(f"noise-{i}", 0, i) for i in range(count)]
        self.damaged = damaged
        self.read_items: list[str] = []

    def read(self, items: Any) -> Any:
        for item in items:
            self.read_items.append(item.name)
            if self.damaged and item.number == 1:
                yield item, DataError("frame 1 is damaged")
                continue
            generator = torch.Generator().manual_seed(item.number)
            sdr = torch.rand(3, 8, 8, generator=generator)
            rows = 12 if item.number == self.odd else 16
            yield item, [EvaluationFrame(item.name, "noise", sdr, torch.rand(3, rows, 16, generator=generator))]


def model_of(net: nn.Module, label: str = "model", sha256: str = "1") -> EvaluatedModel:
    return EvaluatedModel(label, "any", 2, net, 0, sha256)


def run(
    model: EvaluatedModel, frames: Noise, folder: Path, items: list[Item] | None = None, rank: int = 0
) -> list[Row]:
    scorer = Scorer(Suite(["psnr"]), CPU)
    digest = inputs_digest(model, frames, scorer.suite, "32", "code")
    run_items([model], [digest], frames, frames.items if items is None else items, scorer, Journal(folder, rank))
    return newest(Journal(folder).rows(), digest, frames.items)


def test_scores_are_the_metrics(tmp_path: Path) -> None:
    net, frames = Enlarging(), Noise()
    rows = run(model_of(net), frames, tmp_path)
    (_, [frame]) = next(frames.read(frames.items[:1]))
    assert [row.frame for row in rows] == ["noise-0", "noise-1", "noise-2"]
    assert rows[0].scores == {"psnr": psnr(net(frame.sdr[None]), frame.hdr[None]).item()}
    assert rows[0].size == (16, 16)
    assert rows[0].seconds > 0


def test_a_stopped_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    net, frames = Enlarging(), Noise()
    run(model_of(net), frames, tmp_path, frames.items[:2])
    frames.read_items.clear()
    rows = run(model_of(net), frames, tmp_path)
    assert frames.read_items == ["noise-2"]
    assert len(rows) == 3


def test_shares_of_two_processes_make_the_table_of_one(tmp_path: Path) -> None:
    frames = Noise(count=5)
    one = run(model_of(Enlarging()), frames, tmp_path / "one")
    run(model_of(Enlarging()), frames, tmp_path / "two", frames.items[1::2], rank=1)
    two = run(model_of(Enlarging()), frames, tmp_path / "two", frames.items[0::2])
    assert len(list((tmp_path / "two").iterdir())) == 2
    assert [(row.frame, row.scores) for row in two] == [(row.frame, row.scores) for row in one]


def test_a_kill_costs_the_line_that_was_being_written(tmp_path: Path) -> None:
    frames = Noise()
    run(model_of(Enlarging()), frames, tmp_path)
    journal = tmp_path / "rows-0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    frames.read_items.clear()
    rows = run(model_of(Enlarging()), frames, tmp_path)
    assert frames.read_items == ["noise-2"]
    assert [row.frame for row in rows] == ["noise-0", "noise-1", "noise-2"]


@pytest.mark.parametrize("changed", ["weights", "source", "data", "metrics", "precision", "code"])
def test_scores_of_other_inputs_are_not_taken(changed: str) -> None:
    model, frames, suite = model_of(Enlarging()), Noise(), Suite(["psnr"])
    before = inputs_digest(model, frames, suite, "32", "code")
    assert inputs_digest(model, frames, suite, "32", "code") == before
    if changed == "weights":
        model = replace(model, sha256="2")
    if changed == "source":
        model = replace(model, source="2")
    if changed == "data":
        frames.digest = "1"
    if changed == "metrics":
        suite = Suite(["psnr", "psnr_rgb"])
    precision, code = ("bf16" if changed == "precision" else "32", "other" if changed == "code" else "code")
    assert inputs_digest(model, frames, suite, precision, code) != before


def test_a_damaged_frame_is_written_down_and_tried_again(tmp_path: Path) -> None:
    rows = run(model_of(Enlarging()), Noise(damaged=True), tmp_path)
    assert [(row.item, row.error) for row in rows] == [
        ("noise-0", None),
        ("noise-1", "frame 1 is damaged"),
        ("noise-2", None),
    ]
    mended = Noise()
    assert [row.error for row in run(model_of(Enlarging()), mended, tmp_path)] == [None] * 3
    assert mended.read_items == ["noise-1"]


def test_a_prediction_without_numbers_is_written_down(tmp_path: Path) -> None:
    rows = run(model_of(Enlarging(result=float("nan"))), Noise(), tmp_path)
    assert len(rows) == 3
    assert all("NaN or infinity in the prediction" in row.error for row in rows if row.error)
    assert not any(row.scores for row in rows)


def test_a_pair_of_another_scale_is_written_down(tmp_path: Path) -> None:
    rows = run(model_of(Enlarging()), Noise(odd=0), tmp_path)
    assert [row.error for row in rows] == ["SDR of 8x8 and HDR of 16x12 are no pair of x2", None, None]


def test_rows_say_what_they_were_timed_on(tmp_path: Path) -> None:
    (row, *_) = run(model_of(Enlarging()), Noise(), tmp_path)
    assert row.machine == device_name(CPU)
    assert "1 thread" in device_name(CPU, threads=1)
    assert len({device_name(CPU, *counts) for counts in ((1, 1), (1, 2), (2, 1))}) == 3


def test_another_size_ends_it(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match=r"prediction \(1, 3, 16, 14\) and truth \(1, 3, 16, 16\)"):
        run(model_of(Enlarging(columns=2)), Noise(), tmp_path)


def test_an_item_is_finished_when_all_its_frames_are() -> None:
    rows = [Row("d", "m", "panorama", 2, f"panorama-{i}", "s", (1, 1), {"psnr": 1.0}) for i in range(2)]
    assert finished(iter(rows[:1])) == set()
    assert finished(iter(rows)) == {("d", "panorama")}
    assert finished(iter([rows[0], replace(rows[1], error="damaged")])) == set()


def test_a_perfect_frame_survives_the_journal(tmp_path: Path) -> None:
    row = Row("d", "m", "i", 1, "f", "s", (4, 6), {"psnr": float("inf")}, 0.5, None)
    Journal(tmp_path).append(row)
    assert list(Journal(tmp_path).rows()) == [row]


@pytest.mark.parametrize(("precision", "kind"), [("32", torch.float32), ("64", torch.float64), ("bf16", torch.float32)])
def test_predictions_keep_their_digits(precision: Any, kind: torch.dtype) -> None:
    (_, [frame]) = next(Noise().read(Noise().items))
    assert Scorer(Suite(["psnr"]), CPU, precision).predict(model_of(Enlarging()), frame.sdr).dtype == kind
