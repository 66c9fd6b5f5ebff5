"""Names to cards to networks. Importing this needs the standard library alone; torch comes with the first network."""

from __future__ import annotations

import difflib
import inspect
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from zoo import hub
from zoo.errors import ConfigError, UnknownModelError, WeightsError, one_line
from zoo.hub_index import Weights

if TYPE_CHECKING:
    import os

    import torch
    from torch import nn


@dataclass(frozen=True)
class Card:
    """What is known of a model or baseline without building it; one TOML file in ``zoo/cards``, but for the weights."""

    name: str
    summary: str
    net: str  # "module:class", or the function that makes it
    args: Mapping[str, Any]
    parameters: int  # 0 for baselines
    input: str  # text form of a zoo.signal.Signal
    output: str
    paper: str
    code: str | None = None  # where the authors' release lies
    citation: str | None = None  # key of the paper in zoo/cards/papers.bib
    macs_per_pixel: int | None = None  # multiplications, each with its addition, for a pixel of the output
    # MB (10^6 bytes) of float32 that are alive at once for a megapixel of the output, parameters left out.
    memory_per_megapixel: int | None = None
    halo: tuple[int, int] | None = None  # LR rows and columns, to each side, that an output pixel depends on
    recipe: str | None = None  # our recipe, where there is one
    weights: tuple[Weights, ...] = ()  # those that this machine knows of: shipped, in the cache

    @property
    def scale(self) -> int | None:
        """Height and width of the output over those of the input; None for a baseline, which comes in all scales."""
        return self.args.get("scale")


@cache
def _cards() -> dict[str, Card]:
    cards = {}
    for file in resources.files("zoo.cards").iterdir():
        if file.name.endswith(".toml"):
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            name = file.name.removesuffix(".toml")
            cards[name] = Card(name=name, **data | ({"halo": tuple(data["halo"])} if "halo" in data else {}))
    return dict(sorted(cards.items()))


def _split(name: str) -> tuple[str, str | None]:
    if not isinstance(name, str):
        raise UnknownModelError(f"{name!r} is no name of a model; names are text, such as 'jsinet_x2'")
    if _is_cascade(name):
        return name, None
    model, point, tag = name.partition(".")
    if point and not tag:
        raise UnknownModelError(f"no model {name!r} in the zoo; leave out the point, or name weights, as in {model}.v1")
    return model, tag or None


