from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import zoo.evaluation.command
from tests.zoo.evaluation.conftest import SIGNALS, smooth_codes, write_kaist, write_set, write_super_resolver
from zoo.cli import main as sritm
from zoo.evaluation.command import main
from zoo.evaluation.papers import TABLES
from zoo.importers import import_weights
from zoo.weights import write_weights


def scores_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text())


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text())))


def test_figures_are_those_of_the_protocol(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Frame by frame, to what the golden files were made with in NumPy."""
    models = ["bicubic+bt2446c", "bicubic+oracle"]
    arguments = ["--split", "val", "--limit", "1", "--metrics", "psnr,psnr_matched", "-o", "out", "--worst", "1"]
    assert main(["--model", *models, *arguments]) == 0
    scene = "narrow_moonlit_road"
    frames = [frame for frame in json.loads((golden / "val_v1_x2.json").read_text()) if frame["scene"] == scene]
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 2 * len(frames) == 8
    for row in rows:
        expected = frames[int(row["frame"].rpartition("-")[2])][row["model"]]
        assert [float(row["psnr"]), float(row["psnr_matched"])] == pytest.approx(expected, abs=1e-4)
    content = scores_of(tmp_path / "out")
    assert content["models"][1]["scores"]["psnr"]["mean"] == pytest.approx(
        np.mean([frame["bicubic+oracle"][0] for frame in frames]), abs=1e-4
    )
    assert content["metrics"]["psnr"]["peak"] == "code 1023"
    assert content["data"]["digest"]
    assert content["packages"]["torch"] == torch.__version__
    assert content["command"].startswith("python tools/evaluate.py --model bicubic+bt2446c")
    shown = capsys.readouterr().out
    assert shown.strip() == (tmp_path / "out" / "table.md").read_text().strip()
    assert "better in 4 of 4" in shown
    assert "prediction clipped to [0, peak] of its codes, not rounded" in shown
    picture = cv2.imread(str(tmp_path / "out" / content["pictures"][0]))
    assert picture.shape[0] > 2 * 256  # two rows of panels
    assert len(content["pictures"]) == 2


@pytest.mark.slow
def test_all_of_val_gives_the_table_of_the_protocol(tmp_path: Path) -> None:
    assert main(["--model", "bicubic+oracle", "--split", "val", "--metrics", "psnr", "-o", "out", "--worst", "0"]) == 0
    assert f"{scores_of(tmp_path / 'out')['models'][0]['scores']['psnr']['mean']:.2f}" == "40.63"


def test_the_authors_network_scores_as_by_an_independent_script(reference: Path, tmp_path: Path) -> None:
    """The KAIST protocol: HR SDR of the test file reduced in float, one PSNR of three channels for each frame."""
    source = reference / "weights" / "Multi-purpose_CNN_x2.mat"
    import_weights(source, "multipurpose_cnn_x2", tmp_path / "mp.safetensors")
    data = write_kaist(tmp_path, frames=3, height=48, width=64)
    arguments = ["--data", data, "--metrics", "psnr,mpsnr", "-o", "out", "--worst", "0"]
    assert main(["--model", "mp.safetensors", *arguments]) == 0
    ours = [float(row["psnr"]) for row in rows_of(tmp_path / "out")]
    assert ours == pytest.approx(independent_psnr(reference, *reversed(data.split("+"))), abs=1e-4)


def independent_psnr(reference: Path, sdr_path: str, hdr_path: str) -> list[float]:
    """PSNR of the authors' Multi-purpose CNN on a test file, with nothing of this project."""
    from scipy.io import loadmat

    sdr, hdr = loadmat(sdr_path)["SDR"] / 255, loadmat(hdr_path)["HDR"] / 1023
    with h5py.File(reference / "weights" / "Multi-purpose_CNN_x2.mat") as file:
        names = ["".join(map(chr, file[name][:, 0])) for name in file["net/params/name"][:, 0]]
        values = [np.asarray(file[value]) for value in file["net/params/value"][:, 0]]
    w = {
        n: torch.from_numpy(v.swapaxes(2, 3).copy() if v.ndim == 4 else v.ravel()).double()
        for n, v in zip(names, values, strict=True)
    }

    def cubic(x: np.ndarray) -> np.ndarray:
        x = abs(x)
        inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x <= 1, inner, np.where(x <= 2, outer, 0))

    def resized(x: np.ndarray, size: int) -> np.ndarray:
        """Along the first axis, mirrored at the border, with antialiasing."""
        scale, matrix = size / len(x), np.zeros((size, len(x)))
        for row in range(size):
            centre = (row + 0.5) / scale - 0.5
            taps = np.arange(np.floor(centre) - 6, np.floor(centre) + 7)
            weights = cubic(min(scale, 1) * (taps - centre))
            mirrored = np.minimum(taps % (2 * len(x)), 2 * len(x) - 1 - taps % (2 * len(x))).astype(int)
            np.add.at(matrix[row], mirrored, weights / weights.sum())
        return np.tensordot(matrix, x, 1)

    def conv(x: torch.Tensor, name: str, branch: str = "") -> torch.Tensor:
        return F.conv2d(x, w[f"{name}f{branch}"], w[f"{name}b{branch}"], padding=1)

    scores = []
    for i in range(sdr.shape[3]):
        height, width = sdr.shape[:2]
        lr = resized(resized(sdr[..., i], height // 2).swapaxes(0, 1), width // 2).swapaxes(0, 1)
        up = resized(resized(lr, height).swapaxes(0, 1), width).swapaxes(0, 1)
        sr = itm = torch.from_numpy(lr.transpose(2, 0, 1)[None].copy())
        for number in (1, 2, 3):
            sr, itm = conv(sr, f"conv_{number}", "_SR").relu(), conv(itm, f"conv_{number}", "_HDR").relu()
        x = torch.cat([sr, itm], 1)
        for number in (4, 5, 6):
            x = conv(x, f"conv_{number}").relu()
        pred = F.pixel_shuffle(conv(x, "conv_7"), 2)[0].numpy().transpose(1, 2, 0) + up
        scores.append(-10 * np.log10(np.mean((pred.clip(0, 1) - hdr[..., i]) ** 2)))
    return scores


def test_a_second_call_scores_nothing_again(kaist: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--model", "bicubic+white100", "--data", kaist, "--metrics", "psnr", "--worst", "0", "-o", "out"]
    assert main(arguments) == 0
    before = (tmp_path / "out" / "rows-0.jsonl").read_bytes()
    first = (tmp_path / "out" / "scores.csv").read_bytes()
    assert main(arguments) == 0
    assert (tmp_path / "out" / "rows-0.jsonl").read_bytes() == before
    assert (tmp_path / "out" / "scores.csv").read_bytes() == first
    assert main([*arguments[:5], "psnr,psnr_rgb", *arguments[6:]]) == 0
    assert len((tmp_path / "out" / "rows-0.jsonl").read_bytes()) > 1.5 * len(before)


def test_costs_of_another_machine_are_not_taken_up(kaist: str, tmp_path: Path, capsys: Any) -> None:
    arguments = ["--model", "bicubic+white100", "--data", kaist, "--metrics", "psnr", "--worst", "0", "-o", "out"]
    assert main(arguments) == 0
    first, journal = scores_of(tmp_path / "out"), tmp_path / "out" / "rows-0.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    for row in rows[1:]:
        row |= {"machine": "another", "seconds": 1000.0, "memory": 10**12}
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(arguments) == 0
    second = scores_of(tmp_path / "out")
    assert second["models"][0]["scores"] == first["models"][0]["scores"]
    assert second["models"][0]["seconds_per_frame"] == rows[0]["seconds"]
    assert second["models"][0]["peak_memory"] == rows[0]["memory"]
    assert [frame["device"] for frame in second["models"][0]["frames"]] == [first["device"], "another", "another"]
    assert "timed are 1 of 3 (bicubic+white100)." in capsys.readouterr().out


@pytest.mark.parametrize("operator", ["masia", "huo", "kovaleski"])
def test_a_prediction_without_numbers_is_counted_and_named(
    operator: str, kaist: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model = f"{write_super_resolver(tmp_path, monkeypatch, call=3)}+{operator}"  # the first call is of a corner
    arguments = ["--data", kaist, "--scale", "1", "--metrics", "psnr", "--worst", "0", "-o", "out"]
    assert main(["--model", model, *arguments]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evaluate.py: ")]
    assert f"1 frame without scores, first testset_HDR-00001 ({model}): " in line
    assert "NaN or infinity in the prediction" in line
    assert len(rows_of(tmp_path / "out")) == 2


def test_a_damaged_shard_is_named(tmp_path: Path, capsys: Any) -> None:
    shards = write_set(tmp_path / "shards", SIGNALS, shards=2)
    content = bytearray((shards / "test-0.tar").read_bytes())
    content[content.index(smooth_codes(0, 16, 32, 64, 700).astype("<u2").tobytes()) + 100] ^= 1
    (shards / "test-0.tar").write_bytes(content)
    arguments = ["--data", str(shards), "--metrics", "psnr", "--worst", "0", "-o", "out"]
    assert main(["--model", "bicubic+white100", *arguments]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("evaluate.py: 2 frames without scores, first test-00000 (bicubic+white100): ")
    assert "test-0.tar has SHA-256 " in last
    assert [row["scene"] for row in rows_of(tmp_path / "out")] == ["scene1", "scene1"]


def test_pictures_of_an_earlier_evaluation_do_not_stay(kaist: str, tmp_path: Path) -> None:
    arguments = ["--data", kaist, "--scale", "1", "--metrics", "psnr", "-o", "out", "--worst"]
    assert main(["--model", "bicubic+white100", *arguments, "2"]) == 0
    assert main(["--model", "bicubic+white203", *arguments, "1"]) == 0
    pictures = sorted(f"worst/{path.name}" for path in (tmp_path / "out" / "worst").iterdir())
    assert pictures == scores_of(tmp_path / "out")["pictures"]
    assert len(pictures) == 1


def test_sigterm_is_a_stop(kaist: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(zoo.evaluation.command, "evaluate", lambda request: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["--model", "bicubic+white100", "--data", kaist, "-o", "out"]) == 130
    assert capsys.readouterr().err == "evaluate.py: stopped; the same command goes on where it was\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow  # both import torch, which takes a busy machine half a minute; test_running.py has shares without
def test_two_processes_give_the_table_of_one(kaist: str, tmp_path: Path) -> None:
    arguments = ["--model", "bicubic+bt2446c", "bicubic+bt2446a", "--data", kaist, "--metrics", "psnr,delta_e_itp"]
    assert main([*arguments, "--worst", "0", "-o", "one"]) == 0
    assert main([*arguments, "--worst", "0", "-o", "two", "--devices", "2"]) == 0
    assert len(list((tmp_path / "two").glob("rows-*.jsonl"))) == 2
    assert (tmp_path / "one" / "scores.csv").read_bytes() == (tmp_path / "two" / "scores.csv").read_bytes()
    one, two = (
        [line for line in (tmp_path / name / "table.md").read_text().splitlines() if "s per frame" not in line]
        for name in ("one", "two")
    )
    assert one[: one.index("## Cost")] == two[: two.index("## Cost")]
    assert one[one.index("## Frames") :] == two[two.index("## Frames") :]


def test_a_damaged_frame_is_counted_and_named(folder_of_pairs: Path, tmp_path: Path, capsys: Any) -> None:
    picture = folder_of_pairs / "test_hdr" / "001.png"
    picture.write_bytes(picture.read_bytes()[:-60])
    signals = ["--signal", "bt2020-pq-rgb-full-16", "--sdr-signal", "bt709-bt1886-rgb-full-8", "--scale", "1"]
    arguments = ["--data", str(folder_of_pairs), *signals, "--metrics", "psnr", "-o", "out"]
    assert main(["--model", "bicubic+white100", *arguments]) == 1
    said = capsys.readouterr()
    assert "## Without scores: 1" in said.out
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("evaluate.py: 1 frame without scores, first ")
    assert "001.png" in last
    content = scores_of(tmp_path / "out")["models"][0]
    assert len(content["frames"]) == 2
    assert "001.png" in content["failures"][0]["error"]


def test_a_papers_table_has_its_figures_beside_ours(kaist: str, tmp_path: Path, capsys: Any) -> None:
    torch.manual_seed(0)
    write_weights(tmp_path / "own.safetensors", zoo.create("jsinet_x2").state_dict(), {"name": "jsinet_x2"})
    arguments = ["--data", kaist, "--metrics", "psnr,mpsnr", "--worst", "0", "-o", "out", "--scale", "2"]
    assert main(["--table", "jsigan.table2", "--model", "own.safetensors", "bicubic+bt2446c", *arguments]) == 0
    shown = capsys.readouterr().out
    mean = scores_of(tmp_path / "out" / "x2")["models"][0]["scores"]["psnr"]["mean"]
    row = next(line for line in shown.splitlines() if line.startswith("| JSInet"))
    assert f"{mean:.2f} / 35.99" in row
    assert "1,454,159" in row
    assert "| bicubic+bt2446c" in shown
    assert "- / 35.73" in next(line for line in shown.splitlines() if line.startswith("| JSI-GAN"))
    assert "no figures of `jsigan_x2`: give the weights of jsigan_x2, --model jsigan_x2=FILE" in shown


def test_the_papers_figures_agree_where_both_print_them() -> None:
    figures = {row.model: row.figures for row in TABLES["deep_sritm.table4"].rows}
    both = [row for row in TABLES["jsigan.table2"].rows if row.model in figures]
    assert len(both) == 8
    for row in both:
        assert figures[row.model] == row.figures


def test_it_is_a_command_of_sritm(capsys: Any) -> None:
    with pytest.raises(SystemExit, match="0"):
        sritm(["evaluate", "--help"])
    assert "--metrics A,B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "jsinet_x2"], "jsinet_x2 has no published weights yet"),
        (["--model", "bicubic+oracle", "--metrics", "psnrr"], "did you mean 'psnr'?"),
        (["--model", "bicubic+oracle", "bicubic+oracle"], "--model bicubic+oracle is given twice"),
        (["--model", "bicubic+oracle", "--data", "absent.mkv"], "absent.mkv doesn't exist"),
        (["--model", "edsr_x2+huo", "edsr_x4+huo"], "models of several scales can't be one table"),
        (["--model", "jsinet_x2", "--scale", "4"], "jsinet_x2 is of scale 2, not --scale 4"),
        (["--model", "bicubic+oracle", "--limit", "0"], "--devices and --limit are at least 1"),
        (["--model", "bicubic+oracle", "--data", "split.json"], "can't be read"),
    ],
)
def test_errors_are_one_line(arguments: list[str], said: str, capsys: Any, tmp_path: Path) -> None:
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("evaluate.py: ")
    assert said in lines[0]


def test_a_set_of_another_scale_is_one_line(shards: Path, capsys: Any) -> None:
    assert main(["--model", "edsr_x4+huo", "--data", str(shards)]) == 2
    assert f"{shards} has scale 2, not 4; give models of x2" in capsys.readouterr().err
