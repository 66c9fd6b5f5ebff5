"""From a run to a file that anyone loads by name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

import tools.publish
import zoo
from datamodules.manifest import Manifest
from datamodules.shards import Sample, write_shard
from tests.zoo.evaluation.conftest import SIGNALS, smooth_codes, write_set
from tests.zoo.mirror import Mirror
from zoo import hub, publish, runs
from zoo.cli import main as cli
from zoo.errors import WeightsError
from zoo.evaluation.command import main as evaluate
from zoo.evaluation.running import Scorer
from zoo.files import sha256_of
from zoo.fit import main as fit
from zoo.hub_index import parse_index
from zoo.weights import read_weights, write_weights

NAME = "multipurpose_cnn_x2"  # the smallest


def metadata(name: str = NAME) -> dict[str, Any]:
    card = zoo.info(name)
    return {"name": name, "net": card.net, "args": {"scale": 2}, "input": card.input, "output": card.output}


def with_small_frames(photographs: Path, folder: Path) -> Path:
    """The set's patches to train on, with two frames of 64x48 to validate on: whole ones take a minute here."""
    shutil.copytree(photographs, folder)
    frames = [
        Sample(
            f"scene{number}-00000",
            smooth_codes(number, 24, 32, 16, 235).astype(np.uint8),
            smooth_codes(number, 48, 64, 64, 700).astype(np.uint16),
            {"scene": f"scene{number}"},
        )
        for number in range(2)
    ]
    manifest = Manifest.read(folder)
    val = (write_shard(folder / "small.tar", frames),)
    replace(manifest, splits={**manifest.splits, "val": val}).write(folder)
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to publish into, beside ``w.safetensors``, its ``scores.json`` and a data card."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_set(tmp_path / "shards", SIGNALS)
    torch.manual_seed(0)
    write_weights(tmp_path / "w.safetensors", zoo.create(NAME).state_dict(), metadata())
    (tmp_path / "data.md").write_text("Eight photographs, CC0.\n")
    score("w.safetensors")
    return tmp_path / "site"


def score(weights: str) -> None:
    words = ["--data", "shards", "--metrics", "psnr,ssim", "--worst", "0", "-o", "results"]
    assert evaluate(["--model", weights, *words]) == 0


def run(*changes: str) -> int:
    """``tools/publish.py`` with options that are right but for ``changes``."""
    options = {
        "--name": NAME,
        "--tag": "v1",
        "--scores": "results/scores.json",
        "--license": "CC0-1.0",
        "--data-card": "data.md",
        "-o": "site",
    }
    options |= dict(zip(changes[::2], changes[1::2], strict=True))
    weights = options.pop("WEIGHTS", "w.safetensors")
    return tools.publish.main([weights, *(word for pair in options.items() for word in pair)])


