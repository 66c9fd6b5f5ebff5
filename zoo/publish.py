"""From a run's weights to a file that anyone can load by name: stored small, scored again, with a card.

The folder is static: any web server, a repository of the Hugging Face hub, or ``zoo/pretrained`` can hold it.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo.convert.tiling import bytes_taken
from zoo.errors import ConfigError, WeightsError, one_line
from zoo.evaluation.command import parser, request_from
from zoo.evaluation.report import DEFAULT_METRICS, Evaluation, ModelResult, Request, evaluate
from zoo.evaluation.sets import VAL_V1
from zoo.evaluation.statistics import Estimate, paired_difference, set_mean
from zoo.evaluation.tables import json_content
from zoo.files import parse_json, replacing, sha256_of, write_json
from zoo.flops import FlopCounter
from zoo.hub import IMPORTED, SHIPPED
from zoo.hub_index import INDEX_NAME, Weights, file_name, index_text, parse_index
from zoo.model_card import README, Beside, Score, ScoredSet, card_text, folder_text, network_facts
from zoo.runs import lock_folder, unlock_folder
from zoo.weights import read_weights, weights_bytes

MOST_BYTES = 8_000_000
"""Of a file that comes with the package."""

MOST_LOSS = 0.01
"""Of PSNR, in dB, that storing may cost before more of the numbers are kept in float32."""

SUMS = "SHA256SUMS"
# Words that say that there is no licence, among them SPDX's own two.
_NO_LICENSES = ("none", "noassertion", "unknown", "unlicensed", "null", "nil", "na", "tbd", "todo")
# A mean follows from its frames but for the order in which they are added.
_ROUNDING = 1e-6
_TAG = re.compile(r"(v[1-9][0-9]*|preview|val_v1)(_fp32)?")
# An absolute path in YAML, and its last part.
_ABSOLUTE = re.compile(r"(?<![^\s\"'\[,])/(?:[^\s\"',\]/]+/)*([^\s\"',\]/]+)")
_FLOAT16_MAX = torch.finfo(torch.float16).max
# The ways to store weights, in the order in which they are tried: which tensors stay float32.
_STORAGES: dict[str, Callable[[str, Tensor], bool]] = {
    "float16": lambda key, tensor: False,
    "float16, biases float32": lambda key, tensor: tensor.ndim == 1,
    "float32": lambda key, tensor: True,
}


@dataclass(frozen=True)
class Publication:
    """What was published.

    Attributes:
        weights: its line of the index.
        path: the file.
        stored: how: a key of the ways to store.
        sets: as on the card.
        deviation: largest change of a prediction by storing, in 10-bit codes, on :func:`probe`.
        half_precision: names of the 16-bit types in which predictions are finite.
    """

    weights: Weights
    path: Path
    stored: str
    sets: list[ScoredSet]
    deviation: float
    half_precision: list[str]


@dataclass(frozen=True)
class _Given:
    """An evaluation as its ``scores.json`` has it.

    Attributes:
        path: of the file.
        request: what was asked for.
        own: what came of the weights.
        others: what came of the other models.
    """

    path: Path
    request: Request
    own: dict[str, Any]
    others: list[dict[str, Any]]


def publish(
    weights: Path,
    name: str,
    tag: str,
    scores: Sequence[Path],
    license: str,
    data_card: Path,
    folder: Path = SHIPPED,
    note: str = "",
) -> Publication:
    """Publish a run's weights.

    They are stored as float16; where PSNR loses more than ``MOST_LOSS`` by that on any of the sets, biases stay
    float32, then everything, if the file is no larger than ``MOST_BYTES``. A tag that ends in ``_fp32`` is stored as it
    is. Both files, as given and as stored, are scored anew by the commands that made ``scores``.

    Args:
        weights: a run's ``weights.safetensors``.
        name: of the model.
        tag: ``v1``, ``v2``, ..., ``preview`` or ``val_v1``; ``_fp32`` may follow.
        scores: ``scores.json`` of evaluations of this very file, each of a set; the first one's are in the index. Of
            baselines that were scored with it the card tells too.
        license: of the weights, an SPDX identifier.
        data_card: Markdown about the training data, with its licence.
        folder: made if absent; it may hold other weights.
        note: what users have to know before they use it, a sentence or two, such as a goal that wasn't reached.

    Raises:
        ConfigError: something is missing or can't be, or another process writes to ``folder``.
        WeightsError: the weights aren't ``name``'s, the scores aren't theirs, contradict themselves or don't come out
            again, the tag is published already, or the file would be too large.
        DataError: the set of the scores can't be had.
    """
    _check_folder(folder)
    _check_tag(name, tag, _published(folder))
    if not re.fullmatch(r"[A-Za-z0-9.+-]{2,}", license) or license.lower() in _NO_LICENSES:
        raise ConfigError(f"--license {license!r} is no SPDX identifier, such as CC0-1.0 or Apache-2.0")
    data_text = _text(data_card)
    tensors, metadata = read_weights(weights)
    if "name" not in metadata:
        raise WeightsError(f"{weights} doesn't say what it is; publish the weights.safetensors of a run")
    if metadata.get("license", license) != license:  # imported ones say theirs
        raise WeightsError(f"{weights} has a licence already, and it isn't {license}: {metadata['license']}")
    net = zoo.load(name, weights=weights)
    given = [_scored(path, name, weights) for path in scores]
    note = " ".join(note.split())
    try:
        Weights(name, tag, file_name(name, tag), "0" * 64, 1, license, note=note, data_card=data_text)
    except ValueError as error:
        raise ConfigError(f"--note or --data-card {data_card} can't be: {error}") from error

    with tempfile.TemporaryDirectory() as temporary:
        facts = metadata | {
            "tag": tag,
            "license": license,
            "published_from": sha256_of(weights),
            "half_precision": _half_precision(name, weights, net),
        }
        for stored, path in _candidates(Path(temporary), name, tag, tensors, facts):
            models = (f"{name}={path}", f"{name}={weights}")
            # Not in the folders of the scores: rows that lie there may be anybody's.
            found = [_evaluated(each, models, Path(temporary) / f"results-{i}") for i, each in enumerate(given)]
            best = (stored, path, found)
            if all(each.models[0].differences(each.models[1])["psnr"].mean >= -MOST_LOSS for each in found):
                break
        stored, path, found = best
        for theirs, ours in zip(given, found, strict=True):
            _check_again(theirs, ours)
        scored = list(zip(given, found, strict=True))
        return _write(folder, scored, path, stored, facts, net, data_text, weights, note)


def probe() -> Tensor:
    """A picture of noise ``(1, 3, 64, 64)`` in narrow range, always the same."""
    generator = torch.Generator().manual_seed(0)
    return (16 + 219 * torch.rand(1, 3, 64, 64, generator=generator)) / 255


def _published(folder: Path) -> list[Weights]:
    path = folder / INDEX_NAME
    return parse_index(path.read_bytes(), path) if path.is_file() else []


def _check_folder(folder: Path) -> None:
    """Refuse a folder that can't be made or written to, before hours of work."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"-o {folder}: {there} is no folder that can be written to; name another")


