"""Networks as files for other runtimes, ONNX and ``torch.export``, each compared with the network once it is written.

Heights, widths and the number of pictures stay free. What a user of the file must know travels in it: signals, scale,
halo, licence, the weights' SHA-256.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import zoo
from zoo import hub
from zoo.convert.tiling import free_memory
from zoo.errors import ConfigError, ZooError, one_line
from zoo.files import sha256_of
from zoo.registry import card_of, find_weights
from zoo.signal import Signal

Format = Literal["onnx", "torch"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}

OPSET = 18
"""Of ONNX: the oldest that PyTorch's exporter writes, for runtimes that lag behind."""

LEAST_SIDE = 3
"""Of a picture, in pixels: what the guided filter's mirrored border needs."""

MOST_DEVIATION = 0.1
"""Of a float32 file's predictions, relative to 1 or, where it is larger, their largest value; in 10-bit codes."""

METADATA = "metadata.json"
"""Where a ``.pt2`` file keeps what an ONNX file has in its metadata properties."""

_SMALL = (45, 61)
_LARGE = ((1080, 1920), (540, 960), (270, 480))
_CODES = 1023  # 10-bit codes of a prediction of 1
# Memory that a check takes for each pixel of the input, in bytes, and more of it for each pixel that that becomes:
# measured with ONNX Runtime, which keeps what it took while the network runs.
_BYTES = (6000, 1900)


@dataclass(frozen=True)
class Parity:
    """How far a file's predictions are from the network's in float32, in eager PyTorch.

    Attributes:
        size: height and width of the input.
        largest: difference of two samples, in 10-bit codes.
        mean: of the absolute differences, in 10-bit codes.
        peak: largest absolute value predicted; 1 is the peak of the signal.
        seconds: that the file's runtime took, on the CPU.
        eager_seconds: that the network took.
    """

    size: tuple[int, int]
    largest: float
    mean: float
    peak: float
    seconds: float
    eager_seconds: float

    @property
    def bound(self) -> float:
        """Of ``largest``, for a float32 file."""
        return MOST_DEVIATION * max(1.0, self.peak)


def export(
    name: str,
    path: str | os.PathLike[str],
    format: Format = "onnx",
    weights: str | os.PathLike[str] | None = None,
    half: bool = False,
    untrained: bool = False,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> list[Parity]:
    """Write a network as a file, and compare the two; the file has its name only once all comparisons were right.

    Its input ``sdr`` is ``(batch, 3, height, width)`` on the network's input signal, sides of at least ``LEAST_SIDE``;
    its output ``hdr`` is ``(batch, 3, scale height, scale width)`` on the output signal, unclipped.

    Args:
        name: ``model`` or ``model.tag``, as for :func:`zoo.load`.
        path: the file; replaced if it is there.
        format: ``onnx``, or ``torch`` for a ``.pt2`` of ``torch.export``.
        weights: a safetensors file, instead of published weights.
        half: parameters, features, input and output in float16; guided filter, dynamic filters, bicubic and the last
            convolution stay in float32.
        untrained: take fresh weights, to try a runtime.
        sizes: heights and widths to compare at; by default a small odd one, and 1080x1920 or what memory allows.

    Returns:
        The comparison at each size.

    Raises:
        ZooError: no such network or weights, a package is missing, the weights don't bear float16, or the file's
            predictions are another network's.
    """
    path = Path(path)
    writer, opener = (_write_onnx, _open_onnx) if format == "onnx" else (_write_torch, _open_torch)
    _check_packages(format)
    net, facts = _network(name, weights, untrained)
    if half and torch.float16 not in net.half_precision:
        raise ConfigError(f"these weights of {name} give NaN or infinity in float16; export them in float32")
    exported: Any = copy.deepcopy(net).half() if half else net
    if not path.parent.is_dir():
        raise ConfigError(f"no folder {path.parent} to write {path.name} into")
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{SUFFIXES[format]}")
    parities = []
    try:
        writer(exported, part, facts | {"precision": "float16" if half else "float32"})
        run = opener(part)
        for height, width in sizes if sizes is not None else (_SMALL, _large(net.scale)):
            parity = _compare(run, net, height, width, torch.float16 if half else torch.float32)
            parities.append(parity)
            # No bound for float16 but being a number: how far it is off depends on the weights.
            if not parity.largest < (float("inf") if half else parity.bound):
                raise ConfigError(
                    f"{path.name} is {parity.largest:.3g} 10-bit codes off at {width}x{height}: "
                    f"it is not kept; try another version of {'onnxruntime' if format == 'onnx' else 'torch'}"
                )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return parities


def _check_packages(format: Format) -> None:
    if not hasattr(torch.compiler, "is_exporting"):
        raise ConfigError(f"export needs PyTorch 2.7 or newer, this is {torch.__version__}")
    if format != "onnx":
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"ONNX needs the package {error.name}: pip install 'sritm-zoo[export]'") from error


