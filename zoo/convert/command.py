"""The command line of conversions: ``python tools/convert.py``, also ``sritm convert``."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from datamodules.progress import ProgressHandler
from zoo.convert.film import check_output
from zoo.convert.formats import CODECS
from zoo.convert.job import convert
from zoo.convert.request import Progress, Request
from zoo.convert.stills import STILLS
from zoo.errors import ConfigError, ZooError
from zoo.files import replacing
from zoo.signal import Signal

logger = logging.getLogger("zoo.convert")

_EXAMPLES = """\
examples:
  python tools/convert.py clip.mp4 clip-hdr.mp4 --model jsigan_x2
  python tools/convert.py clip.mp4 clip-hdr.mkv --model runs/mine --range 10s-20s --encoder crf=16 preset=slow
  python tools/convert.py clip.mp4 clip-hdr.mkv --model bicubic+bt2446c --codec ffv1
  python tools/convert.py photograph.jpg photograph.avif --model jsinet_x2
  python tools/convert.py holiday holiday-hdr --model jsinet_x2 --still .avif
"""
_INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="convert.py",
        description="Turn an SDR film or photograph into HDR (docs/conversion.md).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("input", type=Path, help="a video file, a photograph, or a folder of photographs")
    parser.add_argument("output", type=Path, help=".mp4, .mkv, .yuv; .png, .avif, .exr, .jpg (Ultra HDR); or a folder")
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="a name of the zoo, a baseline, a weights file, a run, NAME=FILE"
    )
    parser.add_argument("--scale", type=int, choices=(1, 2, 4), help="of a baseline (default: 2)")
    parser.add_argument("--signal", type=_signal, help="what the input's codes mean, where its tags don't say it")
    parser.add_argument("--codec", choices=CODECS, help="of video (default: hevc; ffv1 loses nothing)")
    parser.add_argument("--transfer", choices=("pq", "hlg"), default="pq", help="of video (default: pq, HDR10)")
    parser.add_argument(
        "--encoder",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of the encoder, such as crf=16 preset=slow",
    )
    parser.add_argument("--still", choices=STILLS, default=".png", help="of a folder's pictures (default: .png)")
    parser.add_argument("--quality", type=int, default=95, help="of AVIF, 1 to 100, which loses nothing (default: 95)")
    parser.add_argument("--range", type=_span, metavar="FROM-TO", help="of a film, such as 10s-20s or 1:00-1:30")
    parser.add_argument("--part", type=int, default=240, metavar="FRAMES", help="least length of a part (default: 240)")
    parser.add_argument("--workers", type=int, default=1, help="processes that parts are dealt to (default: 1)")
    parser.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster that parts are dealt to")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("32", "bf16", "16"), default="32", help="of the network (default: 32)")
    parser.add_argument("--memory", type=float, metavar="GB", help="for the network (default: half of what is free)")
    parser.add_argument(
        "--preview",
        action="store_true",
        help="first write OUTPUT.preview.png, SDR beside HDR, and two seconds as a film",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is there")
    parser.add_argument("--report", type=Path, metavar="JSON", help="write the report there too")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Convert.

    Returns:
        0; 2 after an error that the user can mend, said in one line; 130 after Ctrl-C.
    """
    options = parser().parse_args(argv)
    handler = ProgressHandler()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        if options.report is not None:
            check_output(options.report, overwrite=True)
        report = convert(_request(options), _tell)
        if options.report is not None:
            with replacing(options.report) as temporary:
                temporary.write_text(json.dumps(report.as_json(), indent=1), encoding="utf-8")
        print(report)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with what is finished", file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        full = "; what is finished is kept: make room, and give the same command" if error.errno == errno.ENOSPC else ""
        print(f"error: {options.output}: {error.strerror or error}{full}", file=sys.stderr)
        return 2
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return 0


def _request(options: argparse.Namespace) -> Request:
    settings = {}
    for text in options.encoder:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--encoder {text}: give KEY=VALUE, such as crf=16")
        settings[key] = value
    if options.memory is not None and not 0 < options.memory < math.inf:
        raise ConfigError(f"--memory {options.memory:g}: give the gigabytes that the network may take")
    return Request(
        source=options.input,
        output=options.output,
        model=options.model,
        scale=options.scale,
        signal=options.signal,
        codec=options.codec,
        transfer=options.transfer,
        options=settings,
        still=options.still,
        quality=options.quality,
        span=options.range,
        part_frames=options.part,
        workers=options.workers,
        dask=options.dask,
        device=options.device,
        precision=options.precision,
        memory=None if options.memory is None else int(options.memory * 1e9),
        preview=options.preview,
        overwrite=options.overwrite,
    )


def _tell(progress: Progress) -> None:
    logger.info("%s", progress, extra={"progress": progress.done / progress.total})


def _signal(text: str) -> Signal:
    try:
        return Signal.parse(text)
    except ZooError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _span(text: str) -> tuple[float, float]:
    start, dash, stop = text.partition("-")
    try:
        span = _seconds(start), _seconds(stop)
    except ValueError:
        span = (0.0, 0.0)
    if not dash or not 0 <= span[0] < span[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; give one such as 10s-20s, 1:00-1:30 or 0-2.5")
    return span


def _seconds(text: str) -> float:
    """``10``, ``10s``, ``1:30``, ``1:02:03.5``."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?s?", text):
        raise ValueError(text)
    seconds = 0.0
    for part in text.removesuffix("s").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