def _check_tag(name: str, tag: str, entries: list[Weights]) -> None:
    zoo.info(name)
    if tag == IMPORTED:
        raise ConfigError(f"--tag {tag} is for the authors' weights, which aren't passed on")
    if not _TAG.fullmatch(tag):
        raise ConfigError(f"--tag {tag} can't be; use v1, v2, ..., preview or val_v1 (_fp32 may follow)")
    if any(entry.full_name == f"{name}.{tag}" for entry in entries):
        raise WeightsError(f"{name}.{tag} is published already, and what is published never changes; take another tag")


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data card {path} can't be read ({getattr(error, 'strerror', error)})") from error
    if not text:
        raise ConfigError(f"data card {path} is empty; say what the network was trained on, and under which licence")
    return text


def _scored(path: Path, name: str, weights: Path) -> _Given:
    """The evaluation that made a ``scores.json``."""
    try:
        content = parse_json(path.read_bytes())
        models = {model["sha256"]: model for model in content["models"]}
        words = shlex.split(content["command"])[2:]
        taken, held = content["data"]["items"], content["data"]["items_held"]
        for each in content["models"]:
            _check_means(each, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"{path} is no scores.json of tools/evaluate.py ({type(error).__name__}: {one_line(error)})"
        ) from error
    digest = sha256_of(weights)
    if digest not in models:
        raise WeightsError(
            f"{path} has no scores of {weights} (SHA-256 {digest[:12]}...); score this file: python tools/evaluate.py "
            f"--model {weights}"
        )
    model = models[digest]
    if taken != held or model["failures"]:
        raise WeightsError(f"{path} has scores of {len(model['frames'])} frames, not of all; score the whole set")
    if "psnr" not in model["scores"]:
        raise WeightsError(f"{path} has no psnr; score {name} with it")
    try:
        options = parser().parse_args(words)
    except SystemExit as error:
        raise ConfigError(f"{path} states no command that can be repeated: {content['command']}") from error
    if options.table or options.styles or options.codec or options.clips:
        raise ConfigError(f"{path} is of a command with more than one table; score the weights by themselves")
    metrics = tuple(options.metrics.split(",")) if options.metrics else DEFAULT_METRICS
    others = [each for each in content["models"] if each is not model]
    return _Given(path, replace(request_from(options), metrics=metrics), model, others)


