from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from zoo.errors import ConfigError, UnknownModelError, WeightsError
from zoo.evaluation import load_model, parse_model
from zoo.weights import write_weights


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with weights and a checkpoint."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    net = zoo.create("multipurpose_cnn_x2")
    write_weights(folder / "weights.safetensors", net.state_dict(), {"name": "multipurpose_cnn_x2"})
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"anything")
    return folder


@pytest.mark.parametrize(
    "named", ["{run}", "{run}/weights.safetensors", "multipurpose_cnn_x2={run}/weights.safetensors"]
)
def test_a_run_its_file_and_a_named_file_are_one_model(run: Path, named: str) -> None:
    text = named.format(run=run)
    model = load_model(parse_model(text), 2)
    assert (model.label, model.name, model.scale, model.parameters) == (text, "multipurpose_cnn_x2", 2, 250_099)
    assert model.sha256 is not None
    assert not model.net.training


def test_a_baseline_takes_the_scale_of_the_set() -> None:
    for scale in (1, 2, 4):
        model = load_model(parse_model("bicubic+oracle"), scale)
        assert (model.net.scale, model.parameters, model.sha256) == (scale, 0, None)


def test_a_checkpoint_is_refused_with_the_file_to_use(run: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"last.ckpt is a training checkpoint, not weights: use .*weights.safetensors"
    ):
        parse_model(str(run / "checkpoints" / "last.ckpt"))


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("jsinet_x3", UnknownModelError, "did you mean"),
        ("bicubic+oracl", UnknownModelError, "did you mean"),
        ("absent/weights.safetensors", WeightsError, "no weights file"),
        ("absent.safetensors", WeightsError, "no weights file"),
        ("empty", WeightsError, "holds no weights.safetensors"),
    ],
)
def test_what_is_no_model_is_said(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=said):
        parse_model(text)


def test_a_file_that_does_not_say_what_it_is_needs_a_name(tmp_path: Path) -> None:
    write_weights(tmp_path / "foreign.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(WeightsError, match="give it as --model NAME="):
        parse_model("foreign.safetensors")


def test_a_model_of_another_scale_is_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="run is of scale 2, the set of scale 4; give one of x4"):
        load_model(parse_model(str(run)), 4)


def test_a_baseline_without_the_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"bicubic.white100 has no scale 3; choose 1, 2 or 4"):
        load_model(parse_model("bicubic+white100"), 3)


def test_the_code_of_a_super_resolver_of_ones_own_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_of_a_test").mkdir()
    (tmp_path / "mine_of_a_test" / "nets.py").write_text("import torch\n\nclass Same(torch.nn.Identity):\n    pass\n")
    (tmp_path / "mine_of_a_test" / "blocks.py").write_text("")
    (tmp_path / "alone_of_a_test.py").write_text("from mine_of_a_test.nets import Same\n")
    monkeypatch.syspath_prepend(tmp_path)

    def source(text: str) -> str | None:
        return load_model(parse_model(text), 1).source

    mine, alone = "mine_of_a_test.nets:Same+bt2446c", "alone_of_a_test:Same+bt2446c"
    before, other = source(mine), source(alone)
    assert before is not None
    assert source(mine) == before != other
    (tmp_path / "mine_of_a_test" / "blocks.py").write_text("x = 1\n")
    assert source(mine) != before
    assert source(alone) == other
    (tmp_path / "alone_of_a_test.py").write_text("from mine_of_a_test.nets import Same  # anew\n")
    assert source(alone) != other
    assert source("bicubic+bt2446c") is None


def test_a_cascade_has_the_scale_of_its_super_resolver() -> None:
    assert parse_model("edsr_x4+bt2446c").scale == 4
    assert parse_model("edsr_baseline_x2@some/file.pt+bt2446c").weights_in_name == Path("some/file.pt")
