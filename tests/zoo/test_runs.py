from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
import torch

from zoo import runs
from zoo.errors import ConfigError
from zoo.runs import (
    CLAIMED,
    claim_run_dir,
    find_checkpoint,
    find_config,
    find_run_dir,
    has_checkpoint,
    is_first_process,
    is_requeued,
    is_whole,
    release_run_dir,
)


@pytest.fixture(autouse=True)
def unclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLAIMED, "")  # so that it is restored afterwards
    monkeypatch.delenv(CLAIMED)


def test_numbered_folders_take_the_next_free_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for taken in ("sample-1", "sample-7", "sample-x", "samples-9"):
        (tmp_path / taken).mkdir()
    assert claim_run_dir(str(tmp_path / "sample-N"), resume=False) == tmp_path / "sample-8"
    # A rank that the first process started takes what that one claimed.
    assert claim_run_dir(str(tmp_path / "sample-N"), resume=False) == tmp_path / "sample-8"


def test_last_of_a_series_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no run .*sample-N to go on with"):
        find_run_dir(str(tmp_path / "gone" / "sample-N"))
    for made in ("sample-2", "sample-10", "sample-x"):
        (tmp_path / made).mkdir()
    assert find_run_dir(str(tmp_path / "sample-N")) == tmp_path / "sample-10"
    assert find_run_dir(str(tmp_path / "named")) == tmp_path / "named"


def test_runs_that_begin_at_once_take_different_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run makes its folder between this one's look and its own."""
    seen = runs._numbers

    def late(path: Path) -> list[int]:
        numbers = seen(path)
        if not numbers:
            (tmp_path / "sample-1").mkdir()
        return numbers

    monkeypatch.setattr(runs, "_numbers", late)
    assert claim_run_dir(str(tmp_path / "sample-N"), resume=False) == tmp_path / "sample-2"


def test_a_folder_is_kept_for_its_run_from_the_start(tmp_path: Path) -> None:
    name = str(tmp_path / "run")
    run = claim_run_dir(name, resume=False)
    os.environ.pop(CLAIMED)
    with pytest.raises(ConfigError, match="belongs to a run that has no checkpoint yet"):
        claim_run_dir(name, resume=False)

    release_run_dir(run)  # it ended before its first checkpoint
    assert claim_run_dir(name, resume=False) == run
    os.environ.pop(CLAIMED)

    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    release_run_dir(run)
    assert (run / "config.yaml").is_file()
    with pytest.raises(ConfigError, match="holds a run already"):
        claim_run_dir(name, resume=False)
    assert claim_run_dir(name, resume=True) == run


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.runs._PATIENCE", 0.3)
    run = claim_run_dir(str(tmp_path / "run"), resume=False)
    release_run_dir(run)
    monkeypatch.delenv(CLAIMED)
    held = os.open(run, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as another process would
    with pytest.raises(ConfigError, match=f"{run} is being written by another process"):
        claim_run_dir(str(run), resume=True)
    os.close(held)
    assert claim_run_dir(str(run), resume=True) == run
    release_run_dir(run)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"can't make the run's folder .*file/run"):
        claim_run_dir(str(tmp_path / "file" / "run"), resume=False)


def test_processes_started_from_outside_cannot_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="can't agree on a number"):
        claim_run_dir(str(tmp_path / "sample-N"), resume=False)


def test_the_first_process_is_told_by_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_first_process()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "8")
    assert not is_first_process()


def test_last_is_the_newest_whole_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cut file has no directory of its contents, one with a flipped bit another checksum."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for age, name in enumerate(("cut.ckpt", "flipped.ckpt", "older.ckpt", "oldest.ckpt")):
        path = folder / name
        torch.save({"weights": torch.arange(1000)}, path)
        content = bytearray(path.read_bytes())
        if name == "flipped.ckpt":
            content[content.index(torch.arange(1000).numpy().tobytes()) + 3333] ^= 1
        path.write_bytes(content[: len(content) // 2] if name == "cut.ckpt" else content)
        os.utime(path, (1000 - age, 1000 - age))
    assert find_checkpoint("last", str(tmp_path)).name == "older.ckpt"
    (line,) = [record.message for record in caplog.records]
    assert line == f"{folder / 'flipped.ckpt'} is damaged: going on from the one before, {folder / 'older.ckpt'}"
    assert find_checkpoint(str(folder / "oldest.ckpt"), str(tmp_path)).name == "oldest.ckpt"

    for whole in ("older.ckpt", "oldest.ckpt"):
        (folder / whole).unlink()
    with pytest.raises(ConfigError, match="no whole checkpoint in"):
        find_checkpoint("last", str(tmp_path))


def test_every_flipped_bit_of_a_checkpoint_s_contents_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    tensor = torch.arange(64)
    torch.save({"weights": tensor}, path)
    content = path.read_bytes()
    place = content.index(tensor.numpy().tobytes())
    assert is_whole(path)
    for byte in range(place, place + 64 * 8, 37):
        path.write_bytes(content[:byte] + bytes([content[byte] ^ 16]) + content[byte + 1 :])
        assert not is_whole(path), byte


def test_a_job_that_slurm_queued_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_requeued()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert is_requeued()
    assert not has_checkpoint(str(tmp_path))
    assert not has_checkpoint(str(tmp_path / "run-N"))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "a.ckpt").touch()
    assert has_checkpoint(str(tmp_path))


def test_configs_are_found_by_name_and_by_path(root: Path, tmp_path: Path) -> None:
    assert find_config("paper/jsigan_x2") == root / "configs" / "paper" / "jsigan_x2.yaml"
    assert find_config("jsigan") == root / "configs" / "jsigan.yaml"
    assert find_config("configs/jsigan.yaml").samefile(root / "configs" / "jsigan.yaml")
    (tmp_path / "mine.yaml").touch()
    assert find_config(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=r"give a file, or one of deep_sritm_x1, .*, sample, .*paper/jsigan_x2"):
        find_config("jsigam")
