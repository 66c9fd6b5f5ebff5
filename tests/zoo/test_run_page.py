from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from zoo.cli import main
from zoo.errors import ConfigError
from zoo.run_files import read_metrics
from zoo.run_page import write_page

CONFIG = """scale: 2
model:
  class_path: zoo.modules.JSIGANModule
data:
  root: shards/<mine>
trainer:
  precision: bf16-mixed
"""
REPORT = {
    "model": "jsigan_x2",
    "psnr_before": 8.5,
    "psnr_after": 36.25,
    "psnr_after_matched": 37.5,
    "baselines": {
        "bicubic+bt2446c": {"raw": 34.0, "matched": 35.0},
        "bicubic+oracle": {"raw": 40.63, "matched": 40.63},
        "bicubic+none": {"raw": None, "matched": None},
    },
    "validation_frames": 2,
    "steps": 40,
    "precision": "bf16-mixed",
    "ranks": 2,
}
FRAMES = ("b<b>-00000", "a-00000")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """What tests look at in a page.

    Attributes:
        addresses: what its elements link to and load.
        text: all of it but scripts and styles.
        tags: each element's name and attributes.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self._skips = False
        self.feed(html)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skips = tag in ("script", "style")
        self.addresses += [value for key, value in attrs if key in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        self._skips = False

    def handle_data(self, data: str) -> None:
        if not self._skips:
            self._words.append(data)

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def write_metrics(run: Path, version: int, rows: list[dict[str, Any]]) -> Path:
    path = run / "csv" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


def training(first: int, last: int, loss: float) -> list[dict[str, Any]]:
    """Records of updates as the loggers write them; stage 2 begins after 20 updates."""
    return [
        {
            "epoch": step // 10,
            "step": step,
            "train/loss": loss / (step + 1),
            "stages/stage": 1 + (step >= 20),
            "stages/rate": 1e-4,
            "speed/samples_per_second": 12.0,
            "speed/data_wait": 0.25,
        }
        for step in range(first, last)
    ]


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((8, 12, 3), 128, np.uint8))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run of 40 updates, two of them validated, with three rounds of panels."""
    run = tmp_path / "runs" / "my run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    validations = [{"epoch": 1, "step": 19, "val/psnr": 30.0}, {"epoch": 3, "step": 39, "val/psnr": 36.0}]
    write_metrics(run, 0, training(0, 40, 1.0) + validations)
    (run / "report.json").write_text(json.dumps(REPORT))
    rows = ["epoch,step,stage,frame,scene,psnr,delta_e_itp"]
    rows += [f"1,20,1,{FRAMES[0]},b<b>,29.0,5.0", f"1,20,1,{FRAMES[1]},a,31.0,"]
    rows += [f"3,40,2,{FRAMES[0]},b<b>,37.5,4.0", f"3,40,2,{FRAMES[1]},a,34.5,"]
    (run / "scores.csv").write_text("\n".join(rows) + "\n")
    for name, epoch, stage in (("epoch-0000", 0, 1), ("epoch-0002-stage-2", 2, 2), ("epoch-0004", 4, 2)):
        for frame in FRAMES:
            write_picture(run / "panels" / name / f"{frame}.png")
            for panel in ("prediction", "I", "input"):
                write_picture(run / "panels" / name / frame / f"{panel}.png")
        figures = {FRAMES[1]: {"I": {"min": 0.25, "mean": 0.5, "max": None}}}
        facts = {"epoch": epoch, "step": 10 * epoch, "stage": stage, "frames": figures}
        (run / "panels" / name / "figures.json").write_text(json.dumps(facts))
    write_picture(run / "pictures" / "a-00000.png")
    return run


def page_of(run: Path) -> Page:
    path = write_page(run)
    assert path == run / "index.html"
    return Page(path.read_text(encoding="utf-8"))


def test_a_page_shows_what_the_files_of_a_finished_run_say(run: Path) -> None:
    page = page_of(run)
    assert "jsigan_x2 finished my run · data shards/<mine> · bf16-mixed · 2 ranks" in page.text
    assert "36.25 dB 2.25 dB above bicubic+bt2446c, the best static converter" in page.text
    assert "exposure-matched 37.50 dB" in page.text
    assert "steps 40 epoch 4, stage 2" in page.text
    assert "samples per second 12 25 % of the time waits for data" in page.text
    # Scores from the best down; what has none is left out.
    table = page.text[page.text.index("PSNR in dB on 2 held-out frames") :]
    names = re.findall(r"bicubic\+\w+|weights after training|weights before", table)
    assert names[:4] == ["bicubic+oracle", "weights after training", "bicubic+bt2446c", "weights before"]
    assert "bicubic+none" not in page.text
    for title in ("Training: Loss", "Validation: PSNR, raw", "Stages: Learning rate", "Speed: Waiting for data"):
        assert title in page.text
    assert "class_path: zoo.modules.JSIGANModule" in page.text


