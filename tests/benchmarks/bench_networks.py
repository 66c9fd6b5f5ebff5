"""Seconds and memory for a 4K frame, of each network and of its plainest form in PyTorch.

    python tests/benchmarks/bench_networks.py                           # 3840x2160 out, all networks, x2 and x4
    python tests/benchmarks/bench_networks.py jsinet_x2 --frame 480 270 --rounds 3 --threads 1
    python tests/benchmarks/bench_networks.py --device cuda

Rows are the plainest form (contiguous, float32, dynamic filters of `F.unfold`, the whole frame at once) and
`zoo.convert.tiling.TiledNet` in float32 and in an autocast region of bfloat16. They take turns, each call in a process
of its own, so that a machine busy with other things slows all alike; given are medians, seconds by the clock and of
processor time, and the ratios of both to the plainest form's in the same round. Memory is the peak above what the
process held before the call, which Linux alone can tell; the prediction is in it. A form that finds no room says so.

A process takes no more than three quarters of the memory that is free when it starts.

`compiled` is the bfloat16 form with `torch.compile`, `graphs` with CUDA graphs too (`mode="reduce-overhead"`); for them
the seconds of the calls before the timed one, in which they are compiled, are given. On a CPU they run when asked for.

On a GPU, milliseconds are medians of ten calls, by events, after three that aren't timed, and memory is of tensors.
Shares: what convolutions of the whole frame are in operations, over the peak of the maker's data sheet
(:mod:`zoo.flops`); and what operators of the whole frame read and write, were each done by itself, over what a copy
moves in that time. Operators that are fused move less, so that this share may pass 1.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import zoo
from zoo.convert.tiling import TiledNet, free_memory
from zoo.flops import FlopCounter, peak_flops
from zoo.nets import jsinet

NETWORKS = [f"{name}_x{scale}" for name in ("multipurpose_cnn", "jsinet", "deep_sritm") for scale in (2, 4)]
# The type of their autocast region, and the mode of torch.compile.
FORMS: dict[str, tuple[torch.dtype | None, str | None]] = {
    "plain": (None, None),
    "float32": (None, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "compiled": (torch.bfloat16, "default"),
    "graphs": (torch.bfloat16, "reduce-overhead"),
}
FORMS_OF = {"cpu": ["plain", "float32", "bfloat16"], "cuda": list(FORMS)}
WARM_UP, TIMED = 3, 10  # calls on a GPU


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
    """One call of one form, after one on a corner that loads what is loaded once; on a GPU see above."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    limit = int(0.75 * free_memory(device))
    if device.type == "cpu":
        resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + limit, resource.RLIM_INFINITY))
    torch.manual_seed(0)
    net: Any = zoo.create(options.name).eval().to(device)
    width, height = (side // net.scale for side in options.frame)
    x = torch.rand(1, 3, height, width, device=device)
    cast, mode = FORMS[options.form]
    if mode is not None:
        net.compile(mode=mode, dynamic=False)
    if options.form == "plain":
        jsinet.dynamic_upsample_2d, jsinet.dynamic_upsample_separable = plain_2d, plain_separable
    else:
        net = TiledNet(net, memory=min(options.memory, limit))
    autocast = torch.autocast(device.type, cast) if cast else contextlib.nullcontext()
    try:
        with torch.inference_mode(), autocast:
            if device.type == "cuda":
                found = _timed_on_gpu(net, x)
            else:
                found = _timed_on_cpu(net, x, x if mode else x[..., :64, :64])
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error) and "out of memory" not in str(error):
            raise
        return {}
    if device.type == "cuda":
        flops, traffic = whole_frame(options.name, x, cast)
        peak = peak_flops(device, "bf16-mixed" if cast else "32-true")
        found["of_peak"] = flops / found["seconds"] / peak if peak else None
        found["of_copies"] = traffic / found["seconds"] / copied_per_second(device)
    return found


def _timed_on_cpu(net: nn.Module, x: Tensor, first: Tensor) -> dict[str, float]:
    begin = time.perf_counter()
    net(first)
    first_seconds = time.perf_counter() - begin
    held = reset_peak()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    net(x)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    return {"seconds": seconds, "cpu": cpu, "memory": status("VmHWM") - held, "first": first_seconds}


def _timed_on_gpu(net: nn.Module, x: Tensor) -> dict[str, float]:
    held = torch.cuda.memory_allocated()
    begin = time.perf_counter()
    for _ in range(WARM_UP):
        net(x)
    torch.cuda.synchronize()
    first_seconds = time.perf_counter() - begin
    torch.cuda.reset_peak_memory_stats()
    times = [event_seconds(lambda: net(x)) for _ in range(TIMED)]
    return {
        "seconds": statistics.median(times),
        "memory": torch.cuda.max_memory_allocated() - held,
        "first": first_seconds,
    }


