"""How fast training samples come, against two plain ways to read the same pictures.

    python tests/benchmarks/bench_data.py                # 4,000 samples (690 MB), 0 and 2 workers, five rounds
    python tests/benchmarks/bench_data.py --samples 16000 --crop 96 --rounds 3

Samples are LR 80x80 and HR 160x160 with the same crops, flips and quarter turns for all, in batches of 16:

- shards: SRITMDataModule as training uses it, over WebDataset tars;
- png: a PyTorch Dataset over 8-bit and 16-bit PNG, read with OpenCV, and PyTorch's own collating;
- array: the same over one big .npy for each side, memory-mapped;
- few shards: as shards, an eighth of them: what memory does with the size of a set;
- jitter: as shards, with exposure and hue jitter.

Rounds take turns, so that a machine that is busy with other things slows all of them alike; ratios are those of the
medians, by the clock and by CPU time. All is read from the page cache, if memory allows. MB/s counts the stored codes
of the samples read. Peak memory is the largest of one process, private pages alone (those of mapped files belong to the
system).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules import SRITMDataModule
from datamodules.augment import random_crop, random_turn
from datamodules.manifest import Manifest
from datamodules.shards import Sample, write_shard

BATCH, PER_SHARD = 16, 320
SAMPLE_BYTES = 80 * 80 * 3 + 160 * 160 * 3 * 2
SIGNALS = {"sdr": "bt709-bt1886-ycbcr709-narrow-8", "hdr": "bt2020-pq-ycbcr2020-narrow-10"}
# Each way to read, with the most samples that are timed of it.
KINDS = {"shards": 100_000, "few shards": 100_000, "array": 100_000, "png": 1000, "jitter": 1000}
META = {
    "scene": "noise",
    "crop": [0, 0, 160, 160],
    "preset": "val-v1",
    "curve": "reinhard-1000",
    "exposure": 0.5,
    "signals": SIGNALS,
}


def pictures(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Smooth colours with the noise of a camera: PNG compresses them about as it does footage."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        smooth = cv2.resize(rng.uniform(200, 700, (5, 5, 3)), (160, 160), interpolation=cv2.INTER_CUBIC)
        hdr = (smooth + rng.normal(0, 2, smooth.shape)).clip(64, 940).astype(np.uint16)
        yield (hdr[::2, ::2] // 4).astype(np.uint8), hdr


class Pairs(Dataset):
    """A plain Dataset: position to a cropped and turned pair, channels first; ``read`` gets the pictures."""

    def __init__(self, count: int, crop: int, read: Callable[[int], tuple[np.ndarray, np.ndarray]]) -> None:
        self.count, self.crop, self.read = count, crop, read

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> dict[str, Any]:
        rng = np.random.default_rng(position)
        sdr, hdr = random_turn(*random_crop(*self.read(position), self.crop, rng), rng)
        planes = (np.ascontiguousarray(picture.transpose(2, 0, 1)) for picture in (sdr, hdr.view(np.int16)))
        return {**dict(zip(("sdr", "hdr"), map(torch.from_numpy, planes), strict=True)), "key": str(position)}


def make(folder: Path, count: int) -> None:
    """The same pictures as shards, PNG and arrays."""
    for name in ("shards", "png"):
        (folder / name).mkdir()
    sdr = np.lib.format.open_memmap(folder / "sdr.npy", "w+", np.uint8, (count, 80, 80, 3))
    hdr = np.lib.format.open_memmap(folder / "hdr.npy", "w+", np.uint16, (count, 160, 160, 3))
    for position, pair in enumerate(pictures(count)):
        sdr[position], hdr[position] = pair
        cv2.imwrite(str(folder / "png" / f"{position}-sdr.png"), pair[0])
        cv2.imwrite(str(folder / "png" / f"{position}-hdr.png"), pair[1])
    entries = [
        write_shard(
            folder / "shards" / f"train-{first:06d}.tar",
            (Sample(f"noise-{i}", sdr[i], hdr[i], META) for i in range(first, min(first + PER_SHARD, count))),
        )
        for first in range(0, count, PER_SHARD)
    ]
    splits = {"train": tuple(entries), "val": (), "test": ()}
    Manifest(2, SIGNALS, "val-v1", 0, (), splits).write(folder / "shards")
    (folder / "few shards").mkdir()
    few = tuple(replace(entry, file=f"../shards/{entry.file}") for entry in entries[: -(-len(entries) // 8)])
    Manifest(2, SIGNALS, "val-v1", 0, (), {**splits, "train": few}).write(folder / "few shards")


def loader(kind: str, folder: Path, count: int, crop: int, workers: int) -> DataLoader:
    """Batches of one kind, in random order."""
    if kind in ("shards", "few shards", "jitter"):
        root = str(folder / ("few shards" if kind == "few shards" else "shards"))
        stops = 0.5 if kind == "jitter" else 0.0
        data = SRITMDataModule(
            root,
            batch_size=BATCH,
            crop=[crop],
            num_workers=workers,
            exposure_jitter=stops,
            hue_jitter=kind == "jitter",
        )
        data.prepare_data()
        data.setup("fit")
        return data.train_dataloader()
    if kind == "png":
        cv2.setNumThreads(0)

        def read(position: int) -> tuple[np.ndarray, np.ndarray]:
            sides = (cv2.imread(str(folder / "png" / f"{position}-{side}.png"), -1) for side in ("sdr", "hdr"))
            sdr, hdr = (np.ascontiguousarray(side) for side in sides)
            return sdr, hdr
    else:
        sdr, hdr = (np.load(folder / f"{side}.npy", mmap_mode="r") for side in ("sdr", "hdr"))

        def read(position: int) -> tuple[np.ndarray, np.ndarray]:
            return np.array(sdr[position]), np.array(hdr[position])

    return DataLoader(Pairs(count, crop, read), BATCH, shuffle=True, drop_last=True, num_workers=workers)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def private_bytes(pid: int) -> int:
    """Private memory of a process (anonymous pages)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(r"RssAnon:\s+(\d+) kB", status)
    return 1024 * int(match[1]) if match else 0


