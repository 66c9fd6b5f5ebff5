"""The dynamic filters beside their plainest form, eager `unfold`: time and memory, forward and backward.

    python tests/benchmarks/bench_dynamic.py                       # 480x270 in, x2, float32 filters
    python tests/benchmarks/bench_dynamic.py --dtype bfloat16 --device cuda

Forms are `unfold`, `strips` (tensor arithmetic a strip of rows at a time) and, on a GPU, `kernels` (Triton). They take
turns in one process, once before that is timed; given are medians, and medians of the ratios to `unfold` in the same
round. On a CPU times are of the process, of all its threads. The last column is the peak of memory over that of
inputs, outputs and gradients together, of one call from when there is nothing: on a CPU of a process of its own, which
Linux alone can tell. On a GPU, `traffic` is what the form must read and write at the least, over what a copy moves in
the same time: 1.0 is as fast as the memory.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tests.benchmarks.bench_networks import (
    copied_per_second,
    event_seconds,
    plain_2d,
    plain_separable,
    reset_peak,
    status,
)
from zoo.ops import dynamic, dynamic_upsample_2d, dynamic_upsample_separable

OPERATORS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[int, ...]]] = {
    "2d": (dynamic_upsample_2d, plain_2d, (81,)),
    "separable": (dynamic_upsample_separable, plain_separable, (41, 41)),
}


class Call:
    """One operator in one form, with its inputs."""

    def __init__(self, operator: str, form: str, options: argparse.Namespace) -> None:
        ours, plain, taps = OPERATORS[operator]
        self.form, self.scale = form, options.scale
        self.function = plain if form == "unfold" else ours
        width, height = options.size
        torch.manual_seed(0)
        self.x = torch.rand(1, 3, height, width, device=options.device)
        layout = torch.channels_last if options.channels_last else torch.contiguous_format
        self.filters = [
            torch.randn(1, n * self.scale**2, height, width, device=options.device, dtype=getattr(torch, options.dtype))
            .contiguous(memory_format=layout)
            .requires_grad_()
            for n in taps
        ]
        shape = (1, 3, self.scale * height, self.scale * width)
        self.grad = torch.ones(shape, device=options.device)
        self.bytes = self.x.nbytes + 2 * sum(f.nbytes for f in self.filters) + 2 * self.grad.nbytes

    def __call__(self, backward: bool) -> None:
        """Compute, and forget."""
        os.environ["SRITM_TRITON"] = "off" if self.form == "strips" else "on"
        if not backward:
            with torch.no_grad():
                self.function(self.x, *self.filters, self.scale)
            return
        out = self.function(self.x, *self.filters, self.scale)
        # The plainest form gives the gradient in the product's type.
        torch.autograd.grad(out, self.filters, self.grad.to(out.dtype))
        if self.form == "kernels" and dynamic._triton_failed:
            raise SystemExit("the kernels failed; the line above says why")

    @property
    def traffic(self) -> dict[bool, int]:
        """Bytes read and written by a forward pass, and by both passes: filters twice, and their gradients."""
        filters = sum(f.nbytes for f in self.filters)
        forward = self.x.nbytes + filters + self.grad.nbytes
        return {False: forward, True: 2 * forward + filters}


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Of one call: by events on a GPU, else processor time."""
    if device.type == "cuda":
        return event_seconds(function)
    begin = time.process_time()
    function()
    return time.process_time() - begin


def peak(options: argparse.Namespace, operator: str, form: str) -> float:
    """Peak of memory over what inputs, outputs and gradients are."""
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call = Call(operator, form, options)
        call(backward=True)
        return (torch.cuda.max_memory_allocated() - held) / call.bytes
    words = [f"--{name}={getattr(options, name)}" for name in ("dtype", "device", "scale", "threads")]
    words += ["--size", *map(str, options.size), "--operators", operator, "--form", form]
    words += ["--channels-last"] if options.channels_last else []
    ran = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{operator}, {form}: {ran.stderr.strip() or f'ended with {ran.returncode}'}")
    return json.loads(ran.stdout.splitlines()[-1])


def own_peak(options: argparse.Namespace, operator: str) -> float:
    """The same, of this process, which has done nothing else."""
    torch.set_num_threads(options.threads)
    small = argparse.Namespace(**{**vars(options), "size": (16, 8)})
    Call(operator, options.form, small)(backward=True)  # loads what is loaded once
    held = reset_peak()
    call = Call(operator, options.form, options)
    call(backward=True)
    return (status("VmHWM") - held) / call.bytes


def compare(operator: str, forms: list[str], options: argparse.Namespace) -> None:
    """Rounds of all forms of an operator, and a line for each form."""
    device = torch.device(options.device)
    calls = {form: Call(operator, form, options) for form in forms}
    rounds: list[dict[tuple[str, bool], float]] = []
    for number in range(options.rounds + 1):
        order = forms if number % 2 else forms[::-1]
        done = {}
        for form in order:
            for backward in (False, True):
                done[form, backward] = seconds(functools.partial(calls[form], backward), device)
        rounds.append(done)
    traffic = calls[forms[0]].traffic
    del calls
    copied = copied_per_second(device) if device.type == "cuda" else None
    for form in forms:
        line = f"{operator:10}{form:8}"
        for backward in (False, True):
            times = [each[form, backward] for each in rounds[1:]]
            ratios = [each["unfold", backward] / each[form, backward] for each in rounds[1:]]
            line += f"{1e3 * statistics.median(times):11.2f} ms{statistics.median(ratios):7.2f}x"
            if copied is not None:
                line += f"{traffic[backward] / statistics.median(times) / copied:8.2f}"
        print(f"{line}{peak(options, operator, form):9.2f}", flush=True)


def main() -> int:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operators", nargs="+", choices=OPERATORS, default=list(OPERATORS))
    parser.add_argument("--size", type=int, nargs=2, default=(480, 270), metavar=("WIDTH", "HEIGHT"), help="in")
    parser.add_argument("--scale", type=int, default=2, choices=(1, 2, 4))
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the filters")
    parser.add_argument("--channels-last", action="store_true", help="filters as networks in that layout make them")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--form", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        (operator,) = options.operators
        print(json.dumps(own_peak(options, operator)))
        return 0
    torch.set_num_threads(options.threads)
    cuda = options.device == "cuda"
    where = torch.cuda.get_device_name() if cuda else f"{options.threads} threads"
    layout = "channels-last" if options.channels_last else "contiguous"
    print(
        f"{'x'.join(map(str, options.size))} in, x{options.scale}, {options.dtype} filters, {layout}, {where}, "
        f"{options.rounds} rounds, torch {torch.__version__}"
    )
    share = f"{'traffic':>8}" if cuda else ""
    print(f"{'':18}{'forward':>14}{'':8}{share}{'and backward':>14}{'':8}{share}{'memory':>9}")
    for operator in options.operators:
        compare(operator, ["unfold", "strips", *(["kernels"] if cuda else [])], options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
