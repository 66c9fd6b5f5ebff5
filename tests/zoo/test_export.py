"""Networks as files for other runtimes. Fresh weights do: what is compared is arithmetic."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo import hub
from zoo.cli import main as sritm
from zoo.errors import ConfigError
from zoo.export import METADATA, OPSET, Parity, export, main
from zoo.files import sha256_of
from zoo.hub_index import Weights, file_name, index_text
from zoo.ops import dynamic_upsample_2d, dynamic_upsample_separable, imresize, portable
from zoo.ops.resize import _enlarge
from zoo.weights import write_weights

SMALLEST = "multipurpose_cnn_x2"
ODD = [(45, 61), (3, 5)]


def pictures(*shape: int) -> Tensor:
    return torch.randint(16, 236, shape) / 255


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Tensors of the smallest network; no weights on this machine."""
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SRITM_ZOO_URL", raising=False)
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "shipped")
    return zoo.create(SMALLEST).state_dict()


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_portable_operators_equal_the_eager_ones(scale: int) -> None:
    x = pictures(2, 3, 7, 10)
    assert torch.equal(_enlarge(x, scale), imresize(x, scale))
    assert torch.equal(_enlarge(x[..., :2, :3], scale), imresize(x[..., :2, :3], scale))
    filters, vertical, horizontal = (torch.randn(2, taps * scale**2, 7, 10) for taps in (81, 41, 41))
    # Sums of 81 and 41 products in another order.
    torch.testing.assert_close(
        portable.dynamic_upsample_2d(x, filters, scale, 9), dynamic_upsample_2d(x, filters, scale), rtol=0, atol=2e-6
    )
    torch.testing.assert_close(
        portable.dynamic_upsample_separable(x, vertical, horizontal, scale, 41),
        dynamic_upsample_separable(x, vertical, horizontal, scale),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("taps", [[80], [0, 40]])
def test_portable_2d_filters_bear_logits_whose_exponential_would_overflow(taps: list[int]) -> None:
    filters = torch.zeros(1, 81, 4, 4)
    filters[:, taps] = 1000
    x = pictures(1, 3, 4, 4)
    torch.testing.assert_close(portable.dynamic_upsample_2d(x, filters, 1, 9), dynamic_upsample_2d(x, filters, 1))


def test_eager_operators_do_not_take_the_portable_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "dynamic_upsample_2d", None)
    monkeypatch.setattr(portable, "dynamic_upsample_separable", None)
    zoo.create("jsinet_x1")(pictures(1, 3, 5, 5))


def test_a_torch_file_takes_any_size_and_says_what_it_is(tmp_path: Path, state: dict[str, Tensor]) -> None:
    weights, path = tmp_path / "weights.safetensors", tmp_path / "net.pt2"
    write_weights(weights, state, {"name": SMALLEST, "tag": "mine", "license": "CC0-1.0"})
    parities = export(SMALLEST, path, "torch", weights=weights, sizes=ODD)
    assert [parity.size for parity in parities] == ODD
    assert all(parity.largest < 0.001 for parity in parities)

    extra = {METADATA: ""}
    run = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra[METADATA]) == {
        "name": SMALLEST,
        "tag": "mine",
        "license": "CC0-1.0",
        "sha256": sha256_of(weights),
        "scale": "2",
        "halo": "7 7",
        "input_signal": "bt709-bt1886-ycbcr709-narrow-8",
        "output_signal": "bt2020-pq-ycbcr2020-narrow-10",
        "values": "input code / 255, output code / 1023, not clipped",
        "least_side": "3",
        "producer": f"sritm-zoo {zoo.__version__}",
        "precision": "float32",
    }
    net, x = zoo.load(SMALLEST, weights=weights), pictures(3, 3, 6, 4)
    with torch.no_grad():
        torch.testing.assert_close(run(x), net(x))