def _check_means(model: dict[str, Any], path: Path) -> None:
    """Refuse means that don't follow from the file's own frames."""
    frames, failures = model["frames"], model["failures"]
    if not isinstance(model["label"], str) or not isinstance(model["name"], str) or not isinstance(failures, list):
        raise TypeError("a model's label, name or failures are of the wrong kind")
    scenes = [str(frame["scene"]) for frame in frames]
    for metric, estimate in model["scores"].items():
        scores = [float(frame["scores"][metric]) for frame in frames]
        stated = float(estimate["mean"])
        if not scores or not all(map(math.isfinite, (stated, *scores))):
            raise WeightsError(f"{path}: {metric} of {model['label']} isn't a finite number everywhere; score it anew")
        if abs(set_mean(scores, scenes).mean - stated) > _ROUNDING:
            raise WeightsError(
                f"{path} contradicts itself: {metric} of {model['label']} is {stated:.4f}, its frames have "
                f"{sum(scores) / len(scores):.4f}; score it anew"
            )


def _evaluated(given: _Given, models: tuple[str, ...], output: Path) -> Evaluation:
    """The evaluation once more, of other models."""
    found = evaluate(replace(given.request, models=models, output=output))
    if found is None:
        raise ConfigError("publish from one process, not under a launcher")
    return found


def _half_precision(name: str, weights: Path, net: Any) -> list[str]:
    """16-bit types in which these weights give finite predictions of black, white and noise.

    Raises:
        WeightsError: they don't even in float32.
    """
    noise = probe()[..., :16, :16]  # small: CPUs are slow in half precision
    black, white = (torch.full_like(noise, 128 / 255) for _ in range(2))
    black[:, 0], white[:, 0] = 16 / 255, 235 / 255
    pictures = torch.cat([black, white, noise])
    with torch.inference_mode():
        if not torch.isfinite(net(pictures)).all():
            raise WeightsError(f"{weights} gives NaN or infinity on black, white or noise; it is of no use")
        good = [kind for kind in net.half_precision if _bears(name, weights, kind, pictures)]
    return [str(kind).removeprefix("torch.") for kind in good]


def _bears(name: str, weights: Path, kind: torch.dtype, pictures: Tensor) -> bool:
    try:
        net = zoo.load(name, weights=weights, dtype=kind)
    except WeightsError:  # a number is infinity in this type
        return False
    return bool(torch.isfinite(net(pictures)).all())


def _candidates(
    folder: Path, name: str, tag: str, tensors: dict[str, Tensor], metadata: dict[str, Any]
) -> Iterator[tuple[str, Path]]:
    """Files to choose from, in the order in which they are tried."""
    for stored, stays in _STORAGES.items():
        if tag.endswith("_fp32") and stored != "float32":
            continue
        kept = {
            # What float16 can't hold would become infinity.
            key: tensor.float() if stays(key, tensor) or tensor.abs().max() > _FLOAT16_MAX else tensor.half()
            for key, tensor in tensors.items()
        }
        data = weights_bytes(kept, metadata | {"stored": stored})
        if stored == "float16" or tag.endswith("_fp32") or len(data) <= MOST_BYTES:
            (folder / stored).mkdir()
            path = folder / stored / file_name(name, tag)
            path.write_bytes(data)
            yield stored, path


def _check_again(given: _Given, found: Evaluation) -> None:
    """Refuse scores that the same weights don't have here."""
    for metric, estimate in found.models[1].means.items():
        stated = float(given.own["scores"][metric]["mean"])
        if not abs(estimate.mean - stated) <= MOST_LOSS:  # so written, NaN is refused
            raise WeightsError(
                f"{given.path} doesn't come out again: {metric} is {estimate.mean:.4f} here, {stated:.4f} there; score "
                "the weights anew with this version and these data"
            )


