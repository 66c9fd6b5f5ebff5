"""The zoo's networks as models of timm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import hub
from zoo.errors import ConfigError, WeightsError
from zoo.weights import write_weights

NAME = "multipurpose_cnn_x2"  # the smallest

# A fresh interpreter: what timm lists is what was there at the import.
SCRIPT = """
import warnings
warnings.simplefilter("error")
import torch
import zoo
import zoo.timm_models
import zoo.timm_models, timm

assert timm.list_models("jsinet*") == ["jsinet_x1", "jsinet_x2", "jsinet_x4"]
assert timm.list_models(module="timm_models") == zoo.list_models()
ours = [name for name in timm.list_models("*", pretrained=True) if name.partition(".")[0] in zoo.list_models()]
assert sorted(ours) == zoo.list_models(pretrained=True), ours
assert timm.list_models("NAME", pretrained=True) == ["NAME.v1", "NAME.val_v1"], ours
for name in ("NAME", "NAME.v1", "NAME.val_v1"):
    net, own = timm.create_model(name, pretrained=True), zoo.load(name)
    assert type(net) is type(own)
    assert net.training
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in own.state_dict().items())
    assert net.pretrained_cfg["tag"] == ("val_v1" if name.endswith("val_v1") else "v1")
    assert net.pretrained_cfg["license"] == "CC0-1.0"
    assert timm.data.resolve_data_config(model=net)["mean"] == (0, 0, 0)
"""


@pytest.fixture(scope="module")
def timm() -> Any:
    """timm, with ours registered."""
    import timm

    import zoo.timm_models  # noqa: F401

    return timm


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with tags ``v1`` and ``val_v1``."""
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SRITM_ZOO_URL", raising=False)
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "shipped")
    hub.cache_folder().mkdir(parents=True)
    for tag in ("val_v1", "v1"):
        write_weights(hub.cached_path(NAME, tag), zoo.create(NAME).state_dict(), {"name": NAME, "tag": tag})
        hub.record(NAME, tag, "CC0-1.0")
    return tmp_path / "home"


def test_timm_lists_and_builds_what_the_zoo_does(home: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("NAME", NAME)], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_tags_that_came_after_the_import_are_built_too(home: Path, timm: Any) -> None:
    write_weights(hub.cached_path(NAME, "v2"), zoo.create(NAME).state_dict(), {"name": NAME, "tag": "v2"})
    hub.record(NAME, "v2", "CC0-1.0")
    for name in (NAME, f"{NAME}.v2"):
        net = timm.create_model(name, pretrained=True)
        assert torch.equal(net.joint[0].bias, zoo.load(f"{NAME}.v2").joint[0].bias)
        assert torch.equal(net.joint[0].weight, zoo.load(f"{NAME}.v2").joint[0].weight)


def test_files_of_ones_own_go_in_by_either_of_timms_ways(tmp_path: Path, home: Path, timm: Any) -> None:
    own = tmp_path / "weights.safetensors"
    source = zoo.create(NAME)
    write_weights(own, source.state_dict(), {"name": NAME})
    for net in (
        timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay={"file": str(own)}),
        timm.create_model(NAME, checkpoint_path=str(own)),
    ):
        assert torch.equal(net.joint[0].weight, source.joint[0].weight)


def test_descriptions_choose_the_weights_that_they_name(tmp_path: Path, home: Path, timm: Any) -> None:
    own = tmp_path / "weights.safetensors"
    source = zoo.create(NAME)
    write_weights(own, source.state_dict(), {"name": NAME})
    val = zoo.load(f"{NAME}.val_v1")
    described = timm.create_model(f"{NAME}.val_v1", pretrained=True).pretrained_cfg
    for arguments, expected in (
        ({"pretrained_cfg": {"file": str(own)}}, source),
        ({"pretrained_cfg": "val_v1"}, val),
        ({"pretrained_cfg": described}, val),
        ({"pretrained_cfg_overlay": {"tag": "val_v1"}}, val),
    ):
        net = timm.create_model(NAME, pretrained=True, **arguments)
        assert torch.equal(net.joint[0].weight, expected.joint[0].weight), arguments


def test_without_pretrained_it_is_fresh_and_takes_the_networks_own_arguments(home: Path, timm: Any) -> None:
    torch.manual_seed(1)
    net = timm.create_model("deep_sritm_x2", channels=4, in_chans=3, num_classes=0, dtype=torch.bfloat16)
    torch.manual_seed(1)
    assert torch.equal(net.head.weight, zoo.create("deep_sritm_x2", channels=4).head.weight.bfloat16())
    assert net.head.weight.requires_grad


@pytest.mark.parametrize(
    ("name", "arguments", "error", "words"),
    [
        (NAME, {"bogus": 1}, ConfigError, f"{NAME}: got an unexpected keyword argument 'bogus'"),
        (NAME, {"pretrained": True, "bogus": 1}, ConfigError, f"{NAME} is built as its weights want it; leave out bog"),
        (NAME, {"features_only": True}, ConfigError, "unexpected keyword argument 'features_only'"),
        (NAME, {"in_chans": 1}, ConfigError, f"{NAME} goes from pictures to pictures: in_chans can only be 3"),
        (NAME, {"num_classes": 10}, ConfigError, "num_classes can only be 0"),
        (NAME, {"scale": 4}, ConfigError, f"{NAME} has scale 2, not 4; use multipurpose_cnn_x4"),
        (NAME, {"pretrained": True, "cache_dir": "here"}, ConfigError, "cache_dir is for timm's own weights"),
        (NAME, {"pretrained": True, "pretrained_cfg_overlay": {"url": "u"}}, ConfigError, "a tag or a file, not url"),
        (NAME, {"pretrained": True, "pretrained_cfg": {"hf_hub_id": "a/b"}}, ConfigError, "a file, not hf_hub_id"),
        (NAME, {"pretrained": True, "pretrained_cfg": {"architecture": "jsinet_x2"}}, ConfigError, "is of jsinet_x2"),
        (f"{NAME}.v9", {"pretrained": True}, WeightsError, f"{NAME} has no weights 'v9'; there are v1, val_v1"),
        ("jsinet_x2", {"pretrained": True}, WeightsError, "jsinet_x2 has no published weights yet"),
    ],
)
def test_what_cannot_be_is_refused_in_our_words(
    name: str, arguments: dict[str, Any], error: type[Exception], words: str, home: Path, timm: Any
) -> None:
    with pytest.raises(error, match=words):
        timm.create_model(name, **arguments)
