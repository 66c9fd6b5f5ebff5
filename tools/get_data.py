"""Fetch HDR panoramas under CC0 for a training set that anyone can rebuild.

    python tools/get_data.py polyhaven --list                              # what there is, in the order of choice
    python tools/get_data.py polyhaven --resolution 4k --count 100 -o panoramas
    python tools/get_data.py polyhaven --categories outdoor,night -o panoramas

Stopped or killed, the same command goes on where it was. docs/open_data.md leads from here to shards.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from datamodules.polyhaven import API, PAUSE, SOURCES, PolyHaven, choose, fetch_panoramas
from zoo.errors import ConfigError, ZooError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="get_data.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    services = parser.add_subparsers(dest="service", required=True)
    polyhaven = services.add_parser(
        "polyhaven", allow_abbrev=False, help="panoramas of polyhaven.com, CC0", description="Powered by Poly Haven."
    )
    polyhaven.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for the panoramas")
    polyhaven.add_argument("--resolution", default="4k", help="1k, 2k, 4k, 8k, ... (default: %(default)s, 4096x2048)")
    polyhaven.add_argument("--format", choices=("hdr", "exr"), default="hdr", help="(default: %(default)s)")
    polyhaven.add_argument("--count", type=int, help="panoramas (default: all)")
    polyhaven.add_argument("--categories", default="", metavar="A,B", help="only panoramas that are in all of these")
    polyhaven.add_argument("--seed", type=int, default=0, help="of the choice (default: %(default)s)")
    polyhaven.add_argument("--list", action="store_true", help="show what would be chosen and fetch nothing")
    polyhaven.add_argument("--api", default=API, metavar="URL", help="address of the service (default: %(default)s)")
    polyhaven.add_argument(
        "--pause", type=float, default=PAUSE, help="seconds before each request (default: %(default)s)"
    )
    return parser


def polyhaven(parsed: argparse.Namespace) -> None:
    """Fetch or list panoramas of Poly Haven.

    Raises:
        ZooError: an argument that can't be, or something couldn't be fetched.
    """
    if parsed.count is not None and parsed.count < 1:
        raise ConfigError(f"--count is {parsed.count}; it must be at least 1")
    if not parsed.list and parsed.output is None:
        raise ConfigError("no folder named; give -o DIR, or --list to fetch nothing")
    service = PolyHaven(parsed.api, parsed.pause)
    categories = [category.strip() for category in parsed.categories.split(",") if category.strip()]
    chosen = choose(service.panoramas(categories), parsed.seed)
    if parsed.list:
        for asset in chosen[: parsed.count]:
            print(f"{asset.id:40} {', '.join(asset.categories)} ({', '.join(asset.authors)})")
        return
    fetched = fetch_panoramas(service, chosen, parsed.output, parsed.resolution, parsed.format, parsed.count)
    print(f"{parsed.output}: {len(fetched)} panoramas, listed in {parsed.output / SOURCES}. Powered by Poly Haven.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 after an error that the user can mend."""
    parsed = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        polyhaven(parsed)
    except ZooError as error:
        print(f"get_data.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