def _write(
    folder: Path,
    scored: Sequence[tuple[_Given, Evaluation]],
    path: Path,
    stored: str,
    facts: dict[str, Any],
    net: nn.Module,
    data_text: str,
    original: Path,
    note: str,
) -> Publication:
    size = path.stat().st_size
    if folder.resolve() == SHIPPED and size > MOST_BYTES:
        raise WeightsError(f"{path.name} has {size} bytes; what comes with the package has at most {MOST_BYTES}")
    name, tag = str(facts["name"]), str(facts["tag"])
    full = f"{name}.{tag}"
    sets = [_scored_set(full, given, found) for given, found in scored]
    config = _config(original.with_name("config.yaml"), facts)
    trained = _training_facts(facts, [found for _, found in scored], config) | _as_built(name, net, facts)
    weights = Weights(
        name=name,
        tag=tag,
        file=path.name,
        sha256=sha256_of(path),
        bytes=size,
        license=str(facts["license"]),
        scores={score.metric: round(score.value, 6) for score in sets[0].scores},
        measured=sets[0].measured,
        command=sets[0].command,
        card=f"{full}.md",
        note=note,
        facts=trained,
        data_card=data_text,
    )
    with torch.inference_mode():
        deviation = float((zoo.load(name, weights=path)(probe()) - net(probe())).abs().max()) * 1023
    half = list(facts["half_precision"])
    text = card_text(
        weights,
        sets,
        f"Stored as {stored}; that moved predictions of noise by at most {deviation:.2f} of a 10-bit code.",
        f"Predictions of black, white and noise are finite in {', '.join(['float32', *half])}.",
    )

    folder.mkdir(parents=True, exist_ok=True)
    lock_folder(folder)
    try:
        _put(folder, weights, path, scored, sets, text, config)
    finally:
        unlock_folder(folder)
    return Publication(weights, folder / path.name, stored, sets, deviation, half)


def _put(
    folder: Path,
    weights: Weights,
    path: Path,
    scored: Sequence[tuple[_Given, Evaluation]],
    sets: Sequence[ScoredSet],
    text: str,
    config: str | None,
) -> None:
    """Write the files of a publication; no other process writes to the folder meanwhile."""
    full = weights.full_name
    entries = _published(folder)  # again: others may have published since
    _check_tag(weights.name, weights.tag, entries)
    if (there := folder / path.name).is_file() and sha256_of(there) != weights.sha256:
        raise WeightsError(
            f"{there} has other bytes and isn't in {INDEX_NAME}: restore the index, or remove the file if nobody has it"
        )
    with replacing(folder / path.name) as temporary:
        shutil.copyfile(path, temporary)
    for number, ((_, found), each) in enumerate(zip(scored, sets, strict=True), 1):
        models = [replace(model, label=label) for model, label in zip(found.models, (full, "as trained"), strict=True)]
        part = f"-{number}" if number > 1 else ""
        write_json(folder / f"{full}.scores{part}.json", json_content(replace(found, models=models), each.command))
    _write_text(folder / weights.card, text)
    if config is not None:
        _write_text(folder / f"{full}.yaml", config)
    # What is in the index is published: it comes last.
    entries = sorted([*entries, weights], key=lambda entry: entry.full_name)
    _write_text(folder / README, folder_text(entries))
    _write_text(folder / SUMS, "".join(f"{entry.sha256}  {entry.file}\n" for entry in entries))
    _write_text(folder / INDEX_NAME, index_text(entries))


def _scored_set(full: str, given: _Given, found: Evaluation) -> ScoredSet:
    candidate, original = found.models
    moves = candidate.differences(original)
    how = f", SDR by preset {found.request.pairing.name}" if found.request.pairing != VAL_V1 else ""
    return ScoredSet(
        f"{found.set_name} at x{found.scale}, {candidate.means['psnr'].frames} frames{how}",
        _command(full, found.request),
        [_score(found, metric, estimate, moves[metric]) for metric, estimate in candidate.means.items()],
        [_beside(candidate, other) for other in given.others if other["scores"] and _is_named(other)],
    )


def _is_named(model: dict[str, Any]) -> bool:
    """Whether a model was scored by a name that others know, not as a file of the user's."""
    return model["label"] == model["name"] and "@" not in model["label"]


