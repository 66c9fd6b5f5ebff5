"""What a folder of published weights says of itself: its ``index.json``. Standard library alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from zoo.errors import WeightsError, one_line
from zoo.files import parse_json

INDEX_NAME = "index.json"
FORMAT_VERSION = 1

_NAME = re.compile(r"[a-z0-9_]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What a terminal would obey or a line can't hold: control characters, line ends, turned directions, half characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Weights:
    """Published weights: one file that never changes. A line of an index.

    Attributes:
        name: of the model.
        tag: of these weights; ``name.tag`` names them.
        file: its name in the folder.
        sha256: of the file, in hex.
        bytes: its size.
        license: of the weights, an SPDX identifier where there is one.
        scores: mean by metric, as the card has them.
        measured: on which set and how, in words.
        command: that gives these scores again.
        card: Markdown file beside it.
        note: what a user has to know before use, such as a goal that wasn't reached.
        facts: what trained it: commit, digests of configuration and data, steps; and what the model's card says
            otherwise, where these weights build another network; by the card's words for them.
        data_card: Markdown on the training data and their licences.
        source: which folder or mirror it came from; empty for what comes with the package.
    """

    name: str
    tag: str
    file: str
    sha256: str
    bytes: int
    license: str
    scores: Mapping[str, float] = field(default_factory=dict)
    measured: str = ""
    command: str = ""
    card: str = ""
    note: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    data_card: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        # An index comes from outside: a file name must not lead out of the folder, and all of it is printed.
        texts = [self.name, self.tag, self.file, self.sha256, self.license, self.measured, self.command, self.card]
        texts += [self.note, self.source, self.data_card, *self.facts, *self.facts.values(), *self.scores]
        if not all(isinstance(text, str) for text in texts) or type(self.bytes) is not int or self.bytes <= 0:
            raise ValueError("a field is of the wrong kind")
        if not all(type(score) in (int, float) and math.isfinite(score) for score in self.scores.values()):
            raise ValueError("a score is no number")
        lines = [*(text for text in texts if text is not self.data_card), *self.data_card.split("\n")]
        if any(_UNPRINTABLE.search(line.replace("\t", " ")) for line in lines):
            raise ValueError("a text has characters that can't be printed in a line")
        if not (_NAME.fullmatch(self.name) and _NAME.fullmatch(self.tag) and _SHA256.fullmatch(self.sha256)):
            raise ValueError(f"{self.name}.{self.tag} or its SHA-256 can't be")
        if self.file != file_name(self.name, self.tag) or self.card not in ("", f"{self.full_name}.md"):
            raise ValueError(f"{self.full_name} can't lie in {self.file!r}, its card in {self.card!r}")

    @property
    def full_name(self) -> str:
        """``name.tag``."""
        return f"{self.name}.{self.tag}"


def file_name(name: str, tag: str) -> str:
    """What the file of weights is called, wherever it lies."""
    return f"{name}.{tag}.safetensors"


def default_tag(tags: Iterable[str]) -> str | None:
    """The tag that a bare name stands for: the newest ``vN`` there is, else ``preview``; None without either."""
    tags = set(tags)
    numbers = [int(match[1]) for tag in tags if (match := re.fullmatch(r"v(0|[1-9][0-9]{0,62})", tag))]
    if numbers:
        return f"v{max(numbers)}"
    return "preview" if "preview" in tags else None


def parse_index(text: str | bytes, where: object) -> list[Weights]:
    """The lines of an index.

    Raises:
        WeightsError: it isn't one; ``where`` is named.
    """
    try:
        content = parse_json(text)
        if content["format_version"] != FORMAT_VERSION:
            raise WeightsError(f"{where} is of format {content['format_version']!r}; update this package to read it")
        entries = [weights_of(entry) for entry in content["weights"]]
        if len({entry.full_name for entry in entries}) < len(entries):
            raise ValueError("a name stands in it twice")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        reason = one_line(f"{type(error).__name__}: {error}")[:200]
        raise WeightsError(f"{where} is no index of weights ({reason})") from error
    return entries


def index_text(entries: Iterable[Weights]) -> str:
    """An index of these weights, sorted by name."""
    lines = [fields_of(each) for each in sorted(entries, key=lambda each: each.full_name)]
    return json.dumps({"format_version": FORMAT_VERSION, "weights": lines}, indent=1, ensure_ascii=False) + "\n"


def fields_of(weights: Weights) -> dict[str, Any]:
    """A line of an index, as JSON has it."""
    return {key: value for key, value in asdict(weights).items() if value not in ("", {})}


def weights_of(entry: Mapping[str, Any]) -> Weights:
    """Read a line of an index; fields that a later version may add are passed over.

    Raises:
        ValueError, TypeError, AttributeError, OverflowError: it is none.
    """
    names = {each.name for each in fields(Weights)}
    return Weights(**{key: value for key, value in entry.items() if key in names})
