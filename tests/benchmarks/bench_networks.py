"""Seconds and memory for a 4K frame, of each network and of its plainest form in PyTorch.

    python tests/benchmarks/bench_networks.py                           # 3840x2160 out, all networks, x2 and x4
    python tests/benchmarks/bench_networks.py jsinet_x2 --frame 480 270 --rounds 3 --threads 1

Rows are the plainest form (contiguous, float32, dynamic filters of `F.unfold`, the whole frame at once) and
`zoo.convert.tiling.TiledNet` in float32 and in an autocast region of bfloat16. They take turns, each call in a process
of its own, so that a machine busy with other things slows all alike; given are medians, seconds by the clock and of
processor time, and the ratios of both to the plainest form's in the same round. Memory is the peak above what the
process held before the call, which Linux alone can tell; the prediction is in it. A form that finds no room says so.

A process takes no more than three quarters of the memory that is free when it starts.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo.convert.tiling import TiledNet, free_memory
from zoo.nets import jsinet

NETWORKS = [f"{name}_x{scale}" for name in ("multipurpose_cnn", "jsinet", "deep_sritm") for scale in (2, 4)]
FORMS = {"plain": None, "float32": None, "bfloat16": torch.bfloat16}


def plain_2d(x: Tensor, filters: Tensor, scale: int) -> Tensor:
    """The 2-D dynamic filter, every tap's sample at once."""
    batch, channels, height, width = x.shape
    weights = filters.reshape(batch, 1, 81, scale**2, -1).softmax(2)
    samples = F.unfold(x, 9, padding=4).view(batch, channels, 81, 1, -1)
    out = (samples * weights).sum(2).reshape(batch, channels * scale**2, height, width)
    return F.pixel_shuffle(out, scale)


def plain_separable(x: Tensor, vertical: Tensor, horizontal: Tensor, scale: int) -> Tensor:
    """The separable dynamic filter, likewise."""
    batch, channels, height, width = x.shape
    sub = scale**2
    columns = F.unfold(x, (41, 1), padding=(20, 0)).view(batch, channels, 1, 41, -1)
    v = (columns * vertical.reshape(batch, 1, sub, 41, -1)).sum(3).reshape(batch, channels * sub, height, width)
    rows = F.unfold(v, (1, 41), padding=(0, 20)).view(batch, channels, sub, 41, -1)
    out = (rows * horizontal.reshape(batch, 1, sub, 41, -1)).sum(3).reshape(batch, channels * sub, height, width)
    return F.pixel_shuffle(out, scale)


def call(options: argparse.Namespace) -> dict[str, Any]:
    """One call of one form, after one on a corner that loads what is loaded once."""
    torch.set_num_threads(options.threads)
    limit = int(0.75 * free_memory(torch.device("cpu")))
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + limit, resource.RLIM_INFINITY))
    torch.manual_seed(0)
    net: Any = zoo.create(options.name).eval()
    width, height = (side // net.scale for side in options.frame)
    x = torch.rand(1, 3, height, width)
    if options.form == "plain":
        jsinet.dynamic_upsample_2d, jsinet.dynamic_upsample_separable = plain_2d, plain_separable
    else:
        net = TiledNet(net, memory=min(options.memory, limit))
    cast = FORMS[options.form]
    autocast = torch.autocast("cpu", cast) if cast else contextlib.nullcontext()
    try:
        with torch.inference_mode(), autocast:
            net(x[..., :64, :64])
            held = _reset_peak()
            begin, begin_cpu = time.perf_counter(), time.process_time()
            net(x)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        return {}
    return {"seconds": seconds, "cpu": cpu, "memory": _status("VmHWM") - held}


def _reset_peak() -> int:
    ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would be used without a trace
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def compare(name: str, options: argparse.Namespace) -> None:
    """Rounds of all forms of a network, and a line for each form."""
    rounds: list[dict[str, dict[str, float]]] = []
    order = list(options.forms)
    for _ in range(options.rounds):
        done = {}
        for form in order:
            words = [name, "--form", form, "--frame", *map(str, options.frame)]
            words += ["--threads", str(options.threads), "--memory", str(options.memory)]
            ran = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
            if ran.returncode:
                raise SystemExit(f"{name}, {form}: {ran.stderr.strip() or f'ended with {ran.returncode}'}")
            done[form] = json.loads(ran.stdout.splitlines()[-1])
        rounds.append(done)
        order.reverse()
    for form in options.forms:
        found = [each for each in rounds if each[form]]
        if not found:
            print(f"{name:20}{form:10}    no room", flush=True)
            continue
        seconds, cpu, memory = (
            statistics.median(each[form][key] for each in found) for key in ("seconds", "cpu", "memory")
        )
        line = f"{name:20}{form:10}{seconds:9.2f} s{cpu:9.2f} s{memory / 1e9:8.2f} GB"
        both = [each for each in found if each.get("plain")]
        if form != "plain" and both:
            for key in ("seconds", "cpu"):
                line += f"{statistics.median(each['plain'][key] / each[form][key] for each in both):7.2f}x"
        print(line, flush=True)


def main() -> int:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NETWORKS, metavar="NAME", help="networks")
    parser.add_argument("--frame", type=int, nargs=2, default=(3840, 2160), metavar=("WIDTH", "HEIGHT"), help="out")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", type=int, default=4_000_000_000, help="bytes for the tiled forms")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        (options.name,) = options.names
        print(json.dumps(call(options)))
        return 0
    print(
        f"{'x'.join(map(str, options.frame))} out, {options.threads} threads, {options.rounds} rounds, tiled forms in "
        f"{options.memory / 1e9:g} GB, torch {torch.__version__}"
    )
    print(f"{'':30}{'clock':>11}{'CPU':>11}{'memory':>11}{'plain / clock, CPU':>20}")
    for name in options.names:
        compare(name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