def _beside(ours: ModelResult, other: dict[str, Any]) -> Beside:
    """Another model's line; a difference is of the frames that both have."""
    theirs = {frame["frame"]: frame["scores"] for frame in other["frames"]}
    rows = [row for row in ours.rows if row.frame in theirs]
    gains = {}
    for metric in other["scores"] if rows else ():
        gain = paired_difference(
            [row.scores[metric] for row in rows],
            [float(theirs[row.frame][metric]) for row in rows],
            [row.scene for row in rows],
        )
        gains[metric] = (gain.mean, gain.low, gain.high)
    return Beside(
        other["label"], {metric: float(estimate["mean"]) for metric, estimate in other["scores"].items()}, gains
    )


def _score(found: Evaluation, metric: str, estimate: Estimate, moved: Estimate) -> Score:
    protocol = found.protocols[metric]
    return Score(metric, estimate.mean, estimate.low, estimate.high, moved.mean, protocol.unit, str(protocol))


def _command(full: str, request: Request) -> str:
    """The command that scores the published file as it was scored here."""
    words = ["--model", full, "--data", *request.data, "--split", *request.splits]
    if request.pairing != VAL_V1:
        words += ["--preset", request.pairing.name]
    if request.scale is not None:
        words += ["--scale", str(request.scale)]
    if request.metrics != DEFAULT_METRICS:
        words += ["--metrics", ",".join(request.metrics)]
    for option, signal in (("--signal", request.reading.signal), ("--sdr-signal", request.reading.sdr_signal)):
        words += [option, str(signal)] if signal is not None else []
    words += ["--flat"] if request.reading.panoramic is False else []
    words += ["--hdr-range", request.reading.hdr_range] if request.reading.hdr_range != "full" else []
    words += ["--precision", request.precision] if request.precision != "32" else []
    return shlex.join(["python", "tools/evaluate.py", *words])


def _as_built(name: str, net: Any, metadata: dict[str, Any]) -> dict[str, str]:
    """What the model's card says otherwise of the network than its file builds: arguments may differ."""
    card = zoo.info(name)
    with FlopCounter() as counter, torch.no_grad():  # inference mode hides operators from the counter
        pred = net(torch.zeros(1, 3, 5, 7))
    height, width = 1080 // net.scale, 1920 // net.scale
    alive, _ = bytes_taken(net, torch.empty(1, 3, height, width, device="meta"))
    own = network_facts(
        sum(parameter.numel() for parameter in net.parameters()),
        counter.total // (2 * pred[0, 0].numel()),
        round(alive / (height * width * net.scale**2)),
        net.halo,
    )
    usual = network_facts(card.parameters, card.macs_per_pixel, card.memory_per_megapixel, card.halo)
    differing = {key: value for key, value in own.items() if value != usual[key]}
    args = {key: value for key, value in metadata.get("args", {}).items() if key not in card.args}
    return ({"built with": ", ".join(f"{key} {value}" for key, value in args.items())} if args else {}) | differing


def _config(path: Path, metadata: dict[str, Any]) -> str | None:
    """The run's configuration as it is published; None where it doesn't lie beside the weights."""
    if path.is_file() and sha256_of(path) == metadata.get("config"):
        return _without_folders(path.read_text(encoding="utf-8"))
    return None


def _training_facts(metadata: dict[str, Any], found: Sequence[Evaluation], config: str | None) -> dict[str, str]:
    facts = {
        "made by commit": metadata.get("commit"),
        "config (SHA-256)": None if config is None else hashlib.sha256(config.encode()).hexdigest(),
        "training set (digest)": metadata.get("data"),
        "stage": metadata.get("stage"),
        "steps": metadata.get("step"),
    }
    rows = [row for each in found for row in each.models[0].timed]
    peaks = [row.memory / (row.size[0] * row.size[1]) for row in rows if row.memory is not None]
    if peaks:
        facts["memory for a megapixel, measured"] = f"{max(peaks):,.0f} MB on {found[0].machine}"
    return {key: str(value) for key, value in facts.items() if value is not None}


def _without_folders(config: str) -> str:
    """A run's configuration with the names of its files and folders, but not where they lie."""
    said = "# Of the run; of absolute paths the last part.\n"
    text = _ABSOLUTE.sub(r"\1", config)
    return text if text == config else said + text


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
