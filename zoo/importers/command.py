"""The command line of the importers: ``python tools/import_weights.py``, also ``sritm import``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import ZooError
from zoo.hub import IMPORTED
from zoo.importers.importing import import_weights

_EXAMPLES = """\
examples:
  python tools/import_weights.py net/x2.mat --model deep_sritm_x2
  python tools/import_weights.py JSI-GAN_x2_exp1/JSI-GAN-12345 --model jsigan_x2
  python tools/import_weights.py Multi-purpose_CNN_x4.mat --model multipurpose_cnn_x4 -o mpcnn.safetensors
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="import_weights.py",
        description="Turn the authors' weights into safetensors for zoo.load (docs/authors_weights.md).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SRC", help="a .mat file, or the prefix of a TensorFlow checkpoint")
    parser.add_argument("--model", required=True, metavar="NAME", help="whose weights they are, such as jsinet_x2")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.safetensors",
        help=f"(default: tag {IMPORTED} in your own cache, where zoo.load('NAME.{IMPORTED}') finds it)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Import a file and say what came of it; returns the exit status, 2 after an error that the user can mend."""
    options = parser().parse_args(arguments)
    try:
        report = import_weights(options.source, options.model, options.output)
    except (ZooError, OSError) as error:
        print(f"import_weights.py: {error}", file=sys.stderr)
        return 2
    for network in report.networks:
        print(f"{network.path}: {network.tensors} tensors, {network.values:,} values")
    if report.left_out:
        print(f"left out: {len(report.left_out)} variables of the optimiser and of counting steps")
    weights = f", weights={str(options.output)!r}" if options.output else ""
    name = options.model if options.output else f"{options.model}.{IMPORTED}"
    print(f"{report.card}: research only, don't pass on. To use them: zoo.load({name!r}{weights})")
    return 0