def measure(kind: str, folder: Path, count: int, crop: int, workers: int, limit: int) -> tuple[float, float, int]:
    """Read one epoch, or up to ``limit`` samples of it.

    Returns:
        Samples a second; samples for each second of CPU time; the largest private memory of this process and its
        workers, bytes. What comes before the first batches is not counted.
    """
    torch.set_num_threads(1)
    batches = iter(loader(kind, folder, count, crop, workers))
    for _ in range(2 * workers + 1):
        next(batches)
    pids = [os.getpid(), *(process.pid for process in multiprocessing.active_children())]
    start, cpu, done, peak = time.perf_counter(), sum(map(cpu_seconds, pids)), 0, 0
    for number, batch in enumerate(batches):
        done += len(batch["key"])
        if number % 5 == 0:
            peak = max(peak, *map(private_bytes, pids), 0)
            spent = sum(map(cpu_seconds, pids)) - cpu  # while the workers live
            of = done
        if done >= limit:
            break
    return done / (time.perf_counter() - start), of / max(spent, 0.01), peak


def main() -> None:
    """Make the pictures, measure in turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SRITM_HOME"] = str(folder / "home")
        make(folder, arguments.samples)
        for workers in arguments.workers:
            compare(folder, arguments.samples, arguments.crop, arguments.rounds, workers)


def compare(folder: Path, samples: int, crop: int, rounds: int, workers: int) -> None:
    """Measure all kinds in turns and print a table."""
    measured: dict[str, list[tuple[float, float, int]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind, most in KINDS.items():
            # A fresh process, so that the memory of one kind isn't counted for the next.
            with ProcessPoolExecutor(1, get_context("fork")) as process:
                measured[kind].append(process.submit(measure, kind, folder, samples, crop, workers, most).result())
    rates = {kind: statistics.median(rate for rate, _, _ in each) for kind, each in measured.items()}
    by_cpu = {kind: statistics.median(rate for _, rate, _ in each) for kind, each in measured.items()}
    print(
        f"{samples} samples cropped to {crop}, {workers} workers, medians of {rounds} rounds; "
        "ratio: how much faster shards are"
    )
    print("| reader | samples/s | MB/s | ratio | samples per CPU second | ratio | peak private MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, rate in rates.items():
        peak = max(peak for _, _, peak in measured[kind]) / 1e6
        print(
            f"| {kind} | {rate:,.0f} | {rate * SAMPLE_BYTES / 1e6:,.0f} | {rates['shards'] / rate:.2f} "
            f"| {by_cpu[kind]:,.0f} | {by_cpu['shards'] / by_cpu[kind]:.2f} | {peak:.0f} |"
        )


if __name__ == "__main__":
    main()
