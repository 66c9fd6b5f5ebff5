"""The zoo's networks in timm: after ``import zoo.timm_models`` they are models like timm's own.

>>> import zoo.timm_models, timm
>>> net = timm.create_model("jsinet_x2.v1", pretrained=True)
>>> timm.list_models("jsinet*", pretrained=True)

Weights are found, checked and fetched as by :func:`zoo.load`. As timm has it, networks come in train mode; ours compute
the same in both. Tags are listed as this machine knew them at the import; others can be given all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from zoo import hub
from zoo._torchvision import ensure_torchvision
from zoo.errors import ConfigError
from zoo.hub_index import Weights, default_tag
from zoo.registry import create, list_models, load

ensure_torchvision()

from timm.models import PretrainedCfg, generate_default_cfgs, register_model  # noqa: E402

__all__: list[str] = []  # timm adds what is registered

# What timm's tools ask of every model, and the one value that a network from pictures to pictures has.
_FIXED = {"in_chans": 3, "num_classes": 0}
# Where timm takes weights from, none of which would be checked.
_FOREIGN = ("url", "hf_hub_id", "hf_hub_filename", "state_dict", "custom_load")


def _described(name: str, weights: Weights | None = None) -> PretrainedCfg:
    """timm's description of a network, fresh or with published weights."""
    facts: dict[str, Any] = {"architecture": name}
    if weights is not None:
        shipped = hub.SHIPPED / weights.file
        path = shipped if shipped.is_file() else hub.cached_path(weights.name, weights.tag)
        facts |= {"tag": weights.tag, "file": str(path), "license": weights.license}
    # Pictures come on the network's input signal; timm's tools must not normalise or crop them.
    return PretrainedCfg(
        input_size=(3, 270, 480), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop_pct=1.0, num_classes=0, **facts
    )


def _known(name: str) -> dict[str, Weights]:
    """Weights that this machine knows of, by tag, the one that a bare name stands for first."""
    known = {weights.tag: weights for weights in hub.known(name)}
    first = default_tag(known)
    return dict(sorted(known.items(), key=lambda item: item[0] != first))


def _chosen(
    name: str, config: str | Mapping[str, Any] | PretrainedCfg | None, overlay: Mapping[str, Any] | None
) -> tuple[str | None, str | None]:
    """Tag and weights file that timm's arguments ask for; what says something else is refused."""
    if isinstance(config, PretrainedCfg):
        config = asdict(config)
    elif isinstance(config, str) or config is None:
        config = {"tag": config}
    overlay = overlay or {}
    if surplus := set(overlay) - {"tag", "file"}:
        raise ConfigError(f"{name}: pretrained_cfg_overlay can name a tag or a file, not {', '.join(sorted(surplus))}")
    if foreign := [key for key in _FOREIGN if config.get(key)]:
        raise ConfigError(f"{name}: pretrained_cfg can name a tag or a file, not {', '.join(foreign)}")
    if config.get("architecture", name) not in (name, None):
        raise ConfigError(f"{name}: pretrained_cfg is of {config['architecture']}")
    tag = overlay.get("tag", config.get("tag"))
    # With a tag, the file is where those weights were found when the description was made.
    return tag or None, overlay.get("file") or (config.get("file") if not tag else None)


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def build(
        pretrained: bool = False,
        pretrained_cfg: str | Mapping[str, Any] | PretrainedCfg | None = None,
        pretrained_cfg_overlay: Mapping[str, Any] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        device: Any = None,
        dtype: Any = None,
        **arguments: Any,
    ) -> nn.Module:
        for argument, value in _FIXED.items():
            if arguments.pop(argument, value) != value:
                raise ConfigError(f"{name} goes from pictures to pictures: {argument} can only be {value}")
        if cache_dir is not None:
            raise ConfigError(f"cache_dir is for timm's own weights; those of {name} lie in {hub.cache_folder()}")
        tag, file = _chosen(name, pretrained_cfg, pretrained_cfg_overlay)
        full_name = f"{name}.{tag}" if tag else name
        if not pretrained:
            net = create(name, **arguments)
        elif arguments:
            raise ConfigError(f"{full_name} is built as its weights want it; leave out {', '.join(sorted(arguments))}")
        else:
            net = load(name if file else full_name, weights=file)
        published = _known(name) if pretrained and not file else {}
        weights = published.get(tag or next(iter(published), ""))
        net.pretrained_cfg = _described(name, weights).to_dict()
        return net.to(device=device, dtype=dtype).train()

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f":func:`zoo.load` or :func:`zoo.create` of {name}."
    return build


default_cfgs = generate_default_cfgs(
    {weights.full_name: _described(name, weights) for name in list_models() for weights in _known(name).values()}
)
for _name in list_models():
    globals()[_name] = register_model(_entrypoint(_name))
