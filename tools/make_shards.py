"""Make a set of training, validation and test shards from HDR pictures and video, or from SDR + HDR pairs.

    python tools/make_shards.py photos -o shards/mine                        # all files of a folder, for training
    python tools/make_shards.py photos --val held_out -o shards/mine         # and some to validate on
    python tools/make_shards.py film.mkv --preset paper -o shards/film       # one HDR10 or HLG film
    python tools/make_shards.py film_hdr.mkv+film_sdr.mkv -o shards/film     # with its own SDR version
    python tools/make_shards.py test_hdr+test_sdr --hdr-range hdrtv1k -o shards/tv     # two folders of PNG pairs
    python tools/make_shards.py HDR.mat+SDR.mat -o shards/kaist              # the KAIST training file
    python tools/make_shards.py --split split.json wheels -o shards/mine     # splits listed in a file

SRC is a file (OpenEXR, Radiance, PNG, AVIF, Ultra HDR JPEG, any video, raw .yuv), a pair HDR+SDR of two files or two
folders, a folder that holds such a pair of folders, or any other folder of files. A command that was stopped, or
killed, goes on where it was when it is given again. docs/data.md describes what is made.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from datamodules.making import check_place, estimate_set, make_set
from datamodules.plan import Recipe
from datamodules.presets import PRESETS
from datamodules.progress import ProgressHandler
from datamodules.scenes import Reading, Scene, find_scenes, read_split
from zoo.errors import ConfigError, ZooError
from zoo.signal import Signal


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make_shards.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("src", nargs="*", type=Path, metavar="SRC", help="sources; with --split, folders to look in")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the set, absent or empty")
    parser.add_argument("--val", nargs="+", type=Path, default=[], metavar="SRC", help="sources to validate on")
    parser.add_argument("--test", nargs="+", type=Path, default=[], metavar="SRC", help="sources to report on")
    parser.add_argument("--split", type=Path, metavar="FILE", help="JSON file that lists the sources of each split")

    samples = parser.add_argument_group("samples")
    samples.add_argument(
        "--scale", type=int, choices=(1, 2, 4), default=2, help="HR over LR size (default: %(default)s)"
    )
    presets = "; ".join(f"{preset.name}: {preset.summary}" for preset in PRESETS.values())
    samples.add_argument(
        "--preset", choices=PRESETS, default="val-v1", help=f"how pairs are made (default: %(default)s). {presets}"
    )
    samples.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    samples.add_argument("--patches", type=int, metavar="N", help="training patches of each frame (default: preset's)")
    samples.add_argument("--stride", type=int, metavar="N", help="use one frame in N of a film (default: preset's)")
    samples.add_argument(
        "--val-frames",
        type=int,
        default=16,
        metavar="N",
        help="take at most N whole frames of each film to validate and report on (default: %(default)s)",
    )
    samples.add_argument(
        "--gamut-expansion", action="store_true", help="widen colours on BT.709 primaries on the HDR side"
    )

    reading = parser.add_argument_group("what files don't say about themselves")
    reading.add_argument(
        "--signal", type=_signal, help="of HDR files without tags, such as bt2020-pq-ycbcr2020-narrow-10"
    )
    reading.add_argument(
        "--sdr-signal", type=_signal, help="of SDR files without tags, such as bt709-bt1886-ycbcr709-narrow-8"
    )
    reading.add_argument(
        "--flat", action="store_true", help="2:1 pictures of scene light are no panoramas; without it they are"
    )
    reading.add_argument(
        "--hdr-range",
        choices=("full", "hdrtv1k"),
        default="full",
        help="of HDR PNG in paired folders; HDRTV1K's white lies at 65282.5 (default: %(default)s)",
    )
    reading.add_argument("--size", type=_size, metavar="WIDTHxHEIGHT", help="of raw .yuv video")
    reading.add_argument(
        "--layout", choices=("420", "422", "444"), default="420", help="of raw .yuv video (default: %(default)s)"
    )

    running = parser.add_argument_group("running; the set is the same, byte for byte, whatever is chosen")
    running.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (default: %(default)s, the cores)"
    )
    running.add_argument(
        "--dask", metavar="ADDRESS", help="compute on a running Dask cluster that sees the same folders instead"
    )
    running.add_argument(
        "--keep-going", action="store_true", help="leave out and name what can't be used, instead of stopping"
    )
    running.add_argument("--dry-run", action="store_true", help="only say what would be made, how large, how long")
    return parser


def _signal(text: str) -> Signal:
    try:
        return Signal.parse(text)
    except ZooError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 1920x1080")
    return int(height), int(width)


def scenes_by_split(arguments: argparse.Namespace) -> dict[str, list[Scene]]:
    """The sources that the command line names.

    Raises:
        ConfigError: none, or splits named in two ways.
        DataError: a path that isn't there or is no source.
    """
    reading = Reading(
        arguments.signal,
        arguments.sdr_signal,
        False if arguments.flat else None,
        arguments.hdr_range,
        arguments.size,
        arguments.layout,
    )
    if arguments.split:
        if arguments.val or arguments.test:
            raise ConfigError("--split lists val and test itself; leave out --val and --test, or --split")
        if files := [path for path in arguments.src if not path.is_dir()]:
            raise ConfigError(f"with --split, SRC are folders to look in; {files[0]} is none")
        return read_split(arguments.split, arguments.src, reading)
    if not (arguments.src or arguments.val or arguments.test):
        raise ConfigError("no sources named; give files or folders, or --split FILE")
    return {
        "train": find_scenes(arguments.src, reading),
        "val": find_scenes(arguments.val, reading),
        "test": find_scenes(arguments.test, reading),
    }


def command_of(arguments: argparse.Namespace) -> str:
    """The command that makes the same set, for its data card: without what the samples don't depend on."""
    words = ["python", "tools/make_shards.py", *arguments.src, "-o", "DIR"]
    for name in ("val", "test"):
        if sources := getattr(arguments, name):
            words += [f"--{name}", *sources]
    for name in ("split", "scale", "preset", "seed", "patches", "stride", "val_frames", "signal", "sdr_signal"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name.replace('_', '-')}", value]
    words += [f"--{name.replace('_', '-')}" for name in ("flat", "gamut_expansion") if getattr(arguments, name)]
    if arguments.hdr_range != "full":
        words += ["--hdr-range", arguments.hdr_range]
    if arguments.size:
        height, width = arguments.size
        words += ["--size", f"{width}x{height}", "--layout", arguments.layout]
    return shlex.join(map(str, words))