def test_the_newest_validation_is_shown_frame_by_frame(run: Path) -> None:
    page = page_of(run)
    assert "Validation after epoch 4, step 40" in page.text
    assert "b<b>-00000 b<b> 37.50 4.00 +8.50" in page.text
    assert "a-00000 a 34.50 - +3.50" in page.text
    assert len(page.of_class("spark")) == 2


def test_curves_show_where_stage_two_began_and_what_the_baselines_reach(run: Path) -> None:
    html = write_page(run).read_text(encoding="utf-8")
    charts = re.findall(r'class="chart".*?<figcaption>([^<]*).*?<svg(.*?)</svg>', html)
    levels = {title: chart.count('class="level"') for title, chart in charts}
    assert levels.pop("Validation: PSNR, raw") == 2
    assert set(levels.values()) == {0}
    marked = {title for title, chart in charts if 'class="mark"' in chart}
    assert marked == {title for title, _ in charts}
    assert read_metrics(run).switch == 20
    points = dict(read_metrics(run).curves["train/loss"])
    assert points[1] == 1.0
    assert list(points) == list(range(1, 41))


def test_panels_are_there_round_by_round_in_the_order_in_which_they_are_looked_at(run: Path) -> None:
    page = page_of(run)
    rounds = [attributes["data-title"] for attributes in page.of_class("round")]
    assert rounds == ["epoch 4, step 40, stage 2", "epoch 2, step 20, stage 2", "epoch 0, step 0, stage 1"]
    shown = [unquote(address) for address in page.addresses if address.startswith("panels/epoch-0004/a-00000/")]
    assert [Path(path).stem for path in shown[1::2]] == ["input", "prediction", "I"]
    assert "I min 0.25, mean 0.5" in page.text


def test_a_page_loads_nothing_from_elsewhere_and_links_to_files_that_exist(run: Path) -> None:
    page = page_of(run)
    for address in page.addresses:
        if address.startswith("#"):
            assert address[1:] in {attributes.get("id") for _, attributes in page.tags}
        elif address != "data:,":
            assert (run / unquote(address)).is_file(), address
    assert not re.search(r"https?://|@import|url\(", (run / "index.html").read_text(encoding="utf-8"))


def test_a_resumed_run_goes_on_where_its_later_start_began(run: Path) -> None:
    write_metrics(run, 2, training(30, 35, 2.0))
    write_metrics(run, 10, training(33, 45, 3.0))  # the tenth comes after the second
    metrics = read_metrics(run)
    loss = dict(metrics.curves["train/loss"])
    assert list(loss) == list(range(1, 46))
    assert [loss[step] * step for step in (30, 31, 33, 34, 45)] == pytest.approx([1, 2, 2, 3, 3])
    assert dict(metrics.curves["val/psnr"]) == {20: 30.0}  # the other was of what was done again
    assert metrics.step == 45
    # Its report is of before.
    page = page_of(run)
    assert "not finished" in page.text
    assert "it was gone on with since" in page.text
    assert "best validation PSNR, raw 30.00 dB at step 20" in page.text


def test_a_line_that_a_kill_cut_short_is_left_out(run: Path) -> None:
    path = run / "csv" / "version_0" / "metrics.csv"
    path.write_text(path.read_text() + "4,0.2")
    assert read_metrics(run).step == 40
    path.write_text(path.read_text() + "5x,1,1\nnonsense,,,,\n")
    assert read_metrics(run).step == 40
    (run / "report.json").write_text('{"model": "jsi')
    assert "not finished" in page_of(run).text


def test_the_page_of_a_run_that_has_only_begun_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    page = page_of(tmp_path)
    assert "JSIGAN x2 not finished" in page.text
    assert not page.of_class("chart")
    assert "Configuration" in page.text
    (tmp_path / "config.yaml").write_text("")  # claimed a moment ago
    assert "not finished" in page_of(tmp_path).text


