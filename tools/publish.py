"""Publish a run's weights: store them small, score them again, write card, index and checksums.

    python tools/evaluate.py --model runs/jsinet_x2 -o results/jsinet_x2
    python tools/publish.py runs/jsinet_x2/weights.safetensors --name jsinet_x2 --tag v1 \\
        --scores results/jsinet_x2/scores.json --license CC0-1.0 --data-card data.md -o site

The folder can be given out by any web server, or go to a repository of the Hugging Face hub (docs/publishing.md).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datamodules.progress import ProgressHandler
from zoo.errors import ZooError, one_line
from zoo.hub import SHIPPED
from zoo.publish import publish


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="publish.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a run's weights.safetensors")
    parser.add_argument("--name", required=True, help="of the model, such as jsinet_x2")
    parser.add_argument("--tag", required=True, help="v1, v2, ..., preview or val_v1; _fp32 may follow")
    parser.add_argument(
        "--scores",
        required=True,
        nargs="+",
        type=Path,
        metavar="FILE",
        help="scores.json of these weights, one for each set; the first one's are those of the lists",
    )
    parser.add_argument("--license", required=True, help="of the weights, an SPDX identifier such as CC0-1.0")
    parser.add_argument("--data-card", required=True, type=Path, metavar="FILE", help="Markdown on the training data")
    parser.add_argument(
        "--note", default="", metavar="TEXT", help="what users must know, such as a goal that wasn't reached"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=SHIPPED, metavar="FOLDER", help="(default: the package's zoo/pretrained)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status, 2 after an error that the user can mend."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[ProgressHandler()])
    try:
        done = publish(
            options.weights,
            options.name,
            options.tag,
            options.scores,
            options.license,
            options.data_card,
            options.output,
            options.note,
        )
    except (ZooError, OSError) as error:
        print(f"publish.py: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{done.path}: {done.weights.bytes:,} bytes, {done.stored}")
    for scored in done.sets:
        print(f"  {scored.measured}")
        for score in scored.scores:
            print(f"    {score.metric:16} {score.value:10.4f}  moved by {score.moved:+.4f}")
    print(f"  predictions moved by at most {done.deviation:.2f} of a 10-bit code")
    return 0


if __name__ == "__main__":
    sys.exit(main())