def _is_cascade(name: str) -> bool:
    """Whether a super-resolver other than bicubic stands before an operator; ``zoo.baselines.cascade`` reads it."""
    return "+" in name and not name.startswith("bicubic+")


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Names of the zoo's models that match a shell pattern such as ``"*x2*"``, sorted; baselines are left out.

    Args:
        pattern: as in :mod:`fnmatch`.
        pretrained: list weights, as ``model.tag``: those that come with the package and those in the user's cache.
    """
    names = [card.name for card in _cards().values() if card.parameters]
    if pretrained:
        names = [weights.full_name for weights in hub.known() if weights.name in names]
    return [name for name in names if fnmatchcase(name, pattern)]


def info(name: str) -> Card:
    """The card of ``model``, ``model.tag`` or a baseline such as ``bicubic+oracle`` or ``edsr_x2+huo``.

    Raises:
        UnknownModelError: no such model or baseline; near names are suggested.
        WeightsError: this machine knows of no weights with that tag.
    """
    card, tag = card_of(name), _split(name)[1]
    tags = [weights.tag for weights in card.weights]
    if tag == hub.IMPORTED and tag not in tags and card.parameters:
        raise _no_weights(card, tag, hub.AbsentError("", tags))
    if tag is not None and tag not in tags:
        raise WeightsError(
            f"this machine knows of no weights {name}, but of {', '.join(tags) or 'none'}; sritm list --source MIRROR "
            "shows those of a mirror"
        )
    return card


def card_of(name: str) -> Card:
    """As :func:`info`, whether or not this machine knows of the tag: a mirror may have it."""
    model = _split(name)[0]
    if _is_cascade(model):
        # Not at the top: it needs torch.
        from zoo.baselines import cascade_card

        return cascade_card(model)
    if model not in _cards():
        near = difflib.get_close_matches(model, _cards(), n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(_cards())}"
        raise UnknownModelError(f"no model {name!r} in the zoo; {known}")
    card = _cards()[model]
    return replace(card, weights=tuple(hub.known(model))) if card.parameters else card


def citation(name: str) -> str | None:
    """BibTeX entry of the paper of ``model`` or ``model.tag``; None where there is none."""
    key = card_of(name).citation
    entries = resources.files("zoo.cards").joinpath("papers.bib").read_text(encoding="utf-8").strip().split("\n\n")
    return next((entry for entry in entries if entry.partition("{")[2].partition(",")[0] == key), None)


def create(name: str, **overrides: Any) -> nn.Module:
    """Build a network with fresh weights, in train mode, float32, on the CPU.

    Args:
        name: a model of the zoo, or a baseline such as ``bicubic+bt2446c`` (these need ``scale=``) or
            ``edsr_x2@PATH+huo``.
        **overrides: further constructor arguments. A model's scale is in its name, so it isn't one of them.

    Raises:
        UnknownModelError: no such model or baseline.
        ConfigError: an argument that isn't known, or one that the network refuses.
    """
    card = card_of(name)
    _check_scale(card, overrides.get("scale"))
    maker, args = resolve_name(card.net), {**card.args, **overrides}
    signature = inspect.signature(maker)
    try:
        signature.bind(**args)
    except TypeError as error:
        free = ", ".join(argument for argument in signature.parameters if argument not in card.args)
        raise ConfigError(f"{card.name}: {error}; it takes {free or 'no arguments'}") from None
    with _float32():
        return maker(**args)


@contextmanager
def _float32() -> Iterator[None]:
    """New tensors are float32, whatever the user's default is: a narrower type would round weights and constants."""
    import torch  # not at the top: see load

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def load(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    scale: int | None = None,
    source: str | None = None,
    memory_format: torch.memory_format | None = None,
) -> nn.Module:
    """A trained network, or a baseline, in eval mode.

    Weights that aren't on this machine are fetched, and kept. Whatever file is read has the SHA-256 that was published
    for it, or is refused. The network states what it can do: ``scale``, ``halo``, ``input_signal``, ``output_signal``,
    ``half_precision`` (the types of 16 bits that serve it as parameters).

    Args:
        name: ``model.tag``, or ``model`` for the newest of its weights ``v1``, ``v2``, ..., else ``preview``; or a
            baseline, which has no weights.
        weights: a safetensors file of this network, such as a run's ``weights.safetensors``, instead of published ones.
            What its metadata state must be so; a file without metadata is taken if its tensors fit. Before an operator
            they are the super-resolver's, and may be a ``.pt`` file of tensors.
        device: where the network is put.
        dtype: type of its parameters and of its predictions; float32 by default. Half precision is as fast as the
            hardware makes it, but bfloat16 has only 513 of a 10-bit picture's 1024 levels.
        scale: of a baseline; a model's is in its name.
        source: the mirror to fetch from (``zoo.hub.address``), instead of ``SRITM_ZOO_URL``'s.
        memory_format: of the parameters, such as ``torch.channels_last``.

    Raises:
        UnknownModelError: no such model or baseline.
        ConfigError: another scale than the model's, or none for a baseline; a type or device that can't be.
        WeightsError: there are no such weights, they can't be fetched, or the file is damaged or not this network's.
    """
    card = card_of(name)
    _check_scale(card, scale)
    # Not at the top: the registry is imported by `import zoo`, which loads no torch.
    import torch

    from zoo.weights import check_finite, check_fit, load_tensors, read_weights

    _check_place(device, dtype)
    if _is_cascade(card.name):
        from zoo.baselines import load_cascade

        cascade = load_cascade(card.name, weights, scale).to(dtype=dtype)
        check_finite(cascade.state_dict(), card.name)
        return cascade.to(device).eval()
    if not card.parameters:
        if weights is not None:
            raise WeightsError(f"{card.name} is a baseline and has no weights; leave out {weights}")
        return create(card.name, scale=scale).to(device).eval()
    published = None
    if weights is None:
        published, weights = find_weights(name, source)
        hub.check(published, weights)
    elif source is not None:
        raise ConfigError(f"give a file ({weights}) or a source of published weights ({source}), not both")
    tensors, metadata = read_weights(weights)
    if published is not None:
        hub.check_card(published, metadata, Path(weights))
    if metadata.get("name", card.name) != card.name:
        raise WeightsError(f"{weights} holds {metadata['name']}, not {card.name}; load it by its own name")
    for fact in ("net", "input", "output"):
        stated, own = metadata.get(fact, getattr(card, fact)), getattr(card, fact)
        if stated != own:
            raise WeightsError(f"{weights} is not for {card.name}: its {fact} is {stated}, not {own}")
    args = metadata.get("args", {})
    if "args" not in metadata and hasattr(resolve_name(card.net), "arguments_of"):
        args = resolve_name(card.net).arguments_of(tensors.keys())
    try:
        with torch.device("meta"):  # a network of any size takes no memory there
            fresh = create(card.name, **args)
    except Exception as error:  # a foreign file's arguments may be anything, and lead to anything
        reason = one_line(error)[:200]
        raise WeightsError(f"{weights} is not for {card.name}: its args are {args!r:.200} ({reason})") from error
    check_fit(fresh, tensors, weights)
    with torch.device("cpu"):
        net: Any = create(card.name, **args)
    load_tensors(net, tensors, weights)
    if "half_precision" in metadata:  # what these weights were seen to bear
        stated = metadata["half_precision"]
        if not isinstance(stated, list):
            raise WeightsError(f"{weights} states no list of types as its half_precision, but {stated!r:.200}")
        net.half_precision = tuple(kind for kind in net.half_precision if _name(kind) in stated)
    if dtype is not None:
        check_finite(net.to(dtype).state_dict(), weights)
    net.to(device=device, memory_format=memory_format)
    return net.eval()


