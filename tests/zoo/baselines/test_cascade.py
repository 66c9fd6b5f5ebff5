"""Tests of cascades: a super-resolver, known or the user's, before an operator."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import zoo
from tests.zoo.nets.edsr_files import authors_state
from zoo.baselines import OPERATORS, create_cascade, load_cascade
from zoo.cli import main
from zoo.color import bt1886_decode, encode, signal_to_rgb
from zoo.nets.edsr import EDSR
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

USERS_MODULE = """
import torch
from torch import nn
from torch.nn import functional as F

class Nearest(nn.Module):  # no weights, no scale, R'G'B' in [0, 1]
    def __init__(self, scale):
        super().__init__()
        self.factor = scale
    def forward(self, rgb):
        assert 0 <= rgb.min() and rgb.max() <= 1, "R'G'B' out of range"
        return F.interpolate(rgb, scale_factor=self.factor)

class Shuffle(nn.Module):  # weights, its own range and scale, an argument
    rgb_range = 255
    scale = 2
    def __init__(self, channels=12):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1)
    def forward(self, rgb):
        return F.pixel_shuffle(self.conv(rgb), 2)

def number(): return 3
"""


@pytest.fixture(scope="module")
def edsr() -> EDSR:
    torch.manual_seed(0)
    return EDSR(2, "baseline").eval()


@pytest.fixture(scope="module")
def folder(edsr: EDSR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    state = authors_state(edsr)
    torch.save(state, folder / "edsr.pt")
    torch.save({"params": {f"module.{key}": value for key, value in state.items()}}, folder / "wrapped.pth")
    save_file({key: value.contiguous() for key, value in edsr.state_dict().items()}, folder / "ours.safetensors")
    save_file({key: value.clone().contiguous() for key, value in state.items()}, folder / "theirs.safetensors")
    torch.save(edsr, folder / "pickled.pt")
    torch.save({**state, "sub_mean.bias": state["sub_mean.bias"] / 255}, folder / "unit_range.pt")
    torch.save({**state, "head.0.bias": torch.full((64,), torch.nan)}, folder / "broken.pt")
    torch.save(authors_state(EDSR(4, "baseline")), folder / "x4.pt")
    torch.save({"epoch": 3}, folder / "no_state.pt")
    torch.save({}, folder / "empty.pt")
    (folder / "text.pt").write_text("<html>not found</html>")
    return folder


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_resolvers.py").write_text(USERS_MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def sdr(batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, 6, 7, generator=torch.Generator().manual_seed(0))


def by_hand(x: Tensor, resolve: Callable[[Tensor], Tensor], operator: str) -> Tensor:
    rgb = resolve(signal_to_rgb(x, SDR_VIDEO).clamp(0, 1)).clamp(0, 1)
    return encode(OPERATORS[operator].convert(bt1886_decode(rgb)), HDR10_VIDEO)


@pytest.mark.parametrize("file", ["edsr.pt", "wrapped.pth", "ours.safetensors", "theirs.safetensors"])
@torch.no_grad()
def test_published_edsr_weights_make_a_cascade(edsr: EDSR, folder: Path, file: str) -> None:
    net = zoo.load("edsr_baseline_x2+huo", weights=folder / file)
    assert not net.training
    assert torch.equal(net(sdr()), by_hand(sdr(), lambda rgb: edsr(255 * rgb) / 255, "huo"))


@pytest.mark.parametrize("operator", OPERATORS)
@torch.no_grad()
def test_any_operator_follows_and_the_name_can_state_the_weights(edsr: EDSR, folder: Path, operator: str) -> None:
    name = f"edsr_baseline_x2@{folder / 'edsr.pt'}+{operator}"
    net = zoo.create(name)
    expected = by_hand(sdr(2), lambda rgb: edsr(255 * rgb) / 255, operator)
    torch.testing.assert_close(net(sdr(2)), expected, rtol=0, atol=1e-6)
    assert (net.scale, str(net.input_signal), str(net.output_signal)) == (
        2,
        zoo.info(name).input,
        zoo.info(name).output,
    )
    assert net.halo == (None if OPERATORS[operator].whole_picture else (36, 36))
    assert torch.equal(zoo.load(name, scale=2)(sdr()), net(sdr()))


@torch.no_grad()
def test_x4_and_fresh_weights() -> None:
    pred = zoo.create("edsr_baseline_x4+bt2446c", scale=4)(sdr())
    assert pred.shape == (1, 3, 24, 28)
    assert pred.isfinite().all()


@torch.no_grad()
def test_bfloat16_stays_near_and_comes_out_as_float32(folder: Path) -> None:
    path = folder / "edsr.pt"
    exact = zoo.load("edsr_baseline_x2+white100", weights=path)(sdr())
    half = zoo.load("edsr_baseline_x2+white100", weights=path, dtype=torch.bfloat16)(sdr())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = zoo.load("edsr_baseline_x2+white100", weights=path)(sdr())
    for pred in (half, mixed):
        assert pred.dtype == torch.float32
        assert 0 < (pred - exact).abs().mean() < 0.02


@pytest.mark.parametrize("scale", [1, 2, 4])
@torch.no_grad()
def test_a_class_of_the_users_is_given_the_scale_and_its_range(users: None, scale: int) -> None:
    net = zoo.load("users_resolvers:Nearest+white203", scale=scale)  # without parameters it needs no weights
    expected = by_hand(sdr(), lambda rgb: rgb.repeat_interleave(scale, -1).repeat_interleave(scale, -2), "white203")
    torch.testing.assert_close(net(sdr()), expected, rtol=0, atol=1e-6)
    assert net.halo is None


@torch.no_grad()
def test_a_class_of_the_users_can_have_weights(users: None, tmp_path: Path) -> None:
    net = zoo.create("users_resolvers:Shuffle+white100", scale=2)
    torch.save(net.super_resolver.state_dict(), tmp_path / "shuffle.pt")
    with torch.no_grad():
        net.super_resolver.conv.bias.zero_()
        net.super_resolver.conv.weight.zero_()
    black = net(sdr())
    loaded = zoo.load(f"users_resolvers:Shuffle@{tmp_path}/shuffle.pt+white100", scale=2)
    assert not torch.equal(loaded(sdr()), black)
    assert torch.equal(
        zoo.load("users_resolvers:Shuffle+white100", tmp_path / "shuffle.pt", scale=2)(sdr()), loaded(sdr())
    )


def test_a_library_class_with_arguments_can_be_taken() -> None:
    net = zoo.create("torch.nn:Upsample+white100", scale=2, scale_factor=2, mode="bilinear")
    assert net(sdr()).shape == (1, 3, 12, 14)
    assert pickle.loads(pickle.dumps(net)).scale == 2


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "edsr_x3+huo",
            {},
            r"no super-resolver 'edsr_x3'; did you mean edsr_x4\? known: bicubic, edsr_x2, .*module:Class",
        ),
        ("+huo", {}, "no super-resolver ''; known: bicubic"),
        ("edsr_x2+hou", {}, "no operator 'hou'; known: white100, .*, huo"),
        ("edsr_x2+hdrcnn", {}, r"no operator 'hdrcnn': .*trained_params.npz.*\(docs/baselines.md\)"),
        ("users_resolvers:Missing+huo", {"scale": 2}, "no super-resolver 'users_resolvers:Missing'"),
        ("no_such_package:Net+huo", {"scale": 2}, "no super-resolver 'no_such_package:Net' .*No module named"),
    ],
)
def test_unknown_parts_of_a_name_are_named(users: None, name: str, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(zoo.UnknownModelError, match=message):
        zoo.create(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("edsr_x2+huo", {"scale": 4}, r"edsr_x2\+huo has scale 2, not 4; use edsr_x4"),
        ("edsr_x2+huo", {"scale": 1}, r"edsr_x2\+huo has scale 2, not 1; bicubic has all scales"),
        ("edsr_x2+huo", {"blocks": 4}, "takes no argument 'blocks'"),
        ("users_resolvers:Nearest+huo", {}, "needs a scale: 1, 2 or 4"),
        ("users_resolvers:Nearest+huo", {"scale": 3}, "no scale 3; choose 1, 2 or 4"),
        ("users_resolvers:Nearest+huo", {"scale": 2, "depth": 3}, "Nearest can't be built: .*depth"),
        ("users_resolvers:Shuffle+huo", {"scale": 4}, "Shuffle has scale 2, not 4"),
        ("users_resolvers:number+huo", {"scale": 2}, "number is no torch module but int"),
    ],
)
def test_scales_and_arguments_that_do_not_fit_are_refused(
    users: None, name: str, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(zoo.ConfigError, match=message) as caught:
        zoo.create(name, **arguments)
    assert "\n" not in str(caught.value)


def test_a_super_resolver_of_another_scale_is_caught_at_its_first_picture() -> None:
    net = zoo.create("torch.nn:Upsample+white100", scale=4, scale_factor=2)
    with pytest.raises(
        zoo.ConfigError, match=r"Upsample made \(1, 3, 12, 14\) of \(1, 3, 6, 7\), not \(1, 3, 24, 28\)"
    ):
        net(sdr())


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("absent.pt", "no weights file"),
        ("pickled.pt", "can't be read as tensors alone .*save its state dict"),
        ("text.pt", "can't be read as tensors alone"),
        ("no_state.pt", "holds no state dict of tensors"),
        ("empty.pt", "holds no state dict of tensors"),
        ("broken.pt", "tensor head.0.bias holds NaN or infinity"),
        ("unit_range.pt", r"was trained on R'G'B' in \[0, 1\]"),
        ("x4.pt", "has an unknown tensor tail.0.2.bias"),
    ],
)
def test_files_that_are_not_the_super_resolvers_are_refused(folder: Path, file: str, message: str) -> None:
    with pytest.raises(zoo.WeightsError, match=message) as caught:
        load_cascade("edsr_baseline_x2+huo", folder / file)
    assert "\n" not in str(caught.value)


def test_weights_are_asked_for_once(folder: Path, users: None) -> None:
    with pytest.raises(
        zoo.WeightsError, match=r"edsr_baseline_x2\+huo needs weights: give the file of the EDSR-PyTorch"
    ):
        zoo.load("edsr_baseline_x2+huo")
    with pytest.raises(
        zoo.WeightsError, match=r"give a safetensors or .pt file .* as users_resolvers:Shuffle@PATH\+huo"
    ):
        zoo.load("users_resolvers:Shuffle+huo", scale=2)
    with pytest.raises(zoo.ConfigError, match="states its weights; leave out"):
        zoo.load(f"edsr_baseline_x2@{folder}/edsr.pt+huo", weights=folder / "edsr.pt")


def test_the_card_counts_the_super_resolvers_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo.info("edsr_x4+masia").parameters == 43_089_923
    assert main(["show", "edsr_baseline_x2+huo"]) == 0
    assert "1,369,859" in capsys.readouterr().out
    assert zoo.list_models("*edsr*") == []


def test_a_cascade_can_be_built_without_the_registry() -> None:
    assert create_cascade("edsr_baseline_x2+oracle").scale == 2
