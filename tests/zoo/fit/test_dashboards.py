"""Where a run's records go: CSV, W&B offline and online, other loggers, and the workspace that lays them out."""

from __future__ import annotations

import csv
import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.datamodules.conftest import MakeSet, make_set  # noqa: F401
from tests.wandb_records import config, history, offline_files, run_ids
from zoo.cli import main as sritm
from zoo.errors import ConfigError
from zoo.fit import FitCLI, main
from zoo.fit.dashboards import GuardedCSVLogger, GuardedWandbLogger, loggers
from zoo.fit.workspace import build_workspace, find_panels, save, spec
from zoo.metrics import PSNR
from zoo.runs import CLAIMED

from pytorch_lightning.loggers import CSVLogger  # isort: skip

# The recipe as a JSInet run of one stage, each update logged.
JSINET = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null", "--data.crop", "[32]"]
EACH = ["--trainer.log_every_n_steps", "1"]


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine without a W&B key; little is scored at the end, which is another test's subject."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("callbacks.run_report.BASELINES", ("bicubic+bt2446c",))
    monkeypatch.setattr("callbacks.run_report.MatchedPSNR", PSNR)
    yield
    os.environ.pop(CLAIMED, None)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A claimed folder."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("scale: 2\ndata: {root: somewhere}\n")
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ``wandb.init`` is called with; nothing is started, and ``online`` fails."""
    calls: list[dict[str, Any]] = []

    class Run:
        id = "abc"

        def define_metric(self, *args: Any, **options: Any) -> None:
            pass

    def init(**options: Any) -> Run:
        calls.append(options)
        if options["mode"] == "online":
            raise TimeoutError("no\nanswer")
        return Run()

    monkeypatch.setattr("wandb.init", init)
    return calls


def test_an_offline_run_holds_scalars_panels_tables_and_its_configuration(
    recipe: Path,
    make_set: MakeSet,  # noqa: F811
) -> None:
    small = ["--data.root", str(make_set(train=(8,), val=(3,), size=32))]
    assert main(["--config", str(recipe), *JSINET, *EACH, *small, "--panels.frames", "1"]) == 0
    run = Path("runs/tiny")
    (path,) = offline_files(run)
    records = history(path)

    # Scalars in their sections, each with its step.
    scalars = {key: row for row in records for key in row}
    assert {"train/loss", "val/psnr", "val/delta_e_itp", "stages/stage", "stages/rate", "data/samples"} <= set(scalars)
    assert {"speed/samples_per_second", "speed/data_wait"} <= set(scalars)
    assert all("trainer/global_step" in row for row in records)
    losses = {row["trainer/global_step"]: row["train/loss"] for row in records if "train/loss" in row}
    with next(run.glob("csv/version_0/metrics.csv")).open(newline="") as file:
        written = {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]}
    assert losses == pytest.approx(written)
    assert list(losses) == [0, 1, 2, 3]

    # Panels as pictures that are there, the table with a row for each frame.
    media = path.parent / "files"
    pictures = [value for row in records for key, value in row.items() if key.startswith("panels/")]
    assert {key for row in records for key in row if key.startswith("panels/")} >= {
        f"panels/val-000/{name}" for name in ("input", "prediction", "truth", "error", "I", "D", "C")
    }
    assert all((media / name).is_file() for value in pictures for name in value["filenames"])
    tables = [row["val/frames"] for row in records if "val/frames" in row]
    assert len(tables) == 2
    table = json.loads((media / tables[-1]["path"]).read_text())
    assert table["columns"][:6] == ["epoch", "step", "stage", "frame", "scene", "psnr"]
    with (run / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["step"] == "4"]
    assert [row[3] for row in table["data"]] == [row["frame"] for row in rows]
    assert [row[5] for row in table["data"]] == pytest.approx([float(row["psnr"]) for row in rows])

    # The configuration as it was resolved.
    kept = yaml.safe_load((run / "config.yaml").read_text())
    logged = config(path)
    assert {key: logged[key] for key in kept} == kept
    assert logged["trainer"]["precision"] == kept["trainer"]["precision"] is not None

    # A workspace leaves nothing out.
    drawn = {key for charts in sections(build_workspace("")).values() for keys in charts.values() for key in keys}
    own = {key for key in scalars if not key.startswith(("panels/", "trainer/", "_")) and key != "epoch"}
    assert own - {"val/frames"} <= drawn

    # The page of the run is there too, and can be written again.
    before = (run / "index.html").read_text(encoding="utf-8")
    assert "val-000" in before
    assert sritm(["report", str(run)]) == 0

    # Gone on with, the run keeps its id, and its steps go on.
    longer = ["--ckpt_path", "last", "--trainer.max_epochs", "3", "--panels.frames", "0"]
    assert main(["--config", str(recipe), *JSINET, *EACH, *small, *longer]) == 0
    first, second = offline_files(run)
    assert run_ids(first) == run_ids(second) == {(run / "wandb_id.txt").read_text().strip()}
    assert [row["trainer/global_step"] for row in history(second) if "train/loss" in row] == [4, 5]


def test_a_fresh_run_has_an_id_of_its_own_and_a_resumed_one_the_folders(
    run_dir: Path, started: list[dict[str, Any]]
) -> None:
    for resume in (True, False, True):
        list(loggers(run_dir, None, resume))
    assert [call["id"] for call in started] == [None, None, "abc"]
    assert {call["resume"] for call in started} == {"allow"}
    assert started[0]["config"] == {"scale": 2, "data": {"root": "somewhere"}}
    assert (started[0]["name"], started[0]["project"], started[0]["mode"]) == ("mine", "sritm-zoo", "offline")


@pytest.mark.parametrize("key", ["environment", "netrc", "netrc of another server"])
def test_with_a_key_it_is_online_and_offline_where_nobody_answers(
    key: str,
    run_dir: Path,
    started: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if key == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "secret")
    else:
        host = "api.wandb.ai" if key == "netrc" else "example.org"
        (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password secret\n")
        (tmp_path / "netrc").chmod(0o600)
    with caplog.at_level(logging.WARNING):
        kinds = [type(each) for each in loggers(run_dir, True, False)]
    assert kinds == [GuardedCSVLogger, GuardedWandbLogger]
    if key == "netrc of another server":
        assert [call["mode"] for call in started] == ["offline"]
    else:
        assert [call["mode"] for call in started] == ["online", "offline"]
        assert caplog.messages == ["W&B can't be reached (no answer): this run is logged offline"]


def test_where_wandb_cannot_start_or_is_off_the_csv_file_is_left(
    run_dir: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert [type(each) for each in loggers(run_dir, None, False)] == [GuardedCSVLogger]
    assert not started
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("wandb.init", lambda **options: (_ for _ in ()).throw(OSError("no process")))
    with caplog.at_level(logging.WARNING):
        assert [type(each) for each in loggers(run_dir, None, False)] == [GuardedCSVLogger]
    assert caplog.messages == [f"W&B is off for this run (no process); scalars are in {run_dir / 'csv'}"]
    assert list(loggers(run_dir, False, False)) == []


def test_other_ranks_start_nothing(
    run_dir: Path, started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [type(each) for each in loggers(run_dir, None, False)] == [GuardedCSVLogger, GuardedWandbLogger]
    assert not started
    assert not (run_dir / "wandb_id.txt").exists()


# Starts W&B, kills the process that it works in, and goes on logging.
KILLED = """
import logging, os, signal, subprocess, sys, time
from collections.abc import Iterator
from pathlib import Path
from zoo._torchvision import ensure_torchvision
ensure_torchvision()
from zoo.fit.dashboards import close, loggers
logging.basicConfig(level=logging.INFO, format="%(message)s")
_, run = loggers(Path(sys.argv[1]), None, False)
run.log_metrics({"a": 1.0}, step=1)
children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
(core,) = [int(line.split()[0]) for line in children.splitlines() if "wandb-core" in line]
os.kill(core, signal.SIGKILL)
time.sleep(0.5)
for step in range(2, 5):
    run.log_metrics({"a": 1.0}, step=step)
    run.log_table("t", columns=["a"], data=[[1]], step=step)