def event_seconds(function: Callable[[], object]) -> float:
    """Of what a function has the GPU do."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def copied_per_second(device: torch.device) -> float:
    """Bytes that a copy reads and writes in a second on a GPU."""
    source = torch.empty(2**28, device=device)
    target = torch.empty_like(source)
    times = [event_seconds(lambda: target.copy_(source)) for _ in range(TIMED + WARM_UP)]
    return 2 * source.nbytes / statistics.median(times[WARM_UP:])


class TrafficCounter(TorchDispatchMode):
    """A context that adds up the bytes of what operators in it are given and make; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and add what it reads and writes."""
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.add(args, kwargs, out)
        return out

    def add(self, *tensors: Any) -> None:
        """Add the bytes of all tensors in some structure."""
        self.total += sum(each.nbytes for each in tree_leaves(tensors) if isinstance(each, Tensor))


def whole_frame(name: str, x: Tensor, cast: torch.dtype | None) -> tuple[int, int]:
    """Operations of a network's convolutions on a picture, and bytes that its operators read and write."""
    net: Any = zoo.create(name).eval().to("meta", cast)
    traffic = TrafficCounter()

    def dynamic_upsample(x: Tensor, *filters_and_scale: Any) -> Tensor:
        *filters, scale = filters_and_scale
        traffic.add(filters)  # the picture and what it becomes are counted with this:
        return x.new_empty(*x.shape[:2], scale * x.shape[2], scale * x.shape[3], dtype=torch.float32)

    jsinet.dynamic_upsample_2d = jsinet.dynamic_upsample_separable = dynamic_upsample
    with torch.no_grad(), FlopCounter() as flops, traffic:
        net(x.to("meta").contiguous(memory_format=torch.channels_last))
    return flops.total, traffic.total


def reset_peak() -> int:
    """Forget the peak of memory so far; what the process holds now."""
    ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would be used without a trace
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(key: str) -> int:
    """Bytes that Linux states of this process."""
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
            words += ["--threads", str(options.threads), "--memory", str(options.memory), "--device", options.device]
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
        median = {
            key: statistics.median(each[form][key] for each in found) for key in found[0][form] if found[0][form][key]
        }
        line = f"{name:20}{form:10}"
        if options.device == "cuda":
            line += f"{1e3 * median['seconds']:9.2f} ms"
            line += "".join(f"{median[key]:9.2f}" if key in median else f"{'?':>9}" for key in ("of_peak", "of_copies"))
        else:
            line += f"{median['seconds']:9.2f} s{median['cpu']:9.2f} s"
        line += f"{median['memory'] / 1e9:8.2f} GB"
        both = [each for each in found if each.get("plain")]
        if form != "plain" and both:
            for key in ("seconds", "cpu") if options.device == "cpu" else ("seconds",):
                line += f"{statistics.median(each['plain'][key] / each[form][key] for each in both):7.2f}x"
        if FORMS[form][1]:
            line += f"  after {median['first']:.1f} s"
        print(line, flush=True)


def main() -> int:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NETWORKS, metavar="NAME", help="networks")
    parser.add_argument("--frame", type=int, nargs=2, default=(3840, 2160), metavar=("WIDTH", "HEIGHT"), help="out")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", type=int, default=4_000_000_000, help="bytes for the tiled forms")
    parser.add_argument("--device", choices=FORMS_OF, default="cpu")
    parser.add_argument("--forms", nargs="+", choices=FORMS, help="default: all that suit the device")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        (options.name,) = options.names
        print(json.dumps(call(options)))
        return 0
    options.forms = options.forms or FORMS_OF[options.device]
    cuda = options.device == "cuda"
    where = torch.cuda.get_device_name() if cuda else f"{options.threads} threads"
    print(
        f"{'x'.join(map(str, options.frame))} out, {where}, {options.rounds} rounds, tiled forms in "
        f"{options.memory / 1e9:g} GB, torch {torch.__version__}"
    )
    if cuda:
        print(f"{'':30}{'events':>12}{'of peak':>9}{'of copies':>9}{'memory':>11}{'plain /':>8}")
    else:
        print(f"{'':30}{'clock':>11}{'CPU':>11}{'memory':>11}{'plain / clock, CPU':>20}")
    for name in options.names:
        compare(name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
