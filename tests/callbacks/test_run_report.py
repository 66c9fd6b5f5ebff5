from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from callbacks import PublishWeights, RunReport, ScoreTable, Speed
from tests.callbacks.test_panels import Frames
from tests.training import Callback, LightningModule, Trainer
from zoo.modules import JSINetModule
from zoo.optim import Rate

from pytorch_lightning.loggers import CSVLogger  # isort: skip


def fit(run_dir: Path, *callbacks: Callback) -> Trainer:
    """A run of two epochs of two updates each, with four frames to validate on."""
    (run_dir / "config.yaml").write_text("scale: 2\n")
    report = RunReport(run_dir, pictures=1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        default_root_dir=run_dir,
        logger=CSVLogger(run_dir, name="csv"),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, PublishWeights(run_dir), Speed(), ScoreTable(), report],
    )
    trainer.fit(JSINetModule(rates=[Rate(1e-3)]), datamodule=Frames())
    return trainer


@pytest.fixture(autouse=True)
def one_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbacks.run_report.BASELINES", ("bicubic+white100",))


def test_the_page_is_written_anew_after_each_validation_and_epoch_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(run_dir: Path) -> None:
        (metrics,) = run_dir.glob("csv/*/metrics.csv")
        scores = run_dir / "scores.csv"
        seen.append((*(len(path.read_text().splitlines()) - 1 for path in (metrics, scores)), report.is_file()))

    report = tmp_path / "report.json"
    monkeypatch.setattr("callbacks.run_report.write_page", look)
    fit(tmp_path)
    # Records of two updates and a validation, and four frames, an epoch: nothing that was logged is still unwritten.
    assert seen == [(3, 4, False), (3, 4, False), (6, 8, False), (6, 8, False), (6, 8, True)]


def test_the_report_states_the_speed_that_was_logged(tmp_path: Path) -> None:
    trainer = fit(tmp_path)
    (speed,) = (callback for callback in trainer.callbacks if isinstance(callback, Speed))  # type: ignore[attr-defined]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["samples_per_second"] == {"stage_1": speed.samples_per_second[1]}
    assert "finished" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [Path(path).name for path in report["pictures"]] == ["frame-0.png"]


def test_a_page_that_fails_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(run_dir: Path) -> None:
        raise ValueError("strange file")

    monkeypatch.setattr("callbacks.run_report.write_page", fail)
    with caplog.at_level(logging.WARNING):
        assert fit(tmp_path).global_step == 4
    assert f"no page of the run in {tmp_path} (strange file)" in caplog.messages
    assert (tmp_path / "report.json").is_file()


def test_the_page_of_a_run_that_was_stopped_shows_how_far_it_came(tmp_path: Path) -> None:
    class Stops(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("stopped here")

    with pytest.raises(RuntimeError, match="stopped here"):
        fit(tmp_path, Stops())
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "not finished" in page
    assert '<div class="value">2</div>' in page  # updates whose record was logged
    assert "Validation after epoch 1, step 2" in page
