"""Tests of importing from a file to a network that predicts what the authors' did."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import zoo
from tests.golden_parameters import (
    DEEP_SRITM_SEED,
    JSI_GAN_SEED,
    deep_sritm_shapes,
    params,
    pictures,
)
from tests.zoo.importers.writers import write_checkpoint, write_v5, write_v73
from zoo.cli import main as sritm
from zoo.errors import UnknownModelError, WeightsError
from zoo.hub import cached_path
from zoo.importers import import_weights
from zoo.importers.layout import jsinet_tensor, tensor_from_hwio
from zoo.importers.parts import check_parts, expected_parts, our_tensors
from zoo.importers.tensorflow import read_checkpoint
from zoo.nets import Discriminator
from zoo.nets.authors import discriminator_names
from zoo.weights import load_tensors, read_weights

SCOPES = ("Discriminator_FM", "Discriminator_Detail")
GAN = "Include_DetailGAN/"


@dataclass(frozen=True)
class Named:
    """What the checks look at of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype = np.dtype(np.float32)  # noqa: RUF009 (never changed)


Held = dict[str, Named]


def generator(scale: int) -> Held:
    return {name: Named(shape) for name, shape in params.jsinet_shapes(scale).items()}


def first_stage(scale: int) -> Held:
    """What the authors' JSInet checkpoints hold."""
    held = generator(scale)
    slots = {f"{name}/{slot}": named for name, named in held.items() for slot in ("Adam", "Adam_1")}
    counters = {"beta1_power": Named(()), "beta2_power": Named(()), "Variable": Named((), np.dtype(np.int32))}
    return held | slots | counters


def second_stage(scale: int) -> Held:
    """What their JSI-GAN checkpoints hold."""
    trained: dict[str, tuple[int, ...]] = params.jsinet_shapes(scale)
    held = first_stage(scale)
    for scope in SCOPES:
        variables = params.discriminator_shapes(scope)
        held |= {name: Named(shape) for name, shape in variables.items()}
        state = ("u", "moving_mean", "moving_variance")
        trained = trained | {n: shape for n, shape in variables.items() if n.rpartition("/")[2] not in state}
    slots = {f"{GAN}{name}/{slot}": shape for name, shape in trained.items() for slot in ("Adam", "Adam_1")}
    powers = [f"{GAN}beta{i}_power{suffix}" for i in (1, 2) for suffix in ("", "_1", "_2")]
    return held | {name: Named(shape) for name, shape in {**slots, **dict.fromkeys(powers, ())}.items()}


def deep_sritm(scale: int = 2, modulation: bool = True, channels: int = 64) -> Held:
    return {n: Named(s) for n, s in deep_sritm_shapes.deep_sritm_shapes(scale, modulation, channels).items()}


def check(name: str, held: Held) -> list[str]:
    return check_parts(name, expected_parts(name, held), held, Path("SRC"))


@torch.no_grad()
def largest_deviation(net: torch.nn.Module, x: np.ndarray, pred: np.ndarray, peak: float | None = None) -> float:
    return (net(pictures(x, peak)) - pictures(pred)).abs().max().item()


@pytest.mark.parametrize(
    ("write", "picture", "stage", "channels"),
    [(write_v5, "b", "full_16ch", 16), (write_v73, "b", "full_16ch", 16), (write_v73, "a", "base", 64)],
)
def test_deep_sritm_predicts_what_the_authors_network_does(
    golden: Path, tmp_path: Path, write: Any, picture: str, stage: str, channels: int
) -> None:
    modulation = stage != "base"
    values = deep_sritm_shapes.deep_sritm_params(2, modulation, DEEP_SRITM_SEED, channels)
    source = write(tmp_path / "x2.mat", values)
    import_weights(source, "deep_sritm_x2", tmp_path / "w.safetensors")
    net = zoo.load("deep_sritm_x2", weights=tmp_path / "w.safetensors")
    assert net.modulation == modulation
    arrays = np.load(golden / "deep_sritm_x2.npz")
    assert largest_deviation(net, arrays[f"{picture}/input"], arrays[f"{picture}/{stage}/pred"]) < 1e-5


@pytest.fixture(scope="module")
def jsinet_values() -> dict[str, np.ndarray]:
    return params.make_params(params.jsinet_shapes(2), JSI_GAN_SEED)


