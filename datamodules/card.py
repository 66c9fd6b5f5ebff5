"""The data card: ``README.md`` of a set, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.manifest import MANIFEST, Manifest
from datamodules.parts import Loss
from datamodules.plan import Recipe, Survey
from datamodules.presets import Preset
from datamodules.progress import file_size
from datamodules.scenes import Scene

CARD = "README.md"


@dataclass(frozen=True)
class SourceFacts:
    """What the card says of a source."""

    split: str
    scene: Scene
    survey: Survey
    frames: int


def write_card(
    folder: Path,
    manifest: Manifest,
    recipe: Recipe,
    sources: Sequence[SourceFacts],
    losses: Sequence[Loss],
    command: str | None,
) -> None:
    """Write the data card of a set.

    Args:
        folder: of the set.
        manifest: of the set.
        recipe: what the samples follow from.
        sources: in the order of the set.
        losses: frames and sources that had to be left out.
        command: that makes the set again; None if it was made from Python.
    """
    sections = [
        _contents(manifest),
        _making(recipe, sources, command),
        _sources(sources),
        *([_losses(losses)] if losses else []),
        _reading(manifest),
    ]
    (folder / CARD).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _contents(manifest: Manifest) -> str:
    rows = []
    for split, entries in manifest.splits.items():
        if entries:
            size = file_size(sum(entry.bytes for entry in entries))
            rows.append(f"| `{split}` | {manifest.samples(split)} | {len(entries)} | {size} |")
    return "\n".join(
        [
            "# Data card",
            "",
            f"Pairs of one picture as SDR and, at {manifest.scale} times the resolution, as HDR: WebDataset shards "
            "made by sritm-zoo. Training samples are patches of 160x160 HDR pixels, other samples whole frames.",
            "",
            "| split | samples | shards | size |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"- SDR: `{manifest.signals['sdr']}`, uint8, in `KEY.sdr.npy`",
            f"- HDR: `{manifest.signals['hdr']}`, uint16, in `KEY.hdr.npy`",
            "- `KEY.json`: source, scene, place in the picture, and all that was drawn for the sample",
        ]
    )


def _making(recipe: Recipe, sources: Sequence[SourceFacts], command: str | None) -> str:
    lines = ["## How it was made", ""]
    if command is not None:
        lines += [f"    {command}", ""]
    lines.append(f"Preset `{recipe.preset}`, seed {recipe.seed}: {describe(recipe.sampling)}")
    if recipe.gamut_expansion:
        lines += ["", "Light on BT.709 primaries was widened towards BT.2020's on the HDR side."]
    if any(source.split != "train" and source.survey.shots is not None for source in sources):
        lines += ["", f"Validation and test take at most {recipe.val_frames} frames of a film, evenly spread."]
    return "\n".join(lines)


def describe(sampling: Preset) -> str:
    """A preset in words."""
    total = sum(sampling.curves.values())
    curves = ", ".join(
        name if len(sampling.curves) == 1 else f"{name} {weight / total:.1%}"
        for name, weight in sampling.curves.items()
    )
    sentences = [
        f"{sampling.summary}.",
        "The SDR side of true pairs is their own; that of HDR alone is made of it by "
        + ("one curve, " if len(sampling.curves) == 1 else "a curve drawn for each scene or shot: ")
        + f"{curves}.",
    ]
    if sampling.exposure_stops:
        sentences.append(
            f"Scene light is made brighter or darker by up to {sampling.exposure_stops:g} stops on both sides."
        )
    if sampling.degradations:
        sentences.append(
            "The SDR side then goes through: "
            + "; ".join(
                " or ".join(f"`{degradation}` ({probability:.0%})" for degradation, probability in stage)
                for stage in sampling.degradations
            )
            + "."
        )
    patches, strides = (_span(span) for span in (sampling.patches_per_frame, sampling.stride))
    sentences.append(
        f"A training frame gives {patches} patches, a panorama {sampling.patches_per_panorama}; of a film one frame in "
        f"{strides} is used, shot by shot."
    )
    return " ".join(sentences)


def _sources(sources: Sequence[SourceFacts]) -> str:
    rows = []
    for source in sources:
        height, width = source.survey.size
        path = source.scene.path.name + (f" + {source.scene.sdr_path.name}" if source.scene.sdr_path else "")
        rows.append(
            f"| {source.scene.name} | `{source.split}` | {path} | {source.survey.kind} | {width}x{height} | "
            f"{source.frames} of {source.survey.frame_count} | {source.scene.licence or 'not stated'} | "
            f"`{source.survey.digest}` |"
        )
    return "\n".join(
        [
            "## Sources",
            "",
            "No scene is in two splits. The digest is the SHA-256 of the file, or, of several files, of the list of "
            "their digests and names.",
            "",
            "| scene | split | file | kind | size | frames used | licence | SHA-256 |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def _losses(losses: Sequence[Loss]) -> str:
    rows = [f"| {loss.scene} | {loss.frames or 'all'} | {loss.reason.replace('|', '/')} |" for loss in losses]
    return "\n".join(
        ["## Left out", "", "| scene | frames | why |", "| --- | --- | --- |", *rows],
    )


def _reading(manifest: Manifest) -> str:
    shard = next((entry.file for entries in manifest.splits.values() for entry in entries), "train-000000.tar")
    return "\n".join(
        [
            "## How to read it",
            "",
            "To train, give the folder as `data.root`; `" + MANIFEST + "` lists the shards with their SHA-256. Any "
            "WebDataset reader takes them:",
            "",
            f'    for sample in webdataset.WebDataset("{shard}", shardshuffle=False).decode():',
            '        sample["sdr.npy"], sample["hdr.npy"], sample["json"]',
            "",
            "Codes are Y', Cb, Cr in narrow range, 4:4:4; a network takes SDR codes / 255 and gives HDR codes / 1023.",
        ]
    )


def _span(span: tuple[int, int]) -> str:
    least, most = span
    return str(least) if least == most else f"{least} to {most}"