def test_a_run_is_trained_scored_published_served_and_loaded_by_name(
    recipe: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    small = with_small_frames(photographs, tmp_path / "small")
    jsinet = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null"]
    words = ["--data.root", str(small), "--data.crop", "[32]", "--trainer.max_epochs", "1"]
    assert fit(["--config", str(recipe), *jsinet, *words]) == 0
    trained = Path("runs/tiny/weights.safetensors")
    words = ["--data", str(small), "--split", "val", "--metrics", "psnr", "--worst", "0"]
    assert evaluate(["--model", "runs/tiny", *words, "-o", "results"]) == 0
    (tmp_path / "data.md").write_text("Two photographs, CC0.\n")
    assert run("WEIGHTS", str(trained), "--name", "jsinet_x2") == 0
    printed = capsys.readouterr().out
    assert "moved by" in printed

    site = tmp_path / "site"
    files = {"README.md", "SHA256SUMS", "index.json"}
    files |= {f"jsinet_x2.v1.{suffix}" for suffix in ("safetensors", "md", "scores.json", "yaml")}
    assert {path.name for path in site.iterdir()} == files
    with Mirror(site).running() as mirror:
        net = zoo.load("jsinet_x2", source=mirror.url)
    original, published = (zoo.load("jsinet_x2", weights=path) for path in (trained, site / "jsinet_x2.v1.safetensors"))
    x = publish.probe()
    with torch.no_grad():
        assert torch.equal(net(x), published(x))  # to the bit
        moved = 1023 * (net(x) - original(x)).abs().max()
    stated = float(printed.rpartition("at most ")[2].split()[0])
    assert 0 < moved <= stated + 0.005

    # The card's command gives the card's score, and says of which file.
    (weights,) = parse_index((site / "index.json").read_text(), "index.json")
    assert weights.command.startswith("python tools/evaluate.py --model jsinet_x2.v1 --data ")
    assert evaluate([*weights.command.split()[2:], "-o", "again"]) == 0
    again = json.loads(Path("again/scores.json").read_text())["models"][0]
    assert again["scores"]["psnr"]["mean"] == pytest.approx(weights.scores["psnr"], abs=1e-6)
    assert again["sha256"] == weights.sha256
    kept = read_weights(site / "jsinet_x2.v1.safetensors")
    assert {tensor.dtype for tensor in kept[0].values()} == {torch.float16}
    assert kept[1]["published_from"] == sha256_of(trained)
    config, run_s = (
        yaml.safe_load(path.read_text()) for path in (site / "jsinet_x2.v1.yaml", trained.with_name("config.yaml"))
    )
    assert (run_s["data"]["root"], config["data"]["root"]) == (str(small), "small")  # where it lay is nobody's business
    assert config["model"] == run_s["model"]
    assert weights.facts["config (SHA-256)"] == sha256_of(site / "jsinet_x2.v1.yaml")
    assert "parameters" not in weights.facts  # as the model's card has it
    assert str(tmp_path) not in (site / "jsinet_x2.v1.yaml").read_text()


def test_a_folder_says_of_itself_what_it_holds(site: Path) -> None:
    assert run() == 0
    assert run("--tag", "v1_fp32") == 0
    full = f"{NAME}.v1"
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=site, capture_output=True, text=True, check=True)
    assert sums.stdout == f"{full}.safetensors: OK\n{NAME}.v1_fp32.safetensors: OK\n"

    text = (site / f"{full}.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == (
        "cc0-1.0",
        "sritm-zoo",
        "image-to-image",
    )
    (weights, single) = parse_index((site / "index.json").read_text(), "index.json")
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "psnr", "value": pytest.approx(weights.scores["psnr"], abs=1e-4)}
    assert head["sritm"]["sha256"] == weights.sha256
    for part in (
        "46,620",
        "7 rows",
        "Eight photographs, CC0.",
        "quantity:",
        "@inproceedings{multipurpose_cnn",
        weights.command,
    ):
        assert part in text
    assert "finite in float32, bfloat16, float16" in text
    readme = (site / "README.md").read_text()
    assert len(yaml.safe_load(readme.split("---\n")[1])["model-index"]) == 2
    assert f"[{full}]({full}.md)" in readme
    assert "&id" not in readme + text  # every parser of YAML reads it
    details = json.loads((site / f"{full}.scores.json").read_text())
    assert [model["label"] for model in details["models"]] == [full, "as trained"]
    assert str(site.parent) not in "".join(path.read_text() for path in site.iterdir() if path.suffix != ".safetensors")
    assert {tensor.dtype for tensor in read_weights(site / single.file)[0].values()} == {torch.float32}
    assert weights.bytes < 0.52 * single.bytes