@pytest.fixture(scope="module")
def jsinet(tmp_path_factory: pytest.TempPathFactory, jsinet_values: dict[str, np.ndarray]) -> Path:
    """Prefix of a checkpoint of the first stage."""
    rest = {
        name: np.zeros(named.shape, dtype=named.dtype)
        for name, named in first_stage(2).items()
        if name not in jsinet_values
    }
    return write_checkpoint(tmp_path_factory.mktemp("jsinet") / "JSInet-7", jsinet_values | rest)


def test_jsinet_in_the_users_cache_predicts_what_the_authors_network_does(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jsinet: Path
) -> None:
    monkeypatch.setenv("SRITM_HOME", str(tmp_path))
    with pytest.raises(WeightsError):
        zoo.load("jsinet_x2.paper")
    report = import_weights(jsinet, "jsinet_x2")
    assert len(report.left_out) == 195 - 64
    arrays = np.load(golden / "jsi_gan_jsinet_x2.npz")
    assert largest_deviation(zoo.load("jsinet_x2.paper"), arrays["input_u8"], arrays["pred"], 255) < 5e-6

    path = cached_path("jsinet_x2", "paper")
    assert report.networks[0].path == path == tmp_path / "weights" / "jsinet_x2.paper.safetensors"
    digests = {
        f"JSInet-7.{ending}": sha256(Path(f"{jsinet}.{ending}").read_bytes()).hexdigest()
        for ending in ("index", "data-00000-of-00001")
    }
    _, metadata = read_weights(path)
    terms = metadata.pop("license")
    assert terms.startswith("Research only, not to be passed on. ")
    assert metadata == {
        "name": "jsinet_x2",
        "net": "zoo.nets.jsinet:JSINet",
        "args": {"scale": 2},
        "input": "bt709-bt1886-ycbcr709-narrow-8",
        "output": "bt2020-pq-ycbcr2020-narrow-10",
        "source": digests,
    }
    card = path.with_suffix(".md").read_text()
    assert report.card == path.with_suffix(".md")
    assert card.startswith("---\nlicense: other\n")
    assert terms in card
    assert all(f"| `{name}` | `{digest}` |" in card for name, digest in digests.items())


def constants(scope: str) -> dict[str, np.ndarray]:
    """A discriminator's variables, each full of a number of its own."""
    numbers = enumerate(params.discriminator_shapes(scope).items(), start=1 if scope == SCOPES[0] else 101)
    return {name: np.broadcast_to(np.float32(number), shape) for number, (name, shape) in numbers}


def assert_are_constants(tensors: dict[str, torch.Tensor], scope: str) -> None:
    values = constants(scope)
    assert len(tensors) == 69
    for theirs, ours in discriminator_names().items():
        assert (tensors[ours] == float(values[f"{scope}/{theirs}"].flat[0])).all()


def test_both_discriminators_are_taken_from_a_checkpoint_that_has_them() -> None:
    held = {**params.make_params(params.jsinet_shapes(2), 1), **constants(SCOPES[0]), **constants(SCOPES[1])}
    parts = expected_parts("jsigan_x2", held)
    assert check_parts("jsigan_x2", parts, held, Path("SRC")) == []
    assert [part.label for part in parts] == ["", "D1", "D2"]
    for part, scope in zip(parts[1:], SCOPES, strict=True):
        assert_are_constants(our_tensors(part, held.__getitem__, Path("SRC")), scope)


@pytest.mark.slow  # of 115 MB
def test_jsigan_becomes_three_files(tmp_path: Path, jsinet_values: dict[str, np.ndarray]) -> None:
    moment = {f"{GAN}Network/image_reconstruction/conv/2/b/Adam": np.zeros(3, dtype=np.float32)}
    values = {**jsinet_values, **constants(SCOPES[0]), **constants(SCOPES[1]), **moment}
    source = write_checkpoint(tmp_path / "JSI-GAN-9", values)
    report = import_weights(source, "jsigan_x2", tmp_path / "w.safetensors")
    assert [(n.label, n.path.name, n.tensors) for n in report.networks] == [
        ("", "w.safetensors", 64),
        ("D1", "w.d1.safetensors", 69),
        ("D2", "w.d2.safetensors", 69),
    ]
    assert report.left_out == list(moment)
    assert len(zoo.load("jsigan_x2", weights=tmp_path / "w.safetensors").state_dict()) == 64
    for path, scope in ((tmp_path / "w.d1.safetensors", SCOPES[0]), (tmp_path / "w.d2.safetensors", SCOPES[1])):
        load_tensors(Discriminator(), read_weights(path)[0], path)
        assert_are_constants(read_weights(path)[0], scope)
        with pytest.raises(WeightsError, match=r"holds jsigan_x2 D., not jsigan_x2"):
            zoo.load("jsigan_x2", weights=path)

    write_checkpoint(tmp_path / "JSI-GAN-9", jsinet_values)
    import_weights(source, "jsigan_x2", tmp_path / "w.safetensors")
    assert sorted(path.name for path in tmp_path.glob("w.*")) == ["w.md", "w.safetensors"]