@pytest.fixture
def unconverted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, dict[str, str]]]:
    """Instead of files, what would be written into them: network and facts. What is opened is the network."""
    written: list[tuple[nn.Module, dict[str, str]]] = []

    def write(net: nn.Module, part: Path, facts: dict[str, str]) -> None:
        part.write_text("")
        written.append((net, facts))

    monkeypatch.setattr("zoo.export._write_torch", write)
    monkeypatch.setattr("zoo.export._open_torch", lambda part: written[-1][0])
    return written


def test_published_weights_are_named_with_their_licence(
    tmp_path: Path, state: dict[str, Tensor], unconverted: list[tuple[nn.Module, dict[str, str]]]
) -> None:
    hub.SHIPPED.mkdir()
    path = hub.SHIPPED / file_name(SMALLEST, "preview")
    write_weights(path, state, {"name": SMALLEST})
    entry = Weights(SMALLEST, "preview", path.name, sha256_of(path), path.stat().st_size, "CC-BY-4.0")
    (hub.SHIPPED / "index.json").write_text(index_text([entry]))

    (parity,) = export(SMALLEST, tmp_path / "net.pt2", "torch", half=True, sizes=[(5, 7)])
    ((net, facts),) = unconverted
    assert [facts[key] for key in ("tag", "license", "sha256")] == ["preview", "CC-BY-4.0", entry.sha256]
    assert facts["precision"] == "float16"
    assert next(net.parameters()).dtype == torch.float16
    assert 0 < parity.largest < 5  # to float32


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("name", zoo.list_models())
def test_every_network_is_exported(name: str, half: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    export(name, path, "torch", half=half, untrained=True, sizes=[*ODD, (40, 33)])
    x = pictures(1, 3, 4, 5).to(torch.float16 if half else torch.float32)
    assert torch.export.load(path).module()(x).dtype == x.dtype


@pytest.fixture(scope="module", params=["jsinet_x2", pytest.param("deep_sritm_x2", marks=pytest.mark.slow)])
def onnx_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A network with the weights of seed 7 as ONNX, and its name."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is absent (pip install 'sritm-zoo[export]')")
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    torch.manual_seed(7)
    export(request.param, path, untrained=True, sizes=[ODD[0]])
    return path, request.param


def test_onnx_runtime_runs_it_at_odd_sizes(onnx_file: tuple[Path, str]) -> None:
    import onnxruntime

    path, name = onnx_file
    torch.manual_seed(7)
    net = zoo.create(name).eval()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 3, 3), (2, 3, 31, 17), (1, 3, 50, 49)):
        x = pictures(*shape)
        with torch.inference_mode():
            hdr = net(x)
        found = torch.from_numpy(session.run(["hdr"], {"sdr": x.numpy()})[0])
        # Relative to the peak: filters of fresh JSInets aren't normalised, and give values of 10.
        assert (found - hdr).abs().max() < 1e-4 * max(1, hdr.abs().max()), shape


def test_onnx_has_named_sizes_facts_and_only_standard_operators(onnx_file: tuple[Path, str]) -> None:
    import onnx

    path, name = onnx_file
    model = onnx.load(path)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert not model.functions
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", 3, "height", "width"], ["batch", 3, "2*height", "2*width"]]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["name"] == name
    assert facts["tag"] == "untrained"
    assert facts["halo"] == "{} {}".format(*zoo.info(name).halo or ())
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Loop", "Scan", "If", "NonZero", "SequenceAt"}  # what TensorRT takes badly or not at all
    assert len(model.graph.node) < 500  # not one for each of the 81 taps


