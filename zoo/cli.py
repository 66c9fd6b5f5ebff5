"""The command ``sritm``, the same as ``python -m zoo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from zoo.errors import ZooError
from zoo.registry import Card, info, list_models
from zoo.run_page import write_page


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        0, or 2 after an error that the user can mend, said in one line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["fit"]:
        # Not at the top: training needs Lightning, and listing models should not wait for it.
        from zoo.fit import main as fit

        return fit(arguments[1:])
    if arguments[:1] == ["evaluate"]:
        from zoo.evaluation.command import main as evaluate

        return evaluate(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        print(_answer(options))
    except (ZooError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sritm", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the models of the zoo")
    listing.add_argument("pattern", nargs="?", default="*", help="shell pattern, such as '*x2*'")
    show = commands.add_parser("show", help="what is known of a model or baseline")
    show.add_argument("name")
    report = commands.add_parser("report", help="write the page of a training run, RUN/index.html, anew")
    report.add_argument("run_dir", metavar="RUN", help="the run's folder")
    commands.add_parser("fit", help="train: sritm fit --config jsigan; see sritm fit --help", add_help=False)
    commands.add_parser("evaluate", help="score models on a set; see sritm evaluate --help", add_help=False)
    return parser


def _answer(options: argparse.Namespace) -> str:
    if options.command == "report":
        return str(write_page(options.run_dir))
    return _listing(options.pattern) if options.command == "list" else _card(info(options.name))


def _listing(pattern: str) -> str:
    rows = [f"{'name':22}{'parameters':>11}  weights"]
    for name in list_models(pattern):
        card = info(name)
        tags = ", ".join(weights.tag for weights in card.weights) or "none published yet"
        rows.append(f"{name:22}{card.parameters:>11,}  {tags}")
    return "\n".join(rows)


def _card(card: Card) -> str:
    missing = "none yet" if card.parameters else "none needed"
    rows = {
        "name": card.name,
        "summary": card.summary,
        "scale": card.scale or "any",
        "parameters": f"{card.parameters:,}",
        "input": card.input,
        "output": card.output,
        "paper": card.paper,
        "authors' code": card.code or "none",
        "recipe": card.recipe or missing,
        "weights": ", ".join(weights.tag for weights in card.weights) or missing,
    }
    return "\n".join(f"{key:>14}  {value}" for key, value in rows.items())
