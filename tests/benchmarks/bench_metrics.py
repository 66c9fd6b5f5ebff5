"""What it costs to score a 4K frame, beside the packages that have the same metrics.

    python tests/benchmarks/bench_metrics.py                    # 3840x2160, three rounds
    python tests/benchmarks/bench_metrics.py --size 1920 1080 --rounds 5 --device cuda

Rows are PSNR, mPSNR, SSIM, MS-SSIM and delta E ITP in one pass (`Suite`), each of them alone, and the packages' own,
on the values that theirs are taken of here: torchmetrics' SSIM and MS-SSIM (float32, borders mirrored or cut), colour-
science's delta E ITP (float64, on the same light, whose decoding is counted). mPSNR is in none.

Every row runs in a process of its own, rows taking turns, so that a machine busy with other things slows all alike.
Given are the median seconds, by the clock and of processor time, and the peak of memory above that of the two frames
(float32, 99.5 MB each at 4K): of the process, which Linux alone can reset, or of the GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.color import decode, encode
from zoo.metrics import Suite, create
from zoo.signal import HDR10_VIDEO

NAMES = ["psnr", "mpsnr", "ssim", "ms_ssim", "delta_e_itp"]
ONE_PASS = "one pass of five"
PACKAGES = ["torchmetrics psnr", "torchmetrics ssim", "torchmetrics ms_ssim", "colour delta_e_itp"]
Score = Callable[[Tensor, Tensor], Any]


def frames(width: int, height: int, device: str) -> tuple[Tensor, Tensor]:
    """A noisy prediction and its truth."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    light = 10 ** (3 * torch.nn.functional.interpolate(small, (height, width), mode="bilinear"))
    target = (1023 * encode(light, HDR10_VIDEO)).round() / 1023
    return (target + 0.01 * torch.randn(target.shape, generator=generator)).to(device), target.to(device)


def scorer(row: str) -> Score:
    """The function that a row times."""
    if row == ONE_PASS:
        return Suite(NAMES).score
    if row in NAMES:
        return create(row).score
    if row == "colour delta_e_itp":
        import colour

        def difference(preds: Tensor, target: Tensor) -> float:
            light = (decode(x.clamp(0, 1), HDR10_VIDEO)[0].permute(1, 2, 0).cpu().numpy() for x in (preds, target))
            return float(colour.difference.delta_E_ITP(*(colour.RGB_to_ICtCp(x) for x in light)).mean())

        return difference
    from torchmetrics.functional import image

    function = {
        "torchmetrics psnr": image.peak_signal_noise_ratio,
        "torchmetrics ssim": image.structural_similarity_index_measure,
        "torchmetrics ms_ssim": image.multiscale_structural_similarity_index_measure,
    }[row]
    channels = slice(0, 1) if "ms_ssim" in row else slice(0, 3)
    return lambda preds, target: function(preds[:, channels].clamp(0, 1), target[:, channels], data_range=1.0)


def memory(device: str) -> Callable[[], float]:
    """Start counting the peak; the function returned gives it in MB above the start's."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        return lambda: (torch.cuda.max_memory_allocated() - start) / 1e6
    Path("/proc/self/clear_refs").write_text("5")

    def resident(key: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(key))

    start_mb = resident("VmRSS")
    return lambda: resident("VmHWM") - start_mb


def time_row(row: str, size: tuple[int, int], device: str) -> tuple[float, float, float]:
    """Seconds by the clock, of processors, and MB for a frame, after a small one that loads what is loaded once."""
    score = scorer(row)
    score(*frames(256, 256, device))
    preds, target = frames(*size, device)
    peak = memory(device)
    start = time.perf_counter(), time.process_time()
    with torch.no_grad():
        score(preds, target)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start[0], time.process_time() - start[1], peak()


def main() -> None:
    """Run the rows in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(3840, 2160), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--row", help="run one row and print both kinds of seconds and MB as JSON")
    args = parser.parse_args()
    if args.row:
        print(json.dumps(time_row(args.row, tuple(args.size), args.device)))
        return
    rows = [ONE_PASS, *NAMES, *PACKAGES]
    results: dict[str, list[list[float]]] = {row: [] for row in rows}
    options = ["--size", *map(str, args.size), "--device", args.device]
    for _ in range(args.rounds):
        for row in rows:
            command = [sys.executable, __file__, "--row", row, *options]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[row].append(json.loads(output.splitlines()[-1]))
    print(f"{args.size[0]}x{args.size[1]}, {args.device}, {torch.get_num_threads()} threads, {args.rounds} rounds")
    print(f"{'':22}{'seconds':>9}{'CPU s':>9}{'MB':>8}")
    medians = {row: [statistics.median(column) for column in zip(*results[row], strict=True)] for row in rows}
    for row, (clock, cpu, megabytes) in medians.items():
        print(f"{row:22}{clock:9.2f}{cpu:9.2f}{megabytes:8.0f}")
    clock, cpu = (sum(medians[name][k] for name in NAMES) for k in range(2))
    print(f"{'sum of the five':22}{clock:9.2f}{cpu:9.2f}")


if __name__ == "__main__":
    main()
