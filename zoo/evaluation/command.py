"""The command line of the evaluation: ``python tools/evaluate.py``, also ``sritm evaluate``."""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datamodules.presets import PRESETS, preset
from datamodules.progress import ProgressHandler, counted
from datamodules.scenes import Reading
from zoo.errors import ZooError, one_line
from zoo.evaluation.clips import clips_csv, clips_json, clips_text, describe_clips
from zoo.evaluation.papers import TABLES, evaluate_table, table_text
from zoo.evaluation.pictures import draw_worst
from zoo.evaluation.report import DEFAULT_METRICS, Evaluation, Request, check_room, evaluate
from zoo.evaluation.robustness import (
    ROBUSTNESS_METRICS,
    evaluate_conditions,
    robustness_csv,
    robustness_json,
    robustness_text,
)
from zoo.evaluation.running import PRECISIONS
from zoo.evaluation.sets import EMBEDDED, VAL_V1
from zoo.evaluation.tables import csv_text, json_content, markdown
from zoo.files import replacing, write_json
from zoo.metrics import METRICS
from zoo.signal import Signal

_EXAMPLES = """\
examples:
  python tools/evaluate.py --model runs/sample-1 bicubic+bt2446c bicubic+oracle
  python tools/evaluate.py --model jsinet_x2=mine.safetensors --data shards/mine --split val --metrics psnr,ssim
  python tools/evaluate.py --model bicubic+bt2446a --data HDR.mat+SDR.mat --scale 4 -o results/kaist
  python tools/evaluate.py --model bicubic+bt2446a --data test_hdr+test_sdr --hdr-range hdrtv1k --scale 1
  python tools/evaluate.py --table jsigan.table2 --model jsigan_x2=runs/jsigan -o results/table2
  python tools/evaluate.py --model runs/sample-1 bicubic+oracle --styles --codec -o results/robustness
  python tools/evaluate.py --model runs/sample-1 bicubic+bt2446c --clips clip.mp4 --limit 24 -o results/clips
"""