def _check_place(device: str | torch.device, dtype: torch.dtype | None) -> None:
    """Refuse a device or type that networks can't have here, before anything is read."""
    import torch

    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if dtype not in (None, *kinds):
        raise ConfigError(f"a network can't be of dtype {dtype!r}; use {', '.join(map(str, kinds))}")
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, TypeError) as error:  # as builds without that device raise
        reason = one_line(error).partition(". ")[0][:200]
        raise ConfigError(f"device {str(device)!r} can't be used here ({reason}); use cpu, or another torch") from error


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def find_weights(name: str, source: str | None = None) -> tuple[Weights, Path]:
    """Published weights and their file, which is fetched if it isn't on this machine; not yet checked.

    Args:
        name: ``model`` or ``model.tag``.
        source: as for :func:`load`.

    Raises:
        UnknownModelError: no such model.
        WeightsError: there are no such weights, or they can't be fetched.
    """
    card, tag = card_of(name), _split(name)[1]
    if not card.parameters:
        raise WeightsError(f"{card.name} is a baseline and has no weights")
    try:
        return hub.find(card.name, tag, source)
    except hub.AbsentError as error:
        raise _no_weights(card, tag, error) from None


def _check_scale(card: Card, scale: int | None) -> None:
    """Refuse a scale that contradicts the name, with the name to use instead."""
    if card.scale is None or scale is None or scale == card.scale:
        return
    family = card.name.rpartition("_x")[0]
    others = [name for name in list_models(f"{family}_x*") if name != card.name]
    wanted = f"{family}_x{scale}"
    use = wanted if wanted in others else " or ".join(others)
    raise ConfigError(f"{card.name} has scale {card.scale}, not {scale!r}; use {use}")


def _no_weights(card: Card, tag: str | None, absent: hub.AbsentError) -> WeightsError:
    where = f" at {absent.mirror}" if absent.mirror else ""
    if tag == hub.IMPORTED:
        return WeightsError(
            f"the authors' weights of {card.name} aren't in this machine's cache; who has their file imports it: "
            f"python tools/import_weights.py FILE --model {card.name}"
        )
    if absent.tags:
        wanted = f"weights {tag!r}" if tag else "weights that a bare name stands for"
        return WeightsError(f"{card.name} has no {wanted}{where}; there are {', '.join(absent.tags)}")
    train = f"train it (python tools/fit.py --config {card.recipe}) and " if card.recipe else ""
    return WeightsError(
        f"{card.name} has no published weights{where or ' yet'}: {train}give a file "
        f"(zoo.load({card.name!r}, weights=PATH)), or take it untrained (zoo.create({card.name!r}))"
    )
