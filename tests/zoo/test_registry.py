from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from zoo.signal import Signal
from zoo.weights import write_weights


def test_import_zoo_is_light() -> None:
    heavy = ("torch", "pytorch_lightning", "wandb", "webdataset", "timm", "numpy")
    code = f"import sys, zoo; zoo.list_models(); zoo.info('jsinet_x2'); print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_list_models_takes_a_pattern() -> None:
    assert zoo.list_models("*sritm*") == ["deep_sritm_x1", "deep_sritm_x2", "deep_sritm_x4"]
    assert len(zoo.list_models()) == 10
    assert zoo.list_models("bicubic*") == []


@pytest.mark.parametrize("name", zoo.list_models())
def test_a_card_agrees_with_its_network(name: str) -> None:
    card, net = zoo.info(name), zoo.create(name)
    assert sum(p.numel() for p in net.parameters()) == card.parameters
    assert net.scale == card.scale == int(name[-1])
    assert net.input_signal == Signal.parse(card.input)
    assert net.output_signal == Signal.parse(card.output)
    assert card.recipe is None or (Path(zoo.__file__).parent.parent / card.recipe).is_file()


def test_an_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(zoo.UnknownModelError, match="no model 'jsinet_x3' in the zoo; did you mean jsinet_x"):
        zoo.create("jsinet_x3")
    with pytest.raises(zoo.UnknownModelError, match="known: deep_sritm_x1, "):
        zoo.load("edsr")


def test_a_name_without_weights_says_what_to_do() -> None:
    with pytest.raises(zoo.WeightsError, match=r"jsinet_x2 has no published weights yet: train it .*configs/jsinet_x2"):
        zoo.load("jsinet_x2")


def test_load_gives_the_files_network_in_eval_mode(tmp_path: Path) -> None:
    net = zoo.create("jsinet_x2")
    path = tmp_path / "w.safetensors"
    write_weights(path, net.state_dict(), {"name": "jsinet_x2", "net": zoo.info("jsinet_x2").net, "args": {"scale": 2}})
    loaded = zoo.load("jsinet_x2", weights=path)
    assert not loaded.training
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in loaded.parameters())
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(loaded(x), net.eval()(x))
    # JSI-GAN's generator is the same network.
    assert zoo.load("jsigan_x2", weights=path, dtype=torch.float64).ir.head.weight.dtype == torch.float64


@pytest.mark.parametrize("name", ["jsinet_x4", "deep_sritm_x2"])
def test_weights_of_another_network_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "w.safetensors"
    net = zoo.create("jsinet_x2")
    write_weights(path, net.state_dict(), {"name": "jsinet_x2", "net": zoo.info("jsinet_x2").net, "args": {"scale": 2}})
    with pytest.raises(zoo.WeightsError, match=f"holds jsinet_x2, not {name}"):
        zoo.load(name, weights=path)
    write_weights(path, net.state_dict(), {})
    with pytest.raises(zoo.WeightsError, match="tensor"):
        zoo.load(name, weights=path)


@pytest.mark.parametrize("metadata", [True, False])
def test_a_base_network_needs_no_modulation_tensors(tmp_path: Path, metadata: bool) -> None:
    net = zoo.create("deep_sritm_x2", modulation=False)
    path = tmp_path / "w.safetensors"
    facts = {"net": zoo.info("deep_sritm_x2").net, "args": {"scale": 2, "modulation": False}}
    write_weights(path, net.state_dict(), facts if metadata else {})
    loaded = zoo.load("deep_sritm_x2", weights=path)
    assert len(loaded.state_dict()) == 112
    assert not loaded.modulation_on


def test_baselines_are_created_by_name_but_not_listed() -> None:
    net = zoo.create("bicubic+bt2446c", scale=4)
    assert net(torch.rand(1, 3, 6, 7)).shape == (1, 3, 24, 28)
    with pytest.raises(zoo.UnknownModelError):
        zoo.create("bicubic+nothing", scale=2)
