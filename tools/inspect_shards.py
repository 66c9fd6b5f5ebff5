"""Show what a set of shards holds: facts, damage, luminance, clipping and gamut, and a contact sheet.

    python tools/inspect_shards.py shards/mine                   # summary, and mine-train.png in this folder
    python tools/inspect_shards.py shards/mine --split val -o /tmp/look
    python tools/inspect_shards.py shards/mine --samples 5000    # measure more of them
    python tools/inspect_shards.py shards/mine --json > mine.json

Every shard is compared with dataset.json. Pixels are measured on samples drawn at random, the same ones each time; of
pictures larger than 256x256 on a grid. Status 1 says that a shard is damaged, 2 that the set can't be inspected.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from datamodules.inspection import (
    GAMUTS,
    LUMINANCE_EDGES,
    SideReport,
    SplitReport,
    draw_samples,
    find_damage,
    inspect_split,
)
from datamodules.manifest import SPLITS, Manifest, ShardEntry
from datamodules.shards import Sample
from zoo.errors import ConfigError, DataError, ZooError
from zoo.pictures import show_hdr, show_sdr, write_png
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

_PAIRS = 24  # on a contact sheet
_COLUMNS = 4
_TILE = 192  # pixels that a picture of it fits into
_GAP = 6
_LINE = 18  # pixels of a line of text
_BAR = 30  # signs of the longest bar
_NAMED = 6  # values of a distribution that are written out

# Labels of what is counted and spread in a report.
_COUNTS = {
    "size": "HR size",
    "scene": "scene",
    "preset": "preset",
    "curve": "SDR curve",
    "degradations": "degradations",
}
_SPREADS = {"exposure": "exposure key", "stops": "stops drawn"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="inspect_shards.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("set", type=Path, metavar="DIR", help="folder of the set")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="for the contact sheet (default: this one)"
    )
    parser.add_argument("--split", choices=SPLITS, help="to measure and show (default: the first that has samples)")
    parser.add_argument("--samples", type=int, default=500, help="to measure (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def contact_sheet(samples: Sequence[Sample]) -> np.ndarray:
    """Pairs of LR SDR and HR HDR beside each other, four a row, labelled with key and size.

    HDR is shown as ``zoo.pictures.show_hdr`` does: by the SDR curve of protocol val-v1.

    Args:
        samples: at least one.

    Returns:
        (H, W, 3) uint8, sRGB.
    """
    tiles = [_tile(sample) for sample in samples]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % min(_COLUMNS, len(tiles)))
    columns = min(_COLUMNS, len(tiles))
    return np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])


def _tile(sample: Sample) -> np.ndarray:
    """One pair under its label."""
    (height, width), (sdr_height, sdr_width) = sample.hdr.shape[:2], sample.sdr.shape[:2]
    sdr = torch.from_numpy(sample.sdr.astype(np.float32)).permute(2, 0, 1) / SDR_VIDEO.peak
    hdr = torch.from_numpy(sample.hdr.astype(np.float32)).permute(2, 0, 1) / HDR10_VIDEO.peak
    tile = np.zeros((2 * _LINE + _TILE + _GAP, 2 * (_TILE + _GAP), 3), np.uint8)
    labels = (sample.key, f"SDR {sdr_width}x{sdr_height}", f"HDR {width}x{height}, tone-mapped")
    places = ((0, _LINE - 5), (0, 2 * _LINE - 6), (_TILE + _GAP, 2 * _LINE - 6))
    for text, place in zip(labels, places, strict=True):
        cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA)
    for left, picture in ((0, show_sdr(sdr, width // sdr_width)), (_TILE + _GAP, show_hdr(hdr))):
        fitted = _fit(picture)
        tile[2 * _LINE : 2 * _LINE + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return tile


def _fit(picture: np.ndarray) -> np.ndarray:
    """Reduce a picture that is larger than a tile's half."""
    factor = _TILE / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = tuple(max(1, round(factor * side)) for side in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def facts(folder: Path, manifest: Manifest, damage: dict[str, str]) -> Iterator[str]:
    """Lines on the whole set, from its manifest."""
    licences = Counter(source.licence or "licence unknown" for source in manifest.sources)
    yield f"{folder}: scale {manifest.scale}, preset {manifest.preset}, seed {manifest.seed}"
    yield f"  SDR {manifest.signals['sdr']}, HDR {manifest.signals['hdr']}"
    yield f"  {len(manifest.sources)} sources: {_distribution(dict(licences.most_common()))}"
    for split in SPLITS:
        entries = manifest.splits.get(split, ())
        size = sum(entry.bytes for entry in entries) / 1e6
        yield f"  {split:6}{len(entries):5} shards {manifest.samples(split):9} samples {size:11.1f} MB"
    shards = sum(map(len, manifest.splits.values()))
    yield f"  {len(damage)} of {shards} shards are damaged" + (":" if damage else "")
    yield from (f"    {line}" for line in damage.values())


def measurements(report: SplitReport, total: int) -> Iterator[str]:
    """Lines on the samples that were measured."""
    pixels = f"{report.hdr.pixels / 1e6:.2f} Mpixel of HDR"
    yield f"{report.split}: {report.samples} of {total} samples measured, {pixels}"
    for name, label in _COUNTS.items():
        yield f"  {label:13}{_distribution(report.counts[name])}"
    for name, label in _SPREADS.items():
        if name in report.spreads:
            spread = "least {:.3g}, quartiles {:.3g} {:.3g} {:.3g}, greatest {:.3g}".format(*report.spreads[name])
            yield f"  {label:13}{spread}"
    yield from _luminance(report.sdr, report.hdr)
    yield from _levels(report.sdr, report.hdr)
    outside = ", ".join(
        f"{_share(report.hdr.outside[gamut]).strip()} outside {name}"
        for gamut, name in zip(GAMUTS, ("BT.709", "P3-D65"), strict=True)
    )
    yield f"gamut of HDR: {outside}"


def _luminance(sdr: SideReport, hdr: SideReport) -> Iterator[str]:
    """Both histograms, from the first to the last bin that either side has."""
    yield f"{'luminance, cd/m²':20}{'SDR':{_BAR + 10}}HDR"
    used = [number for number, shares in enumerate(zip(sdr.luminance, hdr.luminance, strict=True)) if any(shares)]
    tallest = max(*sdr.luminance, *hdr.luminance)
    for number in range(used[0], used[-1] + 1):
        low = _cd(LUMINANCE_EDGES[number - 1]) if number else "0"
        bars = (_bar(side.luminance[number], tallest) for side in (sdr, hdr))
        yield f"{low:>7} to {_cd(LUMINANCE_EDGES[number]):<7}  {'  '.join(bars)}".rstrip()
    for name, side in (("SDR", sdr), ("HDR", hdr)):
        percentiles = ", ".join(f"{percentile} % {_cd(value)}" for percentile, value in side.percentiles.items())
        yield f"  {name} percentiles {percentiles}, maximum {_cd(side.maximum)}"


def _levels(sdr: SideReport, hdr: SideReport) -> Iterator[str]:
    """Codes at the ends of both signals."""
    yield f"{'levels, % of pixels':34}{'SDR':>16}{'HDR':>16}"
    for name, end in (("lowest", 0), ("highest", 1)):
        cells = "".join(f"{f'{code}: {_share(share).strip()}':>16}" for code, share in (sdr.codes[end], hdr.codes[end]))
        yield f"  {f'{name} code of luma':32}{cells}"
    for name, field in (
        ("luma at black or below", "black"),
        ("luma at nominal white or above", "white"),
        ("a channel of R'G'B' at white", "channel_white"),
    ):
        yield f"  {name:32}" + "".join(f"{_share(getattr(side, field)):>16}" for side in (sdr, hdr))


def _cd(luminance: float) -> str:
    return f"{luminance:.3g}" if luminance < 1000 else f"{luminance:.0f}"


def _bar(share: float, tallest: float) -> str:
    return f"{_share(share)} {'#' * round(_BAR * share / tallest):{_BAR}}"


def _share(share: float) -> str:
    """A share in per cent; what isn't nothing never reads as 0."""
    text = f"{100 * share:.2f}" if share == 0 or share >= 5e-5 else "<0.01"
    return f"{text:>6} %"


def _distribution(counts: dict[str, int]) -> str:
    """The most frequent values of a distribution with their counts."""
    named = [f"{value} ({count})" for value, count in list(counts.items())[:_NAMED]]
    more = len(counts) - _NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _split(manifest: Manifest, wanted: str | None) -> str:
    """The split to measure.

    Raises:
        ConfigError: it has no samples.
        DataError: none has.
    """
    filled = [split for split in SPLITS if manifest.samples(split)]
    if not filled:
        raise DataError("the set has no samples; make it anew with tools/make_shards.py")
    if wanted and wanted not in filled:
        raise ConfigError(f"split {wanted} of the set is empty; choose {' or '.join(filled)}")
    return wanted or filled[0]


def inspect(parsed: argparse.Namespace) -> int:
    """Inspect the set and print what was found; returns the exit status.

    Raises:
        ZooError: the set can't be inspected at all.
    """
    if parsed.samples < 1:
        raise ConfigError(f"--samples is {parsed.samples}; it must be at least 1")
    manifest = Manifest.read(parsed.set)
    split = _split(manifest, parsed.split)
    damage = find_damage(parsed.set, manifest)
    whole = [entry for entry in manifest.splits[split] if entry.file not in damage]
    report = inspect_split(parsed.set, manifest, split, whole, parsed.samples) if whole else None
    sheet = _write_sheet(parsed, split, whole) if whole else None
    if parsed.json:
        print(json.dumps(_as_json(manifest, damage, report, sheet), indent=1))
        return 1 if damage else 0
    for line in facts(parsed.set, manifest, damage):
        print(line)
    if report:
        for line in measurements(report, manifest.samples(split)):
            print(line)
        print(f"contact sheet: {sheet}")
    else:
        print(f"{split}: no shard is whole, so nothing was measured")
    return 1 if damage else 0


def _write_sheet(parsed: argparse.Namespace, split: str, entries: Sequence[ShardEntry]) -> Path:
    path = parsed.output / f"{parsed.set.resolve().name}-{split}.png"
    try:
        write_png(path, contact_sheet(list(draw_samples(parsed.set, entries, _PAIRS))))
    except OSError as error:
        raise DataError(f"can't write the contact sheet {path} ({error}); choose another folder with -o") from error
    return path


def _as_json(
    manifest: Manifest, damage: dict[str, str], report: SplitReport | None, sheet: Path | None
) -> dict[str, Any]:
    return {
        "manifest": asdict(manifest),
        "damage": damage,
        "luminance_edges": LUMINANCE_EDGES,
        "measured": asdict(report) if report else None,
        "contact_sheet": str(sheet) if sheet else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 1 if a shard is damaged, 2 after an error that the user can mend."""
    parsed = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return inspect(parsed)
    except ZooError as error:
        print(f"inspect_shards.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