# What has no part in a way to evaluate, by the option that asks for it.
_WITHOUT_PART = {
    "clips": ("data", "split", "preset", "metrics", "worst", "signal", "hdr_range", "flat"),
    "styles": ("preset", "worst"),
    "codec": ("preset", "worst"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description="Score models on a set and compare them (docs/evaluation.md).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="NAME",
        help="a name of the zoo, a baseline, a weights file, a run's folder, or NAME=FILE; the others are compared "
        "with the first",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        default=[EMBEDDED],
        metavar="SET",
        help="shards, a JSON file of splits, or sources as tools/make_shards.py takes them (default: embedded)",
    )
    parser.add_argument("--split", nargs="+", default=["test"], help="of shards and JSON files (default: test)")
    parser.add_argument(
        "--scale", type=int, choices=(1, 2, 4), help="of pairs from sources (default: the models', or 2)"
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default=VAL_V1.name,
        help="how the SDR side of sources is made, drawn with seed 0 where it draws (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics",
        metavar="A,B",
        help=f"of {', '.join(METRICS)} (default: {','.join(DEFAULT_METRICS)}, or those of the table)",
    )
    parser.add_argument("--table", choices=TABLES, help="a paper's table, with its figures beside ours")
    parser.add_argument("--styles", action="store_true", help="the scores for SDR made by each of several tone curves")
    parser.add_argument("--codec", action="store_true", help="the scores for SDR through H.264 of several qualities")
    parser.add_argument(
        "--clips",
        nargs="+",
        metavar="VIDEO",
        help="SDR videos without a truth: stills, flicker, clipping, gamut, white and greys; --limit N takes N frames "
        "in a row",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="folder of the results (default: results)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="take N frames (or panoramas), spread over the set")
    parser.add_argument("--worst", type=int, default=2, metavar="N", help="pictures of each model's N worst frames")

    reading = parser.add_argument_group("what files don't say about themselves")
    reading.add_argument("--signal", type=_signal, help="of HDR files without tags: bt2020-pq-ycbcr2020-narrow-10, ...")
    reading.add_argument("--sdr-signal", type=_signal, help="of SDR files: bt709-bt1886-ycbcr709-narrow-8, ...")
    reading.add_argument(
        "--hdr-range", choices=("full", "hdrtv1k"), default="full", help="of HDR PNG in paired folders"
    )
    reading.add_argument("--flat", action="store_true", help="2:1 pictures of scene light are no panoramas")

    running = parser.add_argument_group("running; scores don't depend on the number of processes")
    running.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    running.add_argument(
        "--devices", type=int, default=1, metavar="N", help="processes, each with its GPU if there are"
    )
    running.add_argument("--precision", choices=PRECISIONS, default="32", help="of the networks (default: %(default)s)")
    return parser


def _signal(text: str) -> Signal:
    try:
        return Signal.parse(text)
    except ZooError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate.

    Returns:
        0; 1 if some frames have no scores; 2 after an error that the user can mend, said in one line; 130 if stopped.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    options = parser().parse_args(words)
    if not (options.model or options.table):
        parser().error("give --model, or --table")
    if sum(map(bool, (options.table, options.styles or options.codec, options.clips))) > 1:
        parser().error("--table, --clips, and --styles with --codec are three things; give one of them")
    for way, without in _WITHOUT_PART.items():
        given = [name for name in without if getattr(options, name) != parser().get_default(name)]
        if getattr(options, way) and given:
            parser().error(f"--{given[0].replace('_', '-')} has no part in --{way}; leave it out")
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[ProgressHandler()])
    command = shlex.join(["python", "tools/evaluate.py", *words])
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's is as good as Ctrl-C
    try:
        check_room(options.output)
        if options.clips:
            return _run_clips(options, command)
        evaluations = _run(options, command)
    except (ZooError, OSError) as error:
        print(f"evaluate.py: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        after = "" if options.clips else "; the same command goes on where it was"
        print(f"evaluate.py: stopped{after}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    failures = [failure for evaluation in evaluations for failure in evaluation.failures]
    if failures:
        label, row = failures[0]
        frames = counted(len({(row.item, row.frame) for _, row in failures}), "frame")
        print(
            f"evaluate.py: {frames} without scores, first {row.frame or row.item} ({label}): {row.error}",
            file=sys.stderr,
        )
    return 1 if failures else 0


def _run(options: argparse.Namespace, command: str) -> list[Evaluation]:
    varied = options.styles or options.codec
    metrics = tuple(filter(None, options.metrics.split(","))) if options.metrics else ()
    default = () if options.table else ROBUSTNESS_METRICS if varied else DEFAULT_METRICS
    request = replace(request_from(options), metrics=metrics or default)
    if varied:
        robustness = evaluate_conditions(request, options.styles, options.codec)
        if robustness is None:
            return []
        for evaluation in robustness.evaluations.values():
            write(evaluation, command, worst=0)
        text = robustness_text(robustness)
        _write_text(options.output / "robustness.md", text)
        _write_text(options.output / "robustness.csv", robustness_csv(robustness))
        write_json(options.output / "robustness.json", robustness_json(robustness, command))
        print(text)
        return list(robustness.evaluations.values())
    if options.table:
        result = evaluate_table(options.table, request)
        if result is None:
            return []
        for evaluation in result.evaluations.values():
            write(evaluation, command, options.worst)
        text = table_text(result)
        _write_text(options.output / "table.md", text)
        print(text)
        return list(result.evaluations.values())
    evaluation_ = evaluate(request)
    if evaluation_ is None:
        return []
    print(write(evaluation_, command, options.worst))
    return [evaluation_]


def _run_clips(options: argparse.Namespace, command: str) -> int:
    report = describe_clips(replace(request_from(options), data=tuple(options.clips)))
    text = clips_text(report)
    _write_text(options.output / "clips.md", text)
    _write_text(options.output / "clips.csv", clips_csv(report))
    write_json(options.output / "clips.json", clips_json(report, command))
    print(text)
    if report.failures:
        where, reason = report.failures[0]
        left_out = counted(len(report.failures), "frame")
        print(f"evaluate.py: {left_out} left out, first {where}: {reason}", file=sys.stderr)
    return 1 if report.failures else 0


def request_from(options: argparse.Namespace) -> Request:
    return Request(
        models=tuple(options.model),
        output=options.output,
        data=tuple(options.data),
        splits=tuple(options.split),
        scale=options.scale,
        reading=Reading(options.signal, options.sdr_signal, False if options.flat else None, options.hdr_range),
        pairing=preset(options.preset),
        device=options.device,
        devices=options.devices,
        precision=options.precision,
        limit=options.limit,
    )


def write(evaluation: Evaluation, command: str, worst: int) -> str:
    """Write ``scores.json``, ``scores.csv``, ``table.md`` and the pictures into the folder of the results.

    Args:
        evaluation: the result.
        command: that made it.
        worst: how many pictures for each model.

    Returns:
        What ``table.md`` holds.

    Raises:
        OSError: the folder can't be written to.
    """
    folder = evaluation.request.output
    text = markdown(evaluation)
    _write_text(folder / "table.md", text)
    _write_text(folder / "scores.csv", csv_text(evaluation))
    pictures = [str(path.relative_to(folder)) for path in draw_worst(evaluation, worst)]
    write_json(folder / "scores.json", json_content(evaluation, command, pictures))
    return text


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