def run(arguments: argparse.Namespace) -> None:
    """Make the set, or estimate it, and print what came of it."""
    splits = scenes_by_split(arguments)
    if arguments.dry_run:
        check_place(arguments.output)
        recipe = Recipe(
            arguments.scale,
            arguments.preset,
            arguments.seed,
            arguments.patches,
            arguments.stride,
            arguments.gamut_expansion,
            arguments.val_frames,
        )
        print(estimate_set(splits, recipe, arguments.workers, arguments.dask))
        return
    manifest = make_set(
        arguments.output,
        splits,
        arguments.scale,
        preset=arguments.preset,
        seed=arguments.seed,
        patches=arguments.patches,
        stride=arguments.stride,
        gamut_expansion=arguments.gamut_expansion,
        val_frames=arguments.val_frames,
        workers=arguments.workers,
        dask=arguments.dask,
        keep_going=arguments.keep_going,
        command=command_of(arguments),
    )
    samples = ", ".join(f"{manifest.samples(split)} {split}" for split in manifest.splits)
    print(f"{arguments.output}: {samples} samples at scale {manifest.scale}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 after an error that the user can mend."""
    parsed = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[ProgressHandler()])
    try:
        run(parsed)
    except ZooError as error:
        print(f"make_shards.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make_shards.py: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