def _network(name: str, weights: str | os.PathLike[str] | None, untrained: bool) -> tuple[Any, dict[str, str]]:
    """The network, and what its file is to say of it."""
    card = card_of(name)
    if not card.parameters:
        raise ConfigError(f"{card.name} is a baseline; only networks are exported")
    facts = {"name": card.name, "tag": name.partition(".")[2]}
    net: Any
    if untrained:
        if weights is not None or facts["tag"]:
            raise ConfigError(f"{weights or name} are weights; leave out --untrained, which takes fresh ones")
        net = zoo.create(name).eval()
        facts |= {"tag": "untrained", "license": "none"}
    elif weights is not None:
        net = zoo.load(name, weights=weights)
        stated = hub.header_of(Path(weights)).get("__metadata__", {})
        facts |= {key: _text(stated[key]) for key in ("tag", "license") if key in stated}
        facts["sha256"] = sha256_of(Path(weights))
    else:
        published = find_weights(name)[0]
        net = zoo.load(published.full_name)
        facts |= {"tag": published.tag, "license": published.license, "sha256": published.sha256}
    facts |= {
        "scale": str(net.scale),
        "halo": "{} {}".format(*net.halo),
        "input_signal": str(net.input_signal),
        "output_signal": str(net.output_signal),
        "values": f"input code / {net.input_signal.peak}, output code / {net.output_signal.peak}, not clipped",
        "least_side": str(LEAST_SIDE),
        "producer": f"sritm-zoo {zoo.__version__}",
    }
    return net, {key: value for key, value in facts.items() if value}


def _text(stated: str) -> str:
    """A metadata text, which is JSON in files that are ours."""
    try:
        return str(json.loads(stated))
    except json.JSONDecodeError:
        return stated


def _program(net: nn.Module) -> torch.export.ExportedProgram:
    dtype = next(net.parameters()).dtype
    dim = torch.export.Dim
    sides = {0: dim("batch", min=1), 2: dim("height", min=LEAST_SIDE), 3: dim("width", min=LEAST_SIDE)}
    # Two pictures, since a size of 1 would be taken for a constant.
    with torch.no_grad():
        return torch.export.export(net, (torch.rand(2, 3, 33, 47).to(dtype),), dynamic_shapes=(sides,))


def _write_torch(net: nn.Module, path: Path, facts: Mapping[str, str]) -> None:
    torch.export.save(_program(net), path, extra_files={METADATA: json.dumps(facts)})


def _write_onnx(net: Any, path: Path, facts: Mapping[str, str]) -> None:
    import onnx

    program = _program(net)
    with _quiet():
        converted = torch.onnx.export(
            program, input_names=["sdr"], output_names=["hdr"], opset_version=OPSET, external_data=False, dynamo=True
        )
    assert converted is not None
    model = converted.model_proto
    # Sizes in words; those of inner tensors would contradict them and can be inferred.
    del model.graph.value_info[:]
    scale = "" if net.scale == 1 else f"{net.scale}*"
    for value, factor in ((model.graph.input[0], ""), (model.graph.output[0], scale)):
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param, dims[2].dim_param, dims[3].dim_param = "batch", f"{factor}height", f"{factor}width"
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's running commentary and its warnings about itself from the terminal."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def _open_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(["hdr"], {"sdr": x.numpy()})[0])


