"""The command ``sritm``, the same as ``python -m zoo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo import hub
from zoo.errors import WeightsError, ZooError, one_line
from zoo.hub_index import Weights
from zoo.registry import Card, card_of, citation, find_weights, info, list_models
from zoo.run_page import write_page


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        0; 1 if ``verify`` found weights that aren't what was published; 2 after an error that the user can mend, said
        in one line; 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["fit"]:
        # Not at the top: training needs Lightning, and listing models should not wait for it.
        from zoo.fit import main as fit

        return fit(arguments[1:])
    if arguments[:1] == ["evaluate"]:
        from zoo.evaluation.command import main as evaluate

        return evaluate(arguments[1:])
    if arguments[:1] == ["convert"]:
        from zoo.convert.command import main as convert

        return convert(arguments[1:])
    if arguments[:1] == ["import"]:
        from zoo.importers.command import main as import_weights

        return import_weights(arguments[1:])
    if arguments[:1] == ["export"]:
        from zoo.export import main as export

        return export(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        text, status = _answer(options)
        print(text)
    except (ZooError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sritm", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the models of the zoo")
    listing.add_argument("pattern", nargs="?", default="*", help="shell pattern, such as '*x2*'")
    show = commands.add_parser("show", help="what is known of a model, its weights, or a baseline")
    show.add_argument("name", help="jsinet_x2, jsinet_x2.v1, bicubic+oracle")
    download = commands.add_parser("download", help="fetch weights, unless they are on this machine")
    download.add_argument("name", nargs="+", help="jsinet_x2 (its newest weights), jsinet_x2.v1")
    for command in (listing, download):
        command.add_argument("--source", help="mirror: https://..., file://..., hf://ORG/REPOSITORY")
    verify = commands.add_parser("verify", help="compare the weights on this machine with what was published")
    verify.add_argument("name", nargs="?", help="of a model, or jsinet_x2.v1; all if left out")
    cache = commands.add_parser("cache", help="weights in this machine's cache")
    cache.add_argument(
        "--clear",
        nargs="?",
        const="*",
        metavar="NAME",
        help="remove all but imported ones, or those of a model, or jsinet_x2.v1",
    )
    report = commands.add_parser("report", help="write the page of a training run, RUN/index.html, anew")
    report.add_argument("run_dir", metavar="RUN", help="the run's folder")
    commands.add_parser("fit", help="train: sritm fit --config jsigan; see sritm fit --help", add_help=False)
    commands.add_parser("evaluate", help="score models on a set; see sritm evaluate --help", add_help=False)
    commands.add_parser("convert", help="SDR video and photographs to HDR; see sritm convert --help", add_help=False)
    commands.add_parser("import", help="take over the authors' weights; see sritm import --help", add_help=False)
    commands.add_parser("export", help="a network as ONNX or torch.export; see sritm export --help", add_help=False)
    return parser


def _answer(options: argparse.Namespace) -> tuple[str, int]:
    if options.command == "report":
        return str(write_page(options.run_dir)), 0
    if options.command == "list":
        return _listing(options.pattern, options.source), 0
    if options.command == "show":
        return _card(options.name), 0
    if options.command == "download":
        return "\n".join(str(_fetched(name, options.source)) for name in options.name), 0
    if options.command == "verify":
        return _verdicts(options.name)
    return _cached(options.clear), 0


def _listing(pattern: str, source: str | None) -> str:
    note, offered = "", {}
    try:
        if mirror := hub.address(source):
            offered = {each.full_name: each for each in hub.read_index(mirror)}
    except WeightsError as error:
        if source is not None:
            raise
        note = f"\n\nonly what this machine knows of: {error}"
    known = offered | {each.full_name: each for each in hub.known()}
    rows: list[tuple[str, ...]] = [("name", "parameters", "weights", "PSNR", "matched", "licence", "where")]
    for name in list_models(pattern):
        first = (name, f"{info(name).parameters:,}")
        own = [known[full] for full in sorted(known) if known[full].name == name]
        rows += [(*first, "none yet", "", "", "", "")] * (not own)
        for number, weights in enumerate(own):
            rows.append((*(("", "") if number else first), *_line(weights)))
    return _table(rows) + note


def _line(weights: Weights) -> tuple[str, ...]:
    scores = (weights.scores.get(metric) for metric in ("psnr", "psnr_matched"))
    figures = ("" if score is None else f"{score:.2f}" for score in scores)
    license = weights.license if len(weights.license) <= 20 else f"{weights.license[:17]}..."
    return weights.tag, *figures, license, _where(weights)


def _where(weights: Weights) -> str:
    if (hub.SHIPPED / weights.file).is_file():
        return "here, with the package"
    return "here, in the cache" if hub.cached_path(weights.name, weights.tag).is_file() else "to be fetched"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    figures = [column in ("parameters", "PSNR", "matched") for column in rows[0]]
    lines = []
    for row in rows:
        padded = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, figures, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _card(name: str) -> str:
    card = info(name)
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
    if card.macs_per_pixel is not None:
        rows["multiply-adds"] = f"{card.macs_per_pixel:,} for each pixel of the output"
    if card.memory_per_megapixel is not None:
        rows["memory"] = f"{card.memory_per_megapixel:,} MB for a megapixel of the output, in float32"
    if card.halo is not None:
        rows["reach"] = "{} rows and {} columns of input pixels to each side".format(*card.halo)
    tag = name.partition(".")[2] if card.parameters else ""
    wanted = [weights for weights in card.weights if tag in ("", weights.tag)]
    parts = [_facts(rows), *(_facts(_weights_facts(card, weights)) for weights in wanted)]
    return "\n\n".join([*parts, *filter(None, [citation(card.name)])])


def _weights_facts(card: Card, weights: Weights) -> dict[str, object]:
    rows: dict[str, object] = {
        "weights": f"{weights.full_name}, {weights.bytes:,} bytes, {_where(weights)}",
        "licence": weights.license,
        "SHA-256": weights.sha256,
    }
    if weights.scores:
        rows["scores"] = ", ".join(f"{metric} {score:.4g}" for metric, score in weights.scores.items())
        rows["measured on"] = weights.measured
        rows["by"] = weights.command
    if weights.data_card:
        rows["trained on"] = " ".join(weights.data_card.partition("\n\n")[0].split())
    # Where its network isn't the model's usual one.
    for fact, key in (
        ("built with", "built with"),
        ("parameters", "parameters"),
        ("multiply-adds for a pixel of the output", "multiply-adds"),
        ("memory for a megapixel of the output", "memory"),
        ("reach", "reach"),
    ):
        if fact in weights.facts:
            rows[key] = weights.facts[fact]
    if "made by commit" in weights.facts:
        rows["made by"] = f"commit {weights.facts['made by commit']}"
    if weights.note:
        rows["note"] = weights.note
    if weights.card and (hub.SHIPPED / weights.card).is_file():
        rows["card"] = hub.SHIPPED / weights.card
    if weights.source:
        rows["from"] = weights.source
    return rows


def _facts(rows: Mapping[str, object]) -> str:
    return "\n".join(f"{key:>14}  {value}" for key, value in rows.items())


def _fetched(name: str, source: str | None) -> Path:
    weights, path = find_weights(name, source)
    hub.check(weights, path)
    return path


def _verdicts(name: str | None) -> tuple[str, int]:
    model, _, tag = (name or "").partition(".")
    if name:
        card_of(name)
    verdicts = hub.verify(model or None, tag or None)
    if name and not verdicts:
        raise WeightsError(f"this machine knows of no weights {name}; sritm list shows those there are")
    rows = []
    for weights, path, wrong in verdicts:
        if path is None:
            rows.append(f"not here  {weights.full_name}")
            continue
        if not wrong and path.parent == hub.SHIPPED and weights.card:
            # Not at the top: it reads YAML.
            from zoo.model_card import check_head

            try:
                check_head(weights, path.with_name(weights.card))
            except WeightsError as error:
                wrong = str(error)
        rows.append(f"WRONG     {weights.full_name}: {wrong}" if wrong else f"right     {weights.full_name}  {path}")
    return "\n".join(rows) or "no weights are on this machine", int(any("WRONG" in row[:5] for row in rows))


def _cached(clear: str | None) -> str:
    if clear is not None:
        model, _, tag = ("" if clear == "*" else clear).partition(".")
        if model:
            card_of(clear)
        freed = hub.clear(model or None, tag or None)
        if tag and not freed:
            raise WeightsError(f"the cache has no weights {clear}; sritm cache shows those it has")
        return f"freed {freed / 1e6:.1f} MB"
    rows = [f"{weights.full_name:24}{weights.bytes:>12,} bytes  {weights.source}".rstrip() for weights in hub.cached()]
    return "\n".join([f"{hub.cache_folder()}{'' if rows else ': no weights'}", *rows])