@pytest.mark.parametrize(
    ("value", "words"), [(0.9, " 10-bit codes off at 7x5: it is not kept"), (torch.nan, "is nan ")]
)
def test_a_file_that_computes_something_else_is_not_kept(
    value: float,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unconverted: object,
    state: dict[str, Tensor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "net.pt2"
    path.write_text("an older one")
    monkeypatch.setattr("zoo.export._open_torch", lambda part: lambda x: torch.full((1, 3, 10, 14), value))
    assert main([SMALLEST, "--untrained", "-o", str(path), "--check-sizes", "7x5"]) == 2
    assert words in capsys.readouterr().err
    assert path.read_text() == "an older one"
    assert not list(tmp_path.glob(".*"))


def test_the_bound_grows_with_predictions_beyond_the_peak() -> None:
    assert Parity((1, 1), 0, 0, 0.5, 0, 0).bound == Parity((1, 1), 0, 0, 1.0, 0, 0).bound
    assert Parity((1, 1), 0, 0, 18.0, 0, 0).bound == pytest.approx(18 * Parity((1, 1), 0, 0, 1.0, 0, 0).bound)


@pytest.mark.parametrize(("gigabytes", "width"), [(100, 1920), (30, 960), (0.1, 480)])
def test_what_is_compared_by_default_fits_into_the_memory(
    gigabytes: float,
    width: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, Tensor],
    unconverted: object,
) -> None:
    monkeypatch.setattr("zoo.export.free_memory", lambda device: gigabytes * 1e9)
    monkeypatch.setattr("zoo.export._compare", lambda run, net, *size: Parity(size[:2], 0, 0, 0, 0, 0))
    sizes = [parity.size for parity in export(SMALLEST, tmp_path / "net.pt2", "torch", untrained=True)]
    assert sizes == [(45, 61), (width * 9 // 16, width)]


def test_the_command_prints_the_comparison(
    tmp_path: Path, state: dict[str, Tensor], unconverted: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.pt2"
    assert main([SMALLEST, "--untrained", "-o", str(path), "--check-sizes", "61x45", "5x3"]) == 0
    first, head, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}: ")
    assert head.split() == ["input", "largest", "mean", "within", "seconds", "eager"]
    assert [row.split()[0] for row in rows] == ["61x45", "5x3"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jsinet_x3"], "no model 'jsinet_x3' in the zoo; did you mean"),
        (["bicubic+bt2446c"], "bicubic+bt2446c is a baseline; only networks are exported"),
        ([SMALLEST], f"{SMALLEST} has no published weights yet"),
        ([f"{SMALLEST}.v1", "--untrained"], f"{SMALLEST}.v1 are weights; leave out --untrained"),
        ([SMALLEST, "--weights", "nowhere.safetensors"], "no weights file nowhere.safetensors"),
        ([SMALLEST, "--format", "onnx", "-o", "net.pt2"], "net.pt2 can't hold onnx; name it net.onnx"),
        ([SMALLEST, "--untrained", "--format", "torch", "-o", "no/folder/net.pt2"], "no folder no/folder to write"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    state: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "-o" not in arguments:
        arguments = [*arguments, "--format", "torch"]
    assert sritm(["export", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("export.py: ")
    assert words in line


@pytest.mark.parametrize("size", ["2x9", "1080p", "9x2"])
def test_a_size_that_cannot_be_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([SMALLEST, "--check-sizes", size])
    assert f"{size} is no size; write WIDTHxHEIGHT, at least 3x3" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_an_absent_package_is_named_with_the_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    with pytest.raises(ConfigError, match=rf"ONNX needs the package {package}: pip install 'sritm-zoo\[export\]'"):
        export(SMALLEST, tmp_path / "net.onnx", untrained=True)


def test_an_old_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.compiler, "is_exporting")
    assert not portable.is_exporting()
    with pytest.raises(ConfigError, match=r"export needs PyTorch 2\.7 or newer, this is "):
        export(SMALLEST, tmp_path / "net.onnx", untrained=True)


def test_weights_that_float16_breaks_are_not_exported_in_it(tmp_path: Path, state: dict[str, Tensor]) -> None:
    weights = tmp_path / "weights.safetensors"
    write_weights(weights, state, {"name": SMALLEST, "half_precision": ["bfloat16"]})
    with pytest.raises(ConfigError, match=f"these weights of {SMALLEST} give NaN or infinity in float16"):
        export(SMALLEST, tmp_path / "net.pt2", "torch", weights=weights, half=True)