def test_layouts_entry_by_entry() -> None:
    kernel = np.arange(2 * 3 * 4 * 8, dtype=np.float32).reshape(2, 3, 4, 8)
    ours = tensor_from_hwio(kernel)
    shuffled = jsinet_tensor("image_reconstruction/conv/1/w", kernel, scale=2)
    for y, x, i, o in np.ndindex(kernel.shape):
        assert ours[o, i, y, x] == kernel[y, x, i, o]
        # Theirs is (dy 2 + dx) 2 + c of two output channels, ours c 4 + dy 2 + dx.
        sub_pixel, c = divmod(o, 2)
        assert shuffled[4 * c + sub_pixel, i, y, x] == kernel[y, x, i, o]


@pytest.mark.parametrize("scale", [2, 4])
def test_what_training_keeps_is_left_out_and_nothing_else(scale: int) -> None:
    held = first_stage(scale)
    assert len(held) == 195
    assert len(check(f"jsinet_x{scale}", held)) == 195 - 64
    held = second_stage(scale)
    assert len(held) == 607
    left_out = check(f"jsigan_x{scale}", held)
    assert len(left_out) == 607 - 64 - 2 * 69
    assert all(name.rpartition("/")[2].startswith(("Adam", "beta", "Variable")) for name in left_out)


BIAS, KERNEL = "Network/image_reconstruction/conv/2/b", "Network/image_reconstruction/conv/2/w"
D2_U = "Discriminator_Detail/d_conv/12/u"