def _open_torch(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


def _compare(run: Callable[[Tensor], Tensor], net: Any, height: int, width: int, dtype: torch.dtype) -> Parity:
    x = _picture(height, width, net.input_signal)
    with torch.inference_mode():
        start = time.perf_counter()
        theirs = run(x.to(dtype)).float()
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        ours = net(x)
        eager_seconds = time.perf_counter() - start
        peak = float(ours.abs().max())
        difference = ours.sub_(theirs).abs_() * _CODES
    return Parity((height, width), float(difference.max()), float(difference.mean()), peak, seconds, eager_seconds)


def _picture(height: int, width: int, signal: Signal) -> Tensor:
    """8-bit codes in narrow range, always the same: noise on a ramp, so that there is both texture and level."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, width).expand(1, 3, height, width)
    noise = torch.rand(1, 3, height, width, generator=generator)
    return (16 + 219 * (0.8 * ramp + 0.2 * noise)).round() / signal.peak


def _large(scale: int) -> tuple[int, int]:
    """The largest size to compare at that half of the memory allows."""
    pixels = free_memory(torch.device("cpu")) / 2 / (_BYTES[0] + _BYTES[1] * scale**2)
    return next((size for size in _LARGE if size[0] * size[1] <= pixels), _LARGE[-1])


_EXAMPLES = """\
examples:
  python tools/export.py jsinet_x2 -o jsinet_x2.onnx
  python tools/export.py jsinet_x2 --weights runs/mine/weights.safetensors -o mine.onnx --half
  python tools/export.py deep_sritm_x2.v1 --format torch --check-sizes 61x45 960x540
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="export.py",
        description="Write a network for ONNX Runtime, TensorRT or torch.export, and compare the two (docs/export.md).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="of the network: jsinet_x2 (its newest weights), jsinet_x2.v1")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="safetensors, instead of published weights")
    parser.add_argument("--untrained", action="store_true", help="take fresh weights, to try a runtime")
    parser.add_argument("--format", choices=SUFFIXES, help="(default: torch for a .pt2, else onnx)")
    parser.add_argument("--half", action="store_true", help="in float16, but for what needs float32")
    parser.add_argument(
        "--check-sizes",
        nargs="+",
        type=_size,
        metavar="WxH",
        help="sizes of the input to compare at (default: 61x45, and 1920x1080 or what memory allows)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="(default: NAME.onnx or NAME.pt2)")
    return parser


def _size(text: str) -> tuple[int, int]:
    """Height and width."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(int(side) for side in found.groups()) < LEAST_SIDE:
        raise argparse.ArgumentTypeError(f"{text} is no size; write WIDTHxHEIGHT, at least {LEAST_SIDE}x{LEAST_SIDE}")
    return int(found[2]), int(found[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, and print each comparison; returns the exit status, 2 after an error that the user can mend."""
    options = parser().parse_args(arguments)
    format: Format = options.format or ("torch" if options.output and options.output.suffix == ".pt2" else "onnx")
    path = options.output or Path(options.name + SUFFIXES[format])
    try:
        if path.suffix != SUFFIXES[format]:
            raise ConfigError(f"{path} can't hold {format}; name it {path.with_suffix(SUFFIXES[format])}")
        parities = export(
            options.name, path, format, options.weights, options.half, options.untrained, options.check_sizes
        )
    except (ZooError, OSError) as error:
        print(f"export.py: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{path}: {path.stat().st_size:,} bytes; off the network in float32, in 10-bit codes:")
    print("     input    largest       mean  within  seconds    eager")
    for parity in parities:
        size, within = "{1}x{0}".format(*parity.size), "any" if options.half else f"{parity.bound:.2f}"
        times = f"{parity.seconds:7.2f}  {parity.eager_seconds:7.2f}"
        print(f"{size:>10}  {parity.largest:9.5f}  {parity.mean:9.6f}  {within:>6}  {times}")
    return 0
