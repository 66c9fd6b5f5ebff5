"""Names to cards to networks. Importing this needs the standard library alone; torch comes with the first network."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from zoo.errors import UnknownModelError, WeightsError

if TYPE_CHECKING:
    import os

    import torch
    from torch import nn


@dataclass(frozen=True)
class Weights:
    """Published weights of a model: one file that never changes."""

    tag: str
    sha256: str
    license: str


@dataclass(frozen=True)
class Card:
    """What is known of a model without building it; one TOML file in ``zoo/cards``."""

    name: str
    summary: str
    net: str  # "module:class"
    args: Mapping[str, Any]
    parameters: int
    input: str  # text form of a zoo.signal.Signal
    output: str
    paper: str
    code: str  # where the authors' release lies
    recipe: str | None = None  # our recipe, where there is one
    weights: tuple[Weights, ...] = ()

    @property
    def scale(self) -> int:
        """Height and width of the output over those of the input."""
        return int(self.args["scale"])


@cache
def _cards() -> dict[str, Card]:
    cards = {}
    for file in resources.files("zoo.cards").iterdir():
        if file.name.endswith(".toml"):
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            weights = tuple(Weights(**entry) for entry in data.pop("weights", []))
            name = file.name.removesuffix(".toml")
            cards[name] = Card(name=name, weights=weights, **data)
    return dict(sorted(cards.items()))


def _split(name: str) -> tuple[str, str | None]:
    model, _, tag = name.partition(".")
    return model, tag or None


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names of the zoo's models that match a shell pattern such as ``"*x2*"``, sorted.

    Args:
        pattern: as in :mod:`fnmatch`.
        pretrained: list only models with published weights, as ``model.tag``.
    """
    names = [f"{n}.{w.tag}" for n, card in _cards().items() for w in card.weights] if pretrained else list(_cards())
    return [name for name in names if fnmatchcase(name, pattern)]


def info(name: str) -> Card:
    """The card of ``model`` or ``model.tag``.

    Raises:
        UnknownModelError: no such model; near names are suggested.
    """
    model = _split(name)[0]
    if model not in _cards():
        near = difflib.get_close_matches(model, _cards(), n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(_cards())}"
        raise UnknownModelError(f"no model {name!r} in the zoo; {known}")
    return _cards()[model]


def create(name: str, **overrides: Any) -> nn.Module:
    """Build a network with fresh weights, in train mode, float32, on the CPU.

    Args:
        name: a model of the zoo, or a baseline such as ``bicubic+bt2446c`` (these need ``scale=``).
        **overrides: replace the card's constructor arguments.

    Raises:
        UnknownModelError: no such model or baseline.
    """
    if "+" in name:
        return resolve_name("zoo.baselines:create_baseline")(name, **overrides)
    card = info(name)
    return resolve_name(card.net)(**{**card.args, **overrides})


def load(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """A trained network in eval mode.

    Args:
        name: ``model`` or ``model.tag``. Baselines have no weights: :func:`create` makes them.
        weights: a safetensors file of this network, such as a run's ``weights.safetensors``, instead of published ones.
        device: where the network is put.
        dtype: type of its parameters; float32 by default.

    Raises:
        UnknownModelError: no such model.
        WeightsError: nothing is published under that name, or the file is not this network's.
    """
    card = info(name)
    if weights is None:
        raise _no_weights(card, _split(name)[1])
    # Not at the top: the registry is imported by `import zoo`, which loads no torch.
    import torch

    from zoo.weights import load_tensors, read_weights

    tensors, metadata = read_weights(weights)
    args = metadata.get("args", {})
    if metadata.get("net", card.net) != card.net or args.get("scale", card.scale) != card.scale:
        raise WeightsError(f"{weights} holds {metadata.get('name')}, not {card.name}; load it by its own name")
    if "args" not in metadata and hasattr(resolve_name(card.net), "arguments_of"):
        args = resolve_name(card.net).arguments_of(tensors.keys())
    net = create(card.name, **args)
    load_tensors(net, tensors, weights)
    return net.to(device=device, dtype=dtype or torch.float32).eval()


def _no_weights(card: Card, tag: str | None) -> WeightsError:
    tags = [w.tag for w in card.weights]
    if tag is not None and tags:
        return WeightsError(f"{card.name} has no weights {tag!r}; published: {', '.join(tags)}")
    train = f"train it (python tools/fit.py --config {card.recipe}) and " if card.recipe else ""
    return WeightsError(
        f"{card.name} has no published weights yet: {train}give a file (zoo.load({card.name!r}, weights=PATH)), "
        f"or take it untrained (zoo.create({card.name!r}))"
    )