@pytest.mark.parametrize(
    ("name", "held", "reason"),
    [
        ("jsinet_x2", first_stage(2) | {f"{BIAS}/Adam_2": Named((3,))}, f"an unknown tensor {BIAS}/Adam_2"),
        ("jsinet_x2", first_stage(2) | {f"{BIAS}/Adam": Named((4,))}, f"an unknown tensor {BIAS}/Adam: "),
        ("jsinet_x2", first_stage(2) | {"Network/new/b/Adam": Named((3,))}, "an unknown tensor Network/new/b/Adam: "),
        ("jsinet_x2", first_stage(2) | {"Variable": Named((2,))}, "an unknown tensor Variable: "),
        ("jsinet_x2", first_stage(2) | {"Network/new/b": Named((3,))}, "an unknown tensor Network/new/b: "),
        ("jsinet_x2", generator(2) | {BIAS: Named((4,))}, rf"{BIAS} has shape \(4,\), jsinet_x2 needs \(3,\)"),
        ("jsinet_x2", first_stage(2) | {BIAS: Named((3,), np.dtype(np.int32))}, f"{BIAS} is int32"),
        ("jsinet_x2", first_stage(4), r"conv_k/w has shape .*1296\), .*; it fits jsinet_x4$"),
        ("jsinet_x2", second_stage(2), "JSI-GAN, with discriminators: it is not jsinet_x2's; it fits jsigan_x2$"),
        ("jsigan_x2", first_stage(2), "JSInet, before the GAN stage: it is not jsigan_x2's; it fits jsinet_x2$"),
        ("jsigan_x4", generator(4) | {KERNEL: Named((3, 3, 3, 64))}, rf"{KERNEL} has shape \(3, 3, 3, 64\)"),
        ("jsigan_x4", {k: v for k, v in second_stage(4).items() if k != D2_U}, f"lacks tensor {D2_U}: "),
        ("deep_sritm_x4", deep_sritm(2), "lacks tensor conv_38b and 1 more: .*; it fits deep_sritm_x2"),
        ("deep_sritm_x2", deep_sritm(4), "unknown tensor conv_38b and 1 more: .*; it fits deep_sritm_x4"),
        ("deep_sritm_x2", deep_sritm() | {"conv_14b": Named((8, 8))}, r"conv_14b has shape \(8, 8\), .* needs \(64,\)"),
        ("deep_sritm_x2", deep_sritm() | {"convbm_3f": Named((3, 3, 64, 63))}, "convbm_3f has shape"),
        ("deep_sritm_x2", deep_sritm() | {"conv_1b": Named((1, 63))}, r"conv_1b has shape \(1, 63\), .* needs \(64,\)"),
        ("deep_sritm_x2", deep_sritm() | {"conv_1f": Named((1 << 40, 3, 6, 64))}, "conv_1f has shape"),
        ("deep_sritm_x2", deep_sritm() | {"conv_1b": Named((64, 1), np.dtype(object))}, "conv_1b is object"),
        ("deep_sritm_x2", deep_sritm(modulation=False) | {"convbs_1b": Named((64, 1))}, "lacks tensor convbm_1b"),
        ("deep_sritm_x2", dict(list(deep_sritm().items())[:-1]), "lacks tensor conv_37b: "),
        ("multipurpose_cnn_x2", deep_sritm(), "lacks tensor conv_1b_HDR and .*; it fits deep_sritm_x2"),
        ("deep_sritm_x2", deep_sritm() | dict.fromkeys(deep_sritm(), Named((1 << 40,))), "has shape"),
        ("deep_sritm_x2", {}, "lacks tensor conv_10b"),
    ],
)
def test_another_networks_file_is_refused_by_tensor(name: str, held: Held, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        check(name, held)


def test_nan_is_refused_by_the_authors_name(tmp_path: Path) -> None:
    values = deep_sritm_shapes.deep_sritm_params(2, False, seed=1, channels=2)
    values["dr_5f"][0, 0, 1, 1] = np.nan
    with pytest.raises(WeightsError, match=r"x2\.mat: tensor dr_5f holds NaN"):
        import_weights(write_v5(tmp_path / "x2.mat", values), "deep_sritm_x2", tmp_path / "w.safetensors")
    assert not list(tmp_path.glob("w*"))


def test_a_damaged_moment_is_refused_too(tmp_path: Path, jsinet: Path) -> None:
    """It isn't taken over, but a checkpoint that is damaged anywhere may be another than it seems."""
    source = tmp_path / "JSInet-7"
    for ending in ("index", "data-00000-of-00001"):
        data = bytearray(Path(f"{jsinet}.{ending}").read_bytes())
        if ending != "index":
            data[256] ^= 1  # behind a bias of 64 comes its moment
        Path(f"{source}.{ending}").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged: Network/detail_restoration/conv/0/b/Adam has another checksum"):
        import_weights(source, "jsinet_x2", tmp_path / "w.safetensors")


def test_a_failed_import_leaves_the_earlier_one(tmp_path: Path) -> None:
    values = deep_sritm_shapes.deep_sritm_params(2, False, seed=1, channels=2)
    source, output = write_v73(tmp_path / "x2.mat", values), tmp_path / "w.safetensors"
    import_weights(source, "deep_sritm_x2", output)
    before = {path: path.read_bytes() for path in tmp_path.glob("w.*")}
    source.write_bytes(source.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"x2\.mat is no whole MatConvNet network"):
        import_weights(source, "deep_sritm_x2", output)
    assert {path: path.read_bytes() for path in tmp_path.glob("w.*")} == before


class Trap:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.mat", "x.pt", "x.index", "x.data-00000-of-00001"):
        Path(name).write_bytes(pickle.dumps(Trap()))
    for source, model in (
        ("x.mat", "deep_sritm_x2"),
        ("x.pt", "deep_sritm_x2"),
        ("x", "jsinet_x2"),
        ("x.pt", "jsinet_x2"),
    ):
        with pytest.raises(WeightsError):
            import_weights(source, model, "w.safetensors")
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    ("source", "name", "output", "error", "reason"),
    [
        (
            "x2.mat",
            "jsinet_x1",
            "w.safetensors",
            WeightsError,
            "no weights of jsinet_x1; what can be imported: deep_sr",
        ),
        ("x2.mat", "bicubic+oracle", "w.safetensors", WeightsError, "no weights of bicubic"),
        ("x2.mat", "jsinet_x2.v1", "w.safetensors", WeightsError, "no weights of jsinet_x2.v1"),
        ("x2.mat", "jsinet_x3", "w.safetensors", UnknownModelError, "did you mean"),
        ("x2.mat", "jsinet_x2", "w.pt", WeightsError, "w.pt: give the output the ending .safetensors"),
        (
            "x2.mat",
            "deep_sritm_x2",
            "w.safetensors",
            WeightsError,
            "no file x2.mat; the authors' weights of deep_sritm_x2",
        ),
        ("x2.mat", "jsinet_x2", "w.safetensors", WeightsError, "no TensorFlow checkpoint x2.mat: there is no file"),
        ("", "jsinet_x2", "w.safetensors", WeightsError, "no TensorFlow checkpoint"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str, output: str, error: type, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=reason):
        import_weights(source, name, output)


def test_the_command_says_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    values = deep_sritm_shapes.deep_sritm_params(4, True, seed=1, channels=2)
    write_v5(tmp_path / "x4.mat", values)
    assert sritm(["import", str(tmp_path / "x4.mat"), "--model", "deep_sritm_x4"]) == 0
    out = capsys.readouterr().out
    count = f"{sum(value.size for value in values.values()):,}"
    assert f"deep_sritm_x4.paper.safetensors: 150 tensors, {count} values" in out
    assert "zoo.load('deep_sritm_x4.paper')" in out
    with safe_open(cached_path("deep_sritm_x4", "paper"), framework="pt") as file:
        assert json.loads(file.metadata()["args"]) == {"scale": 4, "modulation": True, "channels": 2}
    assert sritm(["import", str(tmp_path / "x4.mat"), "--model", "deep_sritm_x2"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "x4.mat has an unknown tensor conv_38b and 1 more: it is not deep_sritm_x2's; it fits deep_sritm_x4" in err


REFERENCE_FILES = [
    ("deep_sritm_x2_dagnn_v5.mat", "deep_sritm_x2", "deep_sritm_x2.npz", "full/pred", 1e-5),
    ("deep_sritm_x2_16ch_dagnn_v73.mat", "deep_sritm_x2", "deep_sritm_x2.npz", "full_16ch/pred", 1e-5),
    ("Multi-purpose_CNN_x2.mat", "multipurpose_cnn_x2", "multipurpose_cnn_x2.npz", "pred", 1e-5),
    ("Multi-purpose_CNN_x4.mat", "multipurpose_cnn_x4", "multipurpose_cnn_x4.npz", "pred", 1e-5),
    ("tf_jsinet_x2/JSInet-0", "jsinet_x2", "../weights/tf_jsinet_x2/forward.npz", "pred", 5e-6),
    ("tf_jsinet_x2/JSInet-0", "jsigan_x2", "../weights/tf_jsinet_x2/forward.npz", "pred", 5e-6),
]


@pytest.mark.parametrize(("file", "name", "arrays", "key", "tolerance"), REFERENCE_FILES)
def test_files_of_the_reference_predict_what_their_networks_did(
    reference: Path, tmp_path: Path, file: str, name: str, arrays: str, key: str, tolerance: float
) -> None:
    """With ``pytest -s`` the table of figures."""
    [network] = import_weights(reference / "weights" / file, name, tmp_path / "w.safetensors").networks
    net = zoo.load(name, weights=network.path)
    held = np.load(reference / "golden" / arrays)
    if "input_u8" in held:
        deviations = [largest_deviation(net, held["input_u8"], held[key], 255)]
    else:
        expected = [picture for picture in "ab" if f"{picture}/{key}" in held]
        deviations = [largest_deviation(net, held[f"{p}/input"], held[f"{p}/{key}"]) for p in expected]
    print(f"\n| {file} | {name} | {network.tensors} | {network.values:,} | {max(deviations):.1e} |")
    assert max(deviations) < tolerance


def test_every_variable_of_the_reference_checkpoint_is_that_of_its_seed(reference: Path) -> None:
    variables = read_checkpoint(reference / "weights" / "tf_jsinet_x2" / "JSInet-0")
    values = params.make_params(params.jsinet_shapes(2), seed=2021)
    assert variables.keys() == values.keys()
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable.read(), values[name])
