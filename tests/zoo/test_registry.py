from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from zoo import hub
from zoo.baselines import BASELINES
from zoo.convert.tiling import bytes_taken
from zoo.flops import FlopCounter
from zoo.registry import citation
from zoo.signal import Signal
from zoo.weights import write_weights


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Tensors of a JSInet x2."""
    return zoo.create("jsinet_x2").state_dict()


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
    assert net.halo == card.halo
    with FlopCounter() as counter, torch.no_grad():
        pred = net(torch.rand(1, 3, 5, 7))
    assert counter.total == 2 * card.macs_per_pixel * pred[0, 0].numel()
    height, width = 1080 // card.scale, 1920 // card.scale
    alive, _ = bytes_taken(net, torch.empty(1, 3, height, width, device="meta"))
    assert round(alive / (height * width * card.scale**2)) == card.memory_per_megapixel
    assert citation(name).startswith("@inproceedings{")
    assert net.input_signal == Signal.parse(card.input)
    assert net.output_signal == Signal.parse(card.output)
    assert card.recipe is None or (Path(zoo.__file__).parent.parent / card.recipe).is_file()


def test_an_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(zoo.UnknownModelError, match="no model 'jsinet_x3' in the zoo; did you mean jsinet_x"):
        zoo.create("jsinet_x3")
    with pytest.raises(zoo.UnknownModelError, match=r"known: bicubic.*, deep_sritm_x1, "):
        zoo.load("edsr")


def test_a_name_without_weights_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRITM_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "SHIPPED", tmp_path)
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
    assert zoo.load("jsinet_x2", weights=path, dtype=torch.float64).ir.head.weight.dtype == torch.float64


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_model_loads_and_gives_finite_pictures_of_odd_sizes_in_float32_and_bfloat16(
    name: str, tmp_path: Path
) -> None:
    write_weights(tmp_path / "w.safetensors", zoo.create(name).state_dict(), {"name": name})
    noise = torch.rand(1, 3, 9, 7)
    black, white = (torch.full_like(noise, 128 / 255) for _ in range(2))
    black[:, 0], white[:, 0] = 16 / 255, 235 / 255
    for dtype in (torch.float32, torch.bfloat16):
        net = zoo.load(name, weights=tmp_path / "w.safetensors", dtype=dtype)
        assert dtype == torch.float32 or dtype in net.half_precision
        for pictures in (torch.cat([black, white, noise]), noise[..., :3, :5]):
            with torch.inference_mode():
                pred = net(pictures)
            count, _, height, width = pictures.shape
            assert pred.shape == (count, 3, net.scale * height, net.scale * width)
            assert pred.dtype == dtype
            assert torch.isfinite(pred).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_loaded_in_another_precision_takes_float32_and_gives_its_own(
    state: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype
) -> None:
    write_weights(tmp_path / "w.safetensors", state, {})
    pred = zoo.load("jsinet_x2", weights=tmp_path / "w.safetensors", dtype=dtype)(torch.rand(1, 3, 5, 7))
    assert pred.dtype == dtype
    assert pred.shape == (1, 3, 10, 14)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "jsigan_x2"}, "holds jsigan_x2, not jsinet_x2; load it by its own name"),
        ({"net": "zoo.nets.deep_sritm:DeepSRITM"}, "its net is zoo.nets.deep_sritm:DeepSRITM, not zoo.nets.jsinet"),
        ({"input": "bt709-srgb-rgb-full-8"}, "its input is bt709-srgb-rgb-full-8, not bt709-bt1886-ycbcr709-narrow-8"),
        ({"output": "bt2020-pq-rgb-full-10"}, "its output is bt2020-pq-rgb-full-10, not bt2020-pq-ycbcr2020-narrow-10"),
        ({"output": None}, "its output is None, not bt2020"),
        ({"args": "x"}, "its args are 'x'"),
        ({"args": None}, "its args are None"),
        ({"args": {"scale": 2, "blocks": 1}}, "unexpected keyword argument 'blocks'"),
        ({"args": {"scale": 4}}, "jsinet_x2 has scale 2, not 4; use jsinet_x4"),
        ({"args": {"subnets": 5}}, "its args are {'subnets': 5}"),
        ({"half_precision": 5}, "states no list of types as its half_precision, but 5"),
        ({"half_precision": None}, "states no list of types as its half_precision, but None"),
    ],
)
def test_a_file_that_states_something_else_is_refused(
    state: dict[str, Tensor], tmp_path: Path, metadata: dict[str, Any], message: str
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, state, metadata)
    with pytest.raises(zoo.WeightsError, match=message) as caught:
        zoo.load("jsinet_x2", weights=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [20_000, 10**6, 10**20, 2.5, "8", None, 0, 8])
def test_arguments_of_a_file_that_its_tensors_do_not_follow_are_refused_before_a_network_is_built(
    channels: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.nets.deep_sritm import DeepSRITM

    path = tmp_path / "w.safetensors"
    net = zoo.create("deep_sritm_x2", channels=4)
    write_weights(path, net.state_dict(), {"args": {"scale": 2, "channels": channels}})
    built = []
    start = DeepSRITM.__init__

    def init(self: Any, *args: Any, **arguments: Any) -> None:
        start(self, *args, **arguments)
        built.append(next(self.parameters()).device.type)

    monkeypatch.setattr(DeepSRITM, "__init__", init)
    with pytest.raises(zoo.WeightsError, match=r"w\.safetensors.*(its args are .*channels|has shape)") as caught:
        zoo.load("deep_sritm_x2", weights=path)
    assert "\n" not in str(caught.value)
    assert "cpu" not in built


def test_numbers_that_the_type_asked_for_cannot_hold_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    big = {key: tensor.clone() for key, tensor in state.items()}
    big["ir.head.weight"].view(-1)[0] = 1e6
    write_weights(path, big, {})
    assert zoo.load("jsinet_x2", weights=path, dtype=torch.bfloat16).half_precision
    with pytest.raises(zoo.WeightsError, match=r"tensor ir\.head\.weight holds NaN or infinity as float16"):
        zoo.load("jsinet_x2", weights=path, dtype=torch.float16)


def test_the_user_s_default_type_rounds_nothing(state: dict[str, Tensor], tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", state, {})
    expected = zoo.load("jsinet_x2", weights=tmp_path / "w.safetensors")(x := torch.rand(1, 3, 7, 9))
    torch.set_default_dtype(torch.bfloat16)
    try:
        loaded = zoo.load("jsinet_x2", weights=tmp_path / "w.safetensors")
        assert torch.get_default_dtype() == torch.bfloat16
        assert zoo.create("jsinet_x2").ir.head.weight.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.state_dict().items())
    assert torch.equal(loaded(x), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, r"can't be of dtype 'float16'; use torch\.float16, "),
        ({"dtype": torch.int8}, r"can't be of dtype torch\.int8"),
        ({"device": "tpu"}, "device 'tpu' can't be used here"),
        ({"device": "cuda:99"}, "device 'cuda:99' can't be used here"),
        ({"device": ""}, "device '' can't be used here"),
    ],
)
def test_a_type_or_device_that_cannot_be_is_one_line(
    options: dict[str, Any], message: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    write_weights(tmp_path / "w.safetensors", state, {})
    with pytest.raises(zoo.ConfigError, match=message) as caught:
        zoo.load("jsinet_x2", weights=tmp_path / "w.safetensors", **options)
    assert "\n" not in str(caught.value)


def test_a_tag_that_this_machine_does_not_know_has_no_card() -> None:
    with pytest.raises(zoo.WeightsError, match=r"knows of no weights jsinet_x2\.v99, but of .*; sritm list"):
        zoo.info("jsinet_x2.v99")
    with pytest.raises(zoo.UnknownModelError, match=r"no model 'jsinet_x2\.' in the zoo; leave out the point"):
        zoo.info("jsinet_x2.")


def test_what_is_no_text_is_no_name() -> None:
    for name in (None, 5, ["jsinet_x2"]):
        with pytest.raises(zoo.UnknownModelError, match="is no name of a model"):
            zoo.load(name)  # type: ignore[arg-type]


def test_a_file_without_metadata_is_taken_by_any_model_that_it_fits(state: dict[str, Tensor], tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", state, {})
    for name in ("jsinet_x2", "jsigan_x2"):  # the same network
        assert torch.equal(zoo.load(name, weights=tmp_path / "w.safetensors").ir.head.weight, state["ir.head.weight"])


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


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_works_where_a_models_name_does(name: str) -> None:
    net, card = zoo.load(name, scale=4), zoo.info(name)
    assert not net.training
    assert net(torch.rand(1, 3, 6, 7)).shape == (1, 3, 24, 28)
    assert (str(net.input_signal), str(net.output_signal)) == (card.input, card.output)
    assert (card.name, card.parameters, card.scale) == (name, 0, None)
    assert zoo.create(name, scale=1).scale == 1
    assert zoo.list_models(f"{name}*") == []


def test_a_baseline_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(zoo.UnknownModelError, match=r"no model 'bicubic\+orakle' in the zoo; did you mean bicubic\+o"):
        zoo.create("bicubic+orakle", scale=2)
    with pytest.raises(zoo.ConfigError, match=r"bicubic\+oracle has no scale None; choose 1, 2 or 4"):
        zoo.load("bicubic+oracle")
    with pytest.raises(zoo.ConfigError, match=r"bicubic\+oracle: missing a required argument: 'scale'"):
        zoo.create("bicubic+oracle")
    with pytest.raises(zoo.WeightsError, match=r"bicubic\+oracle is a baseline and has no weights; leave out"):
        zoo.load("bicubic+oracle", weights=tmp_path / "w.safetensors", scale=2)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("jsinet_x2", {"blocks": 4}, r"jsinet_x2: .*argument 'blocks'; it takes subnets, decomposition"),
        ("bicubic+oracle", {"scale": 2, "blocks": 4}, r"bicubic\+oracle: .*argument 'blocks'; it takes scale"),
        ("jsinet_x2", {"scale": 4}, "jsinet_x2 has scale 2, not 4; use jsinet_x4"),
        ("jsinet_x2", {"scale": 3}, "jsinet_x2 has scale 2, not 3; use jsinet_x1 or jsinet_x4"),
        ("multipurpose_cnn_x2", {"scale": 1}, "multipurpose_cnn_x2 has scale 2, not 1; use multipurpose_cnn_x4"),
    ],
)
def test_arguments_that_a_model_does_not_take_are_refused(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(zoo.ConfigError, match=message):
        zoo.create(name, **overrides)


def test_a_scale_given_to_load_is_that_of_the_name() -> None:
    with pytest.raises(zoo.ConfigError, match="jsinet_x2 has scale 2, not 4; use jsinet_x4"):
        zoo.load("jsinet_x2", scale=4)