def test_scores_that_are_none_are_no_scores(run: Path) -> None:
    report = {**REPORT, "psnr_before": None, "psnr_after": None, "psnr_after_matched": None, "validation_frames": 0}
    report["baselines"] = {"bicubic+oracle": {"raw": None, "matched": None}}
    (run / "report.json").write_text(json.dumps(report))
    (run / "scores.csv").unlink()
    assert "nothing was scored" in page_of(run).text


def test_a_page_that_cannot_be_written_leaves_the_old_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_page(run)
    before = (run / "index.html").read_bytes()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_page(run)
    assert (run / "index.html").read_bytes() == before
    assert not list(run.glob("*.part"))


def test_the_command_writes_a_page_and_refuses_a_folder_without_a_run(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'index.html'}\n"
    with pytest.raises(ConfigError):
        write_page(run.parent)
    assert main(["report", str(run.parent)]) == 2
    assert capsys.readouterr().err == f"error: {run.parent} is no folder of a run: it has no config.yaml\n"


# Uses the page as a reader does, then notes what came of it.
USE = """
<script>
addEventListener("load", () => {
  const note = (name, value) => { document.documentElement.dataset[name] = JSON.stringify(value); };
  const visible = () => [...document.querySelectorAll(".round")].filter((r) => !r.hidden).map((r) => r.dataset.title);
  const column = (n) => [...document.querySelectorAll("#frames tbody tr")].map((row) => row.cells[n].textContent);
  note("first", visible());
  document.querySelector(".rounds button").click();
  note("earlier", visible());
  const slider = document.querySelector("#round");
  slider.value = 0;
  slider.dispatchEvent(new Event("input"));
  note("slid", visible());
  const [frame, , psnr, de] = document.querySelectorAll("#frames th button");
  note("table", column(2));
  psnr.click(); note("falling", column(2));
  psnr.click(); note("rising", column(2));
  frame.click(); note("names", column(0));
  de.click(); note("gaps", column(3));
  const svg = document.querySelector(".chart svg");
  const box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", {clientX: box.right, clientY: box.top + 9, bubbles: true}));
  note("reading", document.querySelector(".chart .reading").textContent);
  const images = [...document.querySelectorAll(".round:not([hidden]) img, .picture img")];
  images.forEach((image) => { image.loading = "eager"; });
  Promise.all(images.map((image) => image.decode())).then(
    () => note("images", images.map((image) => image.naturalWidth)), (error) => note("images", String(error)));
  note("wide", document.documentElement.scrollWidth > innerWidth);
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on the PATH to open the page with")
def test_a_browser_draws_the_curves_sorts_the_table_and_goes_through_the_panels(run: Path, tmp_path: Path) -> None:
    html = write_page(run).read_text(encoding="utf-8")
    (run / "used.html").write_text(html.replace("</body>", f"{USE}</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    options += ["--window-size=1400,1000", "--virtual-time-budget=30000", "--dump-dom"]
    for _ in range(3):  # a browser that a busy machine starves dumps the page before its pictures are decoded
        dumped = subprocess.run(
            [str(CHROMIUM), *options, (run / "used.html").as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        if "data-images" in dumped:
            break
    (root,) = [attributes for tag, attributes in Page(dumped).tags if tag == "html"]
    assert "data-error" not in root
    assert root["data-ready"] == "true"
    notes = {key.removeprefix("data-"): json.loads(value or "null") for key, value in root.items() if key != "lang"}
    assert notes["first"] == ["epoch 4, step 40, stage 2"]
    assert notes["earlier"] == ["epoch 2, step 20, stage 2"]
    assert notes["slid"] == ["epoch 0, step 0, stage 1"]
    assert notes["table"] == notes["falling"] == ["37.50", "34.50"]
    assert notes["rising"] == ["34.50", "37.50"]
    assert notes["names"] == ["a-00000", "b<b>-00000"]
    assert notes["gaps"] == ["4.00", "-"]
    assert notes["reading"].startswith("step 40")
    assert notes["images"] == [12] * 7  # six panels and a picture, each of 12 pixels
    assert notes["wide"] is False
    lines = [attributes["points"] or "" for attributes in Page(dumped).of_class("curve")]
    assert len(lines) >= 5
    assert all(len(line.split()) >= 2 and "NaN" not in line for line in lines)
