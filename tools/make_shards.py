"""Make a set of training, validation and test shards from HDR panoramas.

    python tools/make_shards.py photos -o shards/mine                        # all of a folder for training
    python tools/make_shards.py photos --val held_out -o shards/mine         # and some to validate on
    python tools/make_shards.py --split split.json wheels -o shards/mine     # splits listed in a file

Panoramas are OpenEXR or Radiance files in linear light, twice as wide as high. docs/data.md describes what is made.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from datamodules.making import PATCHES, make_set
from datamodules.pairs import PRESET
from datamodules.scenes import Scene, find_scenes, read_split
from zoo.errors import ConfigError, ZooError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make_shards.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("src", nargs="*", type=Path, help="panoramas or folders of them; with --split, where to look")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the set, absent or empty")
    parser.add_argument(
        "--scale", type=int, choices=(1, 2, 4), default=2, help="HR over LR size (default: %(default)s)"
    )
    parser.add_argument(
        "--preset", choices=(PRESET,), default=PRESET, help="protocol of the pairs (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of patches (default: %(default)s)")
    parser.add_argument("--val", nargs="+", type=Path, default=[], metavar="SRC", help="panoramas to validate on")
    parser.add_argument("--test", nargs="+", type=Path, default=[], metavar="SRC", help="panoramas to report on")
    parser.add_argument("--split", type=Path, metavar="FILE", help="JSON file that lists the panoramas of each split")
    parser.add_argument("--patches", type=int, default=PATCHES, help="patches of a panorama (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s, the cores)"
    )
    return parser


def scenes_by_split(arguments: argparse.Namespace) -> dict[str, list[Scene]]:
    """The panoramas that the command line names.

    Raises:
        ConfigError: none, or splits named in two ways.
        DataError: a path that isn't there or holds no panorama.
    """
    if arguments.split:
        if arguments.val or arguments.test:
            raise ConfigError("--split lists val and test itself; leave out --val and --test, or --split")
        if files := [path for path in arguments.src if not path.is_dir()]:
            raise ConfigError(f"with --split, SRC are folders to look in; {files[0]} is none")
        return read_split(arguments.split, arguments.src)
    if not (arguments.src or arguments.val or arguments.test):
        raise ConfigError("no panoramas named; give files or folders, or --split FILE")
    return {
        "train": find_scenes(arguments.src),
        "val": find_scenes(arguments.val),
        "test": find_scenes(arguments.test),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 after an error that the user can mend."""
    parsed = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        manifest = make_set(
            parsed.output,
            scenes_by_split(parsed),
            parsed.scale,
            preset=parsed.preset,
            seed=parsed.seed,
            patches=parsed.patches,
            workers=parsed.workers,
        )
    except ZooError as error:
        print(f"make_shards.py: {error}", file=sys.stderr)
        return 2
    samples = ", ".join(f"{manifest.samples(split)} {split}" for split in manifest.splits)
    print(f"{parsed.output}: {samples} samples at scale {manifest.scale}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
