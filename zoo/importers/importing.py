"""From one of the authors' files to safetensors with a card."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from zoo.errors import WeightsError
from zoo.files import sha256_of
from zoo.hub import IMPORTED, cached_path, record
from zoo.importers.matconvnet import read_dagnn
from zoo.importers.parts import DISCRIMINATORS, MATCONVNET, TENSORFLOW, Part, check_parts, expected_parts, our_tensors
from zoo.importers.tensorflow import Variable, index_path, read_checkpoint
from zoo.registry import Card, card_of
from zoo.weights import write_weights

# What the authors' repositories say, by where they lie.
_TERMS = {
    "https://github.com/sooyekim/Deep-SR-ITM": "The authors' repository states no licence and asks for citation.",
    "https://github.com/JihyongOh/JSI-GAN": (
        "The authors give their code for research and education; commercial use needs their permission."
    ),
}
_RESEARCH_ONLY = "Research only, not to be passed on."
_PARTS_OF_CHECKPOINT = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


@dataclass(frozen=True)
class Origin:
    """Where weights come from: SHA-256 of the files by their names, and on which terms."""

    digests: Mapping[str, str]
    terms: str


@dataclass(frozen=True)
class Imported:
    """A network that was imported.

    Attributes:
        label: empty for the network that ``zoo.load`` takes, else ``D1`` or ``D2``.
        path: the safetensors file.
        tensors: how many.
        values: of all its tensors together.
    """

    label: str
    path: Path
    tensors: int
    values: int


@dataclass(frozen=True)
class Report:
    """What an import made.

    Attributes:
        networks: the one that ``zoo.load`` takes first, then the discriminators, if there are any.
        card: Markdown file that says where the weights are from and what is allowed.
        left_out: names of the optimiser's variables and counters in a checkpoint.
    """

    networks: list[Imported]
    card: Path
    left_out: list[str]


def import_weights(source: str | os.PathLike[str], name: str, output: str | os.PathLike[str] | None = None) -> Report:
    """Write the authors' weights as safetensors that ``zoo.load`` takes.

    Beside ``X.safetensors`` come the card ``X.md`` and, if a checkpoint has them, JSI-GAN's discriminators as
    ``X.d1.safetensors`` and ``X.d2.safetensors``, each with the tensors of a :class:`~zoo.nets.Discriminator`. Nothing
    is written unless the whole source is right. Pickle is never opened.

    Args:
        source: a ``.mat`` file, or a TensorFlow checkpoint's prefix or one of its files.
        name: a model that the authors released, such as ``jsinet_x2``.
        output: a ``.safetensors`` file; by default tag ``paper`` in the user's own cache.

    Raises:
        UnknownModelError: no such model.
        WeightsError: the source can't be read, is damaged, or isn't ``name``'s; see ``check_parts``.
    """
    card = card_of(name)
    if name not in MATCONVNET + TENSORFLOW:
        released = ", ".join(MATCONVNET + TENSORFLOW)
        raise WeightsError(f"the authors released no weights of {name}; what can be imported: {released}")
    path = cached_path(name, IMPORTED) if output is None else Path(output)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: give the output the ending .safetensors")
    source = Path(_PARTS_OF_CHECKPOINT.sub("", str(source)) if name in TENSORFLOW else source)
    held, files = _open(source, name)
    parts = expected_parts(name, held)
    left_out = check_parts(name, parts, held, source)

    def read(theirs: str) -> np.ndarray:
        stored = held[theirs]
        return stored.read() if isinstance(stored, Variable) else stored

    tensors = [our_tensors(part, read, source) for part in parts]
    for theirs in left_out:
        read(theirs)  # for its checksum: a checkpoint that is damaged anywhere is refused
    origin = Origin({file.name: sha256_of(file) for file in files}, f"{_RESEARCH_ONLY} {_TERMS[card.code or '']}")

    path.parent.mkdir(parents=True, exist_ok=True)
    card_path = path.with_suffix(".md")
    networks = [_imported(path, part, content) for part, content in zip(parts, tensors, strict=True)]
    card_path.write_text(_card_text(card, networks, origin), encoding="utf-8")
    # The network that is found by name comes last: where it is, the rest is too.
    for part, network, content in reversed(list(zip(parts, networks, tensors, strict=True))):
        write_weights(network.path, content, _metadata(card, part, origin))
    for label in DISCRIMINATORS.keys() - {network.label for network in networks}:
        _path_of(path, label).unlink(missing_ok=True)  # an earlier import's: they belong to other weights
    if output is None:
        record(name, IMPORTED, origin.terms, card.code or "")
    return Report(networks, card_path, left_out)


def _open(source: Path, name: str) -> tuple[Mapping[str, np.ndarray] | Mapping[str, Variable], list[Path]]:
    """Arrays by the authors' names, and the files that they are in."""
    if name in TENSORFLOW:
        variables = read_checkpoint(source)
        return variables, [index_path(source), *sorted({variable.path for variable in variables.values()})]
    if not source.is_file():
        raise WeightsError(f"no file {source}; the authors' weights of {name} are a .mat file")
    return read_dagnn(source), [source]


def _path_of(path: Path, label: str) -> Path:
    return path.with_suffix(f".{label.lower()}.safetensors") if label else path


def _imported(path: Path, part: Part, tensors: Mapping[str, Tensor]) -> Imported:
    values = sum(tensor.numel() for tensor in tensors.values())
    return Imported(part.label, _path_of(path, part.label), len(tensors), values)


def _metadata(card: Card, part: Part, origin: Origin) -> dict[str, Any]:
    """As of a run's ``weights.safetensors`` where it applies; a discriminator's name keeps it from being loaded."""
    facts = {"name": f"{card.name} {part.label}".strip(), "net": part.net, "args": part.args}
    if not part.label:
        facts |= {"input": card.input, "output": card.output}
    return {**facts, "license": origin.terms, "source": origin.digests}


def _card_text(card: Card, networks: Sequence[Imported], origin: Origin) -> str:
    head = ["---", "license: other", "license_name: research-only", "library_name: sritm-zoo", "---"]
    files = [f"| `{name}` | `{digest}` |" for name, digest in origin.digests.items()]
    made = [f"| `{n.path.name}` | {n.label or 'the network'} | {n.tensors} | {n.values:,} |" for n in networks]
    return "\n".join(
        [
            *head,
            "",
            f"# {card.name}.{IMPORTED}",
            "",
            f"{card.summary}. The authors' weights, imported from their file on {date.today().isoformat()}.",
            "",
            f"**{origin.terms}** This project doesn't distribute them.",
            "",
            f"- input: `{card.input}`",
            f"- output: `{card.output}`",
            f"- paper: {card.paper}",
            f"- the authors' code: <{card.code}>",
            "",
            "| source | SHA-256 |",
            "| --- | --- |",
            *files,
            "",
            "| file | what | tensors | values |",
            "| --- | --- | --- | --- |",
            *made,
            "",
        ]
    )