def test_a_tag_may_be_judged_on_several_sets_beside_baselines_and_its_note_stands_wherever_it_is_named(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    light = np.exp(smooth_codes(0, 128, 256, -2, 2)).astype(np.float32)
    assert cv2.imwrite("pan.hdr", light)  # a panorama, of which a preset makes four pairs
    models = ["--model", "w.safetensors", "bicubic+bt2446c", f"{NAME}=./w.safetensors", "--metrics", "psnr,ssim"]
    assert evaluate([*models, "--data", "shards", "--worst", "0", "-o", "on-shards"]) == 0
    assert evaluate([*models, "--data", "pan.hdr", "--preset", "mixed", "--worst", "0", "-o", "on-mixed"]) == 0
    monkeypatch.setattr(hub, "SHIPPED", site)
    note = "Reaches 12 dB, 2 dB short of its goal."
    words = ["--license", "CC0-1.0", "--data-card", "data.md", "-o", "site", "--note", note]
    scores = ["--scores", "on-shards/scores.json", "on-mixed/scores.json"]
    assert tools.publish.main(["w.safetensors", "--name", NAME, "--tag", "v1", *scores, *words]) == 0

    card = (site / f"{NAME}.v1.md").read_text()
    results = yaml.safe_load(card.split("---\n")[1])["model-index"][0]["results"]
    assert [result["dataset"]["name"] for result in results] == [
        "shards (test) at x2, 4 frames",
        "pan.hdr at x2, 4 frames, SDR by preset mixed",
    ]
    (weights,) = hub.known()
    assert weights.scores["psnr"] == pytest.approx(results[0]["metrics"][0]["value"], abs=1e-4)
    assert weights.note == note == zoo.info(NAME).weights[0].note
    assert weights.data_card == "Eight photographs, CC0."
    assert f"**{note}**" in card
    assert f"`{NAME}.v1`: {note}" in (site / "README.md").read_text()

    # The baseline's line has its own means, and what the network has more on the same frames; a path says nothing.
    for folder, part in (("on-shards", ""), ("on-mixed", "-2")):
        content = json.loads(Path(folder, "scores.json").read_text())["models"]
        mine, theirs = (model["scores"]["psnr"]["mean"] for model in content[:2])
        details = json.loads((site / f"{NAME}.v1.scores{part}.json").read_text())
        stored = details["models"][0]["scores"]["psnr"]["mean"]
        assert abs(stored - mine) < 0.01
        assert f"| `bicubic+bt2446c` | {theirs:.2f} ({stored - theirs:+.2f}" in card
    assert len(re.findall(r"; [-+][0-9.]+ to [-+][0-9.]+\)", card)) == 2  # one scene alone has no interval
    assert "w.safetensors" not in card

    command = next(line.strip() for line in card.splitlines() if "--preset mixed" in line)
    assert evaluate([*command.split()[2:], "-o", "again"]) == 0
    again = json.loads(Path("again/scores.json").read_text())["models"][0]["scores"]["psnr"]["mean"]
    assert again == pytest.approx(results[1]["metrics"][0]["value"], abs=1e-4)
    capsys.readouterr()
    assert cli(["show", f"{NAME}.v1"]) == 0
    shown = capsys.readouterr().out
    assert f"note  {note}" in shown
    assert "trained on  Eight photographs, CC0." in shown


def test_both_files_are_scored_anew_whatever_lies_beside_the_scores(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = []
    score = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, model, frame: scored.append(model) or score(self, model, frame))
    assert run() == 0
    assert len(scored) == 8
    shutil.rmtree("site")

    # Rows and scores that were raised alike agree with each other.
    rows = [json.loads(line) for line in Path("results/rows-0.jsonl").read_text().splitlines()]
    content = json.loads(Path("results/scores.json").read_text())
    (model,) = content["models"]
    for scores in (*(row["scores"] for row in rows), *(frame["scores"] for frame in model["frames"])):
        scores["psnr"] += 20
    model["scores"]["psnr"]["mean"] += 20
    Path("results/rows-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("results/scores.json").write_text(json.dumps(content))
    assert run() == 2
    assert "doesn't come out again: psnr is" in capsys.readouterr().err
    assert not site.exists()


def test_publications_at_once_all_come_into_the_index_and_none_replaces_another(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = publish._check_again

    def publish_another(*arguments: Any) -> None:
        monkeypatch.setattr(publish, "_check_again", again)
        assert run("--tag", other) == 0
        again(*arguments)

    other = "v2"
    monkeypatch.setattr(publish, "_check_again", publish_another)
    assert run() == 0
    assert [each.tag for each in parse_index((site / "index.json").read_text(), "")] == ["v1", "v2"]
    other = "v3"
    monkeypatch.setattr(publish, "_check_again", publish_another)
    assert run("--tag", "v3") == 2
    assert f"publish.py: {NAME}.v3 is published already" in capsys.readouterr().err

    holder = "import sys, time, zoo.runs, pathlib; zoo.runs.lock_folder(pathlib.Path('site')); print(); time.sleep(60)"
    command = [sys.executable, "-c", holder]
    monkeypatch.setattr(runs, "_PATIENCE", 0.1)
    root = Path(zoo.__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert run("--tag", "v4") == 2
        process.kill()
    assert "publish.py: site is being written by another process" in capsys.readouterr().err


def test_a_file_that_a_lost_index_named_is_not_replaced_by_another(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    (site / "index.json").unlink()
    assert run() == 0  # a publication that was stopped may be repeated
    (site / "index.json").unlink()
    before = (site / f"{NAME}.v1.safetensors").read_bytes()
    torch.manual_seed(1)
    write_weights(Path("w.safetensors"), zoo.create(NAME).state_dict(), metadata())
    score("w.safetensors")
    assert run() == 2
    assert "has other bytes and isn't in index.json: restore the index" in capsys.readouterr().err
    assert (site / f"{NAME}.v1.safetensors").read_bytes() == before


def test_the_card_is_of_the_network_that_the_file_builds(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net = zoo.create("jsinet_x2", subnets=["ir"])
    facts = metadata("jsinet_x2") | {"args": {"scale": 2, "subnets": ["ir"]}}
    write_weights(Path("w.safetensors"), net.state_dict(), facts)
    score("w.safetensors")
    assert run("--name", "jsinet_x2") == 0
    monkeypatch.setattr(hub, "SHIPPED", site)
    capsys.readouterr()
    assert cli(["show", "jsinet_x2.v1"]) == 0
    shown, card = capsys.readouterr().out, (site / "jsinet_x2.v1.md").read_text()
    count = sum(parameter.numel() for parameter in net.parameters())
    macs = zoo.info("jsinet_x2").weights[0].facts["multiply-adds for a pixel of the output"]
    assert int(macs.replace(",", "")) < zoo.info("jsinet_x2").macs_per_pixel / 2
    for text, separator in ((shown, "  "), (card, " | ")):
        assert f"built with{separator}subnets ['ir']" in text
        assert f"parameters{separator}{count:,}" in text
        assert f"reach{separator}11 rows and 11 columns" in text
        assert macs in text
    assert "1,454,159" not in card


def test_publishing_the_same_weights_gives_the_same_bytes(site: Path) -> None:
    assert run() == run("-o", "other") == 0
    file = f"{NAME}.v1.safetensors"
    assert (site / file).read_bytes() == (site.parent / "other" / file).read_bytes()


def test_what_is_published_into_the_package_is_shipped(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SHIPPED", site)
    assert run() == 0
    assert hub.find(NAME)[1] == site / f"{NAME}.v1.safetensors"
    assert zoo.list_models(pretrained=True) == [f"{NAME}.v1"]
    zoo.load(NAME)


def test_a_published_tag_never_changes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    before = {path.name: path.read_bytes() for path in site.iterdir()}
    torch.manual_seed(1)
    write_weights(Path("w.safetensors"), zoo.create(NAME).state_dict(), metadata())
    score("w.safetensors")
    assert run() == 2
    assert f"publish.py: {NAME}.v1 is published already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in site.iterdir()} == before
    assert run("--tag", "v2") == 0
    assert (site / f"{NAME}.v1.safetensors").read_bytes() == before[f"{NAME}.v1.safetensors"]


@pytest.mark.parametrize(
    ("most_loss", "most_bytes", "stored"),
    [
        (0.01, 8_000_000, "float16"),
        (-1.0, 8_000_000, "float32"),  # nothing is good enough
        (-1.0, 900_000, "float16, biases float32"),  # float32 has a megabyte
        (-1.0, 400_000, "float16"),
    ],
)
def test_where_float16_loses_too_much_biases_and_then_everything_stay_float32(
    most_loss: float, most_bytes: int, stored: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MOST_LOSS", most_loss)
    monkeypatch.setattr(publish, "MOST_BYTES", most_bytes)
    monkeypatch.setattr(publish, "_check_again", lambda *arguments: None)  # it has the same bound
    assert run() == 0
    tensors, facts = read_weights(site / f"{NAME}.v1.safetensors")
    assert facts["stored"] == stored
    bias, kernel = (tensors[f"itm.0.{name}"].dtype for name in ("bias", "weight"))
    assert (bias, kernel) == {
        "float16": (torch.float16, torch.float16),
        "float16, biases float32": (torch.float32, torch.float16),
        "float32": (torch.float32, torch.float32),
    }[stored]


def test_a_number_that_float16_cannot_hold_keeps_its_tensor_in_float32_and_the_card_says_what_bears_what(
    site: Path,
) -> None:
    state = zoo.create(NAME).state_dict()
    state["itm.0.bias"][0] = 1e6
    for key in state:  # no prediction follows from it
        if key.startswith("itm.2."):
            state[key].zero_()
    write_weights(Path("w.safetensors"), state, metadata())
    score("w.safetensors")
    assert run() == 0
    tensors, facts = read_weights(site / f"{NAME}.v1.safetensors")
    assert [key for key, tensor in tensors.items() if tensor.dtype == torch.float32] == ["itm.0.bias"]
    assert facts["half_precision"] == ["bfloat16"]  # infinity times 0 is NaN in the other
    assert zoo.load(NAME, source=str(site)).half_precision == (torch.bfloat16,)
    assert "finite in float32, bfloat16." in (site / f"{NAME}.v1.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--scores", "none.json"], "none.json is no scores.json of tools/evaluate.py (FileNotFoundError"),
        (["--scores", "data.md"], "data.md is no scores.json of tools/evaluate.py (JSONDecodeError"),
        (["--license", ""], "--license '' is no SPDX identifier"),
        (["--license", "do what you like"], "is no SPDX identifier"),
        (["--license", "None"], "--license 'None' is no SPDX identifier"),
        (["--license", "unknown"], "--license 'unknown' is no SPDX identifier"),
        (["--note", "\x1b[2J"], "--note or --data-card data.md can't be"),
        (["-o", "data.md"], "is no folder that can be written to"),
        (["-o", "data.md/site"], "is no folder that can be written to"),
        (["--data-card", "none.md"], "data card none.md can't be read (No such file"),
        (["--data-card", "empty.md"], "data card empty.md is empty"),
        (["--tag", "paper"], "--tag paper is for the authors' weights, which aren't passed on"),
        (["--tag", "v0"], "--tag v0 can't be; use v1, v2"),
        (["--tag", "../v1"], "--tag ../v1 can't be"),
        (["--name", "jsinet_x2"], f"w.safetensors holds {NAME}, not jsinet_x2"),
        (["--name", "jsinet_x3"], "no model 'jsinet_x3'"),
        (["WEIGHTS", "none.safetensors"], "no weights file none.safetensors"),
    ],
)
def test_what_is_missing_or_wrong_is_refused_in_one_line_and_nothing_is_written(
    changes: list[str], message: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.md").write_text(" \n")
    assert run(*changes) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("publish.py")]
    assert message in line
    assert not site.exists()


def test_scores_and_licence_and_data_card_must_be_given(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tools.publish.main(["w.safetensors", "--name", NAME, "--tag", "v1"])
    assert "required: --scores, --license, --data-card" in capsys.readouterr().err


def test_scores_of_another_file_or_of_a_part_or_that_do_not_come_out_again_are_refused(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("results/scores.json")
    true = json.loads(path.read_text())

    def refused(change: Any) -> str:
        content = json.loads(json.dumps(true))
        change(content)
        path.write_text(json.dumps(content))
        assert run() == 2
        assert not site.exists()
        return capsys.readouterr().err

    def set_psnr(content: Any) -> None:
        content["models"][0]["scores"]["psnr"]["mean"] += 0.02
        for frame in content["models"][0]["frames"]:
            frame["scores"]["psnr"] += 0.02

    def set_mean(mean: Any) -> Any:
        return lambda content: content["models"][0]["scores"]["psnr"].update(mean=mean)

    assert "has no scores of w.safetensors" in refused(lambda c: c["models"][0].update(sha256="0" * 64))
    assert "not of all" in refused(lambda c: c["data"].update(items=1))
    assert "not of all" in refused(lambda c: c["models"][0].update(failures=[{"frame": "x", "error": "y"}]))
    assert "has no psnr" in refused(lambda c: c["models"][0]["scores"].pop("psnr"))
    assert "no command that can be repeated" in refused(lambda c: c.update(command="python tools/evaluate.py --x"))
    assert "doesn't come out again: psnr is" in refused(set_psnr)
    assert "contradicts itself: psnr of w.safetensors is 50.0000, its frames have" in refused(set_mean(50.0))
    assert "isn't a finite number" in refused(set_mean(float("nan")))
    assert "isn't a finite number" in refused(set_mean("inf"))
    assert "is no scores.json" in refused(lambda c: c["models"][0]["scores"].update(psnr={}))
    assert "is no scores.json" in refused(lambda c: c["models"][0].update(frames=[{}]))
    beside = {**true["models"][0], "label": "bicubic+oracle", "name": "bicubic+oracle", "sha256": None}
    beside["scores"] = {"psnr": {"mean": 12.0}}
    assert "contradicts itself: psnr of bicubic+oracle is 12.0000" in refused(lambda c: c["models"].append(beside))
    path.write_text("[" * 200_000)
    assert run() == 2
    assert "is no scores.json of tools/evaluate.py (ValueError: it is nested too deeply)" in capsys.readouterr().err
    path.write_text(json.dumps(true))
    assert run() == 0


def test_weights_that_somebody_else_gave_terms_to_are_not_given_others(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = {"license": "For research only, and not to be passed on."}
    write_weights(Path("w.safetensors"), zoo.create(NAME).state_dict(), metadata() | terms)
    score("w.safetensors")
    assert run() == 2
    assert "has a licence already, and it isn't CC0-1.0: For research only" in capsys.readouterr().err
    assert not site.exists()


def test_weights_of_no_use_are_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = zoo.create(NAME).state_dict()
    write_weights(Path("w.safetensors"), {key: tensor * 1e30 for key, tensor in state.items()}, metadata())
    scores = json.loads(Path("results/scores.json").read_text())
    scores["models"][0]["sha256"] = sha256_of(Path("w.safetensors"))
    Path("results/scores.json").write_text(json.dumps(scores))
    assert run() == 2
    assert "gives NaN or infinity on black, white or noise" in capsys.readouterr().err
    shutil.copy("w.safetensors", "nameless.safetensors")
    write_weights(Path("nameless.safetensors"), state, {})
    assert run("WEIGHTS", "nameless.safetensors") == 2
    assert "doesn't say what it is" in capsys.readouterr().err


def test_a_card_that_contradicts_its_file_is_found(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.model_card import check_head

    monkeypatch.setattr(hub, "SHIPPED", site)
    assert run() == 0
    assert cli(["verify"]) == 0
    card = site / f"{NAME}.v1.md"
    (weights,) = hub.known()
    card.write_text(card.read_text().replace("license: CC0-1.0", "license: MIT"))
    with pytest.raises(WeightsError, match=r"v1\.md contradicts .*: its license is MIT, not CC0-1\.0"):
        check_head(weights, card)
    assert cli(["verify"]) == 1
    card.write_text("# no head")
    with pytest.raises(WeightsError, match="has no head"):
        check_head(weights, card)