close([run])
print("trained to the end")
"""


def test_the_death_of_wandbs_process_is_said_once_and_ends_nothing(run_dir: Path, root: Path) -> None:
    own = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}  # of another test's process
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(run_dir)], capture_output=True, text=True, timeout=120, cwd=root, env=own
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained to the end\n"
    said = [line for line in done.stderr.splitlines() if "W&B" in line]
    assert len(said) == 2
    assert said[0].startswith("W&B is off from here on (")
    assert said[1].startswith("W&B didn't end as it should (")
    assert "Traceback" not in done.stderr


def test_a_full_disk_costs_the_csv_file_nothing_but_time(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = GuardedCSVLogger(run_dir, name="csv")
    logger.log_metrics({"a": 1.0}, step=0)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(logger.experiment._fs, "open", _full)
        logger.save()
    assert caplog.messages == [f"scalars can't be written to {logger.log_dir} (No space left on device)"]
    logger.log_metrics({"a": 2.0}, step=1)
    logger.save()
    assert (run_dir / "csv/version_0/metrics.csv").read_text().split() == ["a,step", "1.0,0", "2.0,1"]


def _full(*args: Any, **options: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("several", [False, True])
def test_another_logger_is_taken_from_the_configuration_beside_the_csv_file(recipe: Path, several: bool) -> None:
    other = {"class_path": "CSVLogger", "init_args": {"save_dir": "other"}}
    cli = FitCLI(["--config", str(recipe), "--trainer.logger", json.dumps([other, other] if several else other)])
    cli.begin()
    assert [type(each) for each in cli.trainer.loggers] == [GuardedCSVLogger] + [CSVLogger] * (1 + several)
    assert [each.save_dir for each in cli.trainer.loggers] == ["runs/tiny"] + ["other"] * (1 + several)


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")), reason="TensorBoard is installed"
)
def test_tensorboard_that_is_not_there_is_asked_for_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "other"]
    assert main(["--config", str(recipe), *JSINET, *other]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "tensorboard" in line
    assert "pip install" in line
    assert not Path("runs").exists()


def test_tensorboard_gets_scalars_and_panels(recipe: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard isn't installed")
    few = ["--panels.frames", "1", "--panels.size", "64", "--trainer.max_epochs", "1", *EACH]
    other = ["--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "other"]
    assert main(["--config", str(recipe), *JSINET, *few, *other]) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {path.parent for path in Path("other").rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder)).Reload()
    assert {"train/loss", "val/psnr", "stages/rate"} <= set(events.Tags()["scalars"])
    assert "panels/circus_arena-00000/prediction" in events.Tags()["images"]


def sections(workspace: Any) -> dict[str, dict[str, list[str]]]:
    """By section, then by the title of a chart: what it draws."""
    found: dict[str, dict[str, list[str]]] = {}
    for section in json.loads(spec(workspace))["section"]["panelBankConfig"]["sections"]:
        charts = found.setdefault(section["name"], {})
        for panel in section["panels"]:
            drawn = panel["config"]
            charts[drawn.get("chartTitle", panel["viewType"])] = drawn.get("metrics") or drawn.get("mediaKeys") or []
    return found


def test_a_workspace_lays_out_every_section(run_dir: Path) -> None:
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces isn't installed")
    folder = run_dir / "panels" / "epoch-0002" / "hall-00000"
    folder.mkdir(parents=True)
    for name in ("prediction", "error"):
        (folder / f"{name}.png").touch()
    (run_dir / "panels" / "epoch-0001" / "older").mkdir(parents=True)
    laid_out = sections(build_workspace("team", panels=find_panels(run_dir)))
    assert list(laid_out) == ["Validation", "Panels", "Training", "Stages", "Speed", "Data"]
    assert laid_out["Validation"]["PSNR, raw, dB"] == ["val/psnr"]
    assert "Weave" in laid_out["Validation"]  # the table of frames
    assert laid_out["Panels"] == {"hall-00000": ["panels/hall-00000/error", "panels/hall-00000/prediction"]}
    assert laid_out["Training"] == {
        "Loss": ["train/loss"],
        "Parts of the loss": [f"train/loss_{part}" for part in ("rec", "adv", "fm", "d1", "d2")],
    }
    assert laid_out["Stages"]["Learning rate"] == ["stages/rate", "stages/rate_D1", "stages/rate_D2"]
    assert laid_out["Speed"]["Waiting for data"] == ["speed/data_wait"]
    assert laid_out["Data"] == {
        "samples": ["data/samples"],
        "crop": ["data/crop"],
        "lost samples": ["data/lost_samples"],
    }
    assert "team" not in spec(build_workspace("team"))
    assert "Panels" not in sections(build_workspace("team"))


def test_the_command_writes_a_workspace_and_says_what_it_needs(
    root: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces isn't installed")
    program = importlib.util.spec_from_file_location("dashboard", root / "tools" / "dashboard.py")
    assert program is not None
    assert program.loader is not None
    tool = importlib.util.module_from_spec(program)
    program.loader.exec_module(tool)

    out = tmp_path / "workspace.json"
    assert tool.main(["-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert tool.main(["--print"]) == 0
    printed = json.loads(capsys.readouterr().out)["section"]["panelBankConfig"]["sections"]
    written = json.loads(out.read_text())["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in printed] == [section["name"] for section in written]
    assert tool.main(["--run", str(run_dir)]) == 2
    assert capsys.readouterr().err == (
        f"error: {run_dir} has no panels/: give the folder of a run that has drawn some\n"
    )


def test_saving_a_workspace_without_a_key_says_how_to_get_one() -> None:
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces isn't installed")
    with pytest.raises(ConfigError, match=r"W&B doesn't take the workspace .*: give an account with `wandb login`"):
        save(build_workspace("team"))


def test_a_workspace_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(ConfigError, match=r"pip install 'sritm-zoo\[dashboard\]'"):
        build_workspace("team")
