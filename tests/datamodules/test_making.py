from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import torch

from datamodules import making, plan, shards
from datamodules.embedded import PHOTOGRAPHS
from datamodules.index import read_sample, scan_shard
from datamodules.making import estimate_set, make_set
from datamodules.manifest import Manifest, SourceEntry
from datamodules.pairs import PairMaker
from datamodules.plan import Recipe
from datamodules.scenes import Scene
from datamodules.shards import Sample
from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import read_panorama
from datamodules.workfolder import WorkFolder
from tests.panorama_pairs import training_patches, validation_frames
from zoo.errors import ConfigError, DataError
from zoo.signal import HDR10_VIDEO


def write_panorama(path: Path, seed: int = 0, broken: bool = False) -> None:
    """A panorama of 432x216, the smallest of which patches can be cut, with light over eight stops."""
    light = np.exp2(np.random.default_rng(seed).uniform(-4, 4, (216, 432, 3))).astype(np.float16)
    if broken:
        light[100, 100, 1] = np.nan
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": light}).write(str(path))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    folder = tmp_path_factory.mktemp("panoramas")
    found = []
    for seed, name in enumerate(("attic", "beach", "cave")):
        write_panorama(folder / f"{name}.exr", seed)
        found.append(Scene(name, folder / f"{name}.exr", licence="CC0-1.0"))
    return found


def samples_by_shard(folder: Path, split: str) -> list[list[Sample]]:
    paths = [folder / entry.file for entry in Manifest.read(folder).splits[split]]
    return [[read_sample(path, row) for row in scan_shard(path)] for path in paths]


def keys_by_shard(folder: Path, split: str) -> list[list[str]]:
    return [[sample.key for sample in samples] for samples in samples_by_shard(folder, split)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_set_holds_the_pairs_of_the_protocol(tmp_path, scenes, scale):
    splits = {"train": scenes[:1], "val": scenes[1:2], "test": scenes[2:]}
    manifest = make_set(tmp_path / "set", splits, scale, seed=5, patches=3)
    assert manifest == Manifest.read(tmp_path / "set")
    expected = {
        "train": training_patches(read_panorama(scenes[0].path), scale, seed=5, count=3),
        "val": validation_frames(read_panorama(scenes[1].path), scale),
        "test": validation_frames(read_panorama(scenes[2].path), scale),
    }
    for split, pairs in expected.items():
        samples = list(chain(*samples_by_shard(tmp_path / "set", split)))
        for number, (sample, pair) in enumerate(zip(samples, pairs, strict=True)):
            assert sample.key == f"{splits[split][0].name}-{number:05d}"
            assert np.array_equal(sample.sdr, pair.sdr)
            assert np.array_equal(sample.hdr, pair.hdr)
            assert sample.meta == json.loads(json.dumps(pair.meta))


def test_a_set_of_val_v1_keeps_its_bytes(tmp_path, monkeypatch):
    # Digests of the shards that the first release's code made of these photographs.
    monkeypatch.setattr(making, "_SHARD_BYTES", 600_000)
    train, val = (
        [Scene(name, PHOTOGRAPHS / f"{name}_1k.exr", "CC0-1.0") for name in names]
        for names in (["sunset", "autoshop_01"], ["circus_arena"])
    )
    manifest = make_set(tmp_path / "set", {"train": train, "val": val, "test": []}, 2, patches=6)
    assert [entry.sha256[:16] for entry in manifest.splits["train"]] == [
        "491586d73888e7ee",
        "e974360e3add49da",
        "dd904bdaed9f74be",
        "6fbc4796eb9c08a2",
    ]
    assert manifest.digest == "6460694a84cc909f10a489f1cc233c0c0d7d51354f742977874ec7be591a0a95"


def test_the_manifest_tells_where_samples_come_from(tmp_path, scenes):
    manifest = make_set(tmp_path / "set", {"train": scenes[:2]}, 2, seed=3, patches=1)
    assert (manifest.scale, manifest.preset, manifest.seed, manifest.format_version) == (2, "val-v1", 3, 1)
    assert manifest.sources == tuple(
        SourceEntry(scene.name, "CC0-1.0", hashlib.sha256(scene.path.read_bytes()).hexdigest()) for scene in scenes[:2]
    )
    assert manifest.splits["val"] == manifest.splits["test"] == ()


def test_each_training_shard_mixes_the_scenes_and_frames_stay_in_order(tmp_path, scenes, monkeypatch):
    monkeypatch.setattr(making, "_SHARD_BYTES", 6 * 160 * 1024)
    make_set(tmp_path / "set", {"train": scenes[:2], "val": scenes[2:]}, 4, patches=8)
    made = keys_by_shard(tmp_path / "set", "train")
    assert len(made) == 3
    assert max(map(len, made)) - min(map(len, made)) <= 1
    assert all(keys[0][:5] != keys[1][:5] for keys in made)
    assert sorted(chain(*made)) == sorted(f"{name}-{i:05d}" for name in ("attic", "beach") for i in range(8))
    assert list(chain(*keys_by_shard(tmp_path / "set", "val"))) == [f"cave-{i:05d}" for i in range(4)]


def test_a_seed_chooses_patches_of_its_own(tmp_path, scenes):
    for seed in (0, 1):
        make_set(tmp_path / str(seed), {"train": scenes[:1]}, 2, seed=seed, patches=2)
    assert files(tmp_path / "0")["train-000000.tar"] != files(tmp_path / "1")["train-000000.tar"]


def small_set(folder: Path, scenes: Sequence[Scene], **running: object) -> Manifest:
    return make_set(folder, {"train": scenes[:2], "val": scenes[2:]}, 2, patches=4, **running)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> dict[str, bytes]:
    """The files of ``small_set`` as one process makes them without a break."""
    folder = tmp_path_factory.mktemp("undisturbed") / "set"
    small_set(folder, scenes)
    assert [path.name for path in folder.parent.iterdir()] == ["set"]
    made = files(folder)
    assert made.keys() == {"README.md", "dataset.json", "train-000000.tar", "val-000000.tar"}
    return made


def test_the_same_input_gives_the_same_bytes_whatever_the_number_of_workers(tmp_path, scenes, undisturbed):
    small_set(tmp_path / "set", scenes, workers=2)
    assert files(tmp_path / "set") == undisturbed


def test_two_processes_of_a_dask_cluster_give_the_same_bytes(tmp_path, scenes, undisturbed):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        small_set(tmp_path / "set", scenes, dask=cluster.scheduler_address)
    assert files(tmp_path / "set") == undisturbed


def in_a_child(function: Callable[[], object]) -> int:
    """Run ``function`` in a forked process, where an ``os._exit`` is as sudden as a kill; returns the exit status."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_after(step: int) -> None:
    """Let this process end at once behind the ``step``-th time that a file takes its place or goes."""
    steps = iter(range(1, step + 1))

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            result = function(*arguments, **options)
            if next(steps) == step:
                os._exit(137)
            return result

        return call

    for name in ("replace", "rename", "unlink"):
        setattr(os, name, counted(getattr(os, name)))


def test_a_kill_behind_any_step_is_mended_by_the_same_call(tmp_path, scenes, undisturbed):
    step, killed = 0, True
    while killed:
        step += 1
        folder = tmp_path / f"set-{step}"

        def make(step: int = step, folder: Path = folder) -> None:
            die_after(step)
            small_set(folder, scenes)

        status = in_a_child(make)
        killed = status == 137
        assert killed or status == 0
        work = tmp_path / f".set-{step}-making"
        if folder.exists() and not (work / "plan.json").exists():
            shutil.rmtree(work, ignore_errors=True)  # all was done but removing this folder
        else:
            assert killed
            small_set(folder, scenes)
        assert files(folder) == undisturbed, f"step {step}"
        assert not work.exists()
        shutil.rmtree(folder)
    assert step > 20


def command(folder: Path, scenes: Sequence[Scene]) -> list[str]:
    """``small_set`` as a command line with two workers."""
    tool = Path(__file__).resolve().parents[2] / "tools" / "make_shards.py"
    train, val = ([str(scene.path) for scene in part] for part in (scenes[:2], scenes[2:]))
    return [sys.executable, str(tool), *train, "-o", str(folder), "--val", *val, "--patches=4", "--workers=2"]


def kill_and_resume(folder: Path, scenes: Sequence[Scene], kills: int, rng: random.Random) -> None:
    """Kill the command's process group at drawn moments, then let it end."""
    for _ in range(kills):
        process = subprocess.Popen(
            command(folder, scenes), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        work = folder.parent / f".{folder.name}-making"
        while not (work / "lock").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 8))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.returncode == 0:
            return
    subprocess.run(command(folder, scenes), check=True, capture_output=True)


def assert_same_shards(folder: Path, undisturbed: dict[str, bytes]) -> None:
    made = files(folder)
    assert made.keys() == undisturbed.keys()
    for name in undisturbed.keys() - {"README.md", "dataset.json"}:  # a command names no licence
        assert made[name] == undisturbed[name]


def test_killed_three_times_the_command_ends_with_the_same_bytes(tmp_path, scenes, undisturbed):
    kill_and_resume(tmp_path / "set", scenes, 3, random.Random(0))
    assert_same_shards(tmp_path / "set", undisturbed)


@pytest.mark.slow
def test_killed_twenty_times_the_command_ends_with_the_same_bytes(tmp_path, scenes, undisturbed):
    kill_and_resume(tmp_path / "set", scenes, 20, random.Random(1))
    assert_same_shards(tmp_path / "set", undisturbed)


@dataclass
class Film:
    """A film of noise at 240x176 with two shots of 40 and 5 frames, which may end early."""

    path: Path
    scene: str = "film"
    frame_count: int = 45
    size: tuple[int, int] = (176, 240)
    panoramic: bool = False
    ends: int = 45

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        for number in range(self.frame_count)[start:stop:stride]:
            if number >= self.ends:
                raise DataError(f"{self.path}: ends after {self.ends} of {self.frame_count} frames")
            codes = np.random.default_rng(number).integers(200, 800, (3, *self.size))
            yield Frame(number, Picture(torch.from_numpy(codes / 1023.0), HDR10_VIDEO), meta={"time": number / 25})

    def shots(self) -> tuple[int, ...]:
        return (0, 40)

    def files(self) -> list[Path]:
        return [self.path]


@dataclass(frozen=True)
class FilmScene(Scene):
    ends: int = 45

    def open(self) -> Film:
        return Film(self.path, ends=self.ends)


@pytest.fixture
def film(tmp_path: Path) -> FilmScene:
    (tmp_path / "film.mkv").write_bytes(b"frames")
    return FilmScene("film", tmp_path / "film.mkv")


def test_a_film_gives_patches_of_every_shot_and_is_shared_out_to_several_tasks(tmp_path, film, monkeypatch):
    monkeypatch.setattr(plan, "_PART_BYTES", 1_000_000)
    make_set(tmp_path / "set", {"train": [film]}, 2, patches=3, stride=10)
    frames = Counter(
        (sample.meta["frame"], sample.meta["time"]) for sample in chain(*samples_by_shard(tmp_path / "set", "train"))
    )
    numbers = sorted(number for number, _ in frames)
    assert set(frames.values()) == {3}
    assert len([number for number in numbers if number < 40]) == 4
    assert len([number for number in numbers if number >= 40]) == 1
    assert set(np.diff(numbers[:4])) == {10}
    assert all(time == number / 25 for number, time in frames)
    # One frame a task, and the tasks take turns.
    keys = list(chain(*keys_by_shard(tmp_path / "set", "train")))
    assert keys == [f"film-{3 * task + patch:05d}" for patch in range(3) for task in range(5)]


def test_whole_frames_of_a_film_stay_in_order(tmp_path, film):
    make_set(tmp_path / "set", {"val": [film]}, 2, stride=10)
    numbers = [sample.meta["frame"] for sample in chain(*samples_by_shard(tmp_path / "set", "val"))]
    assert len(numbers) == 5
    assert numbers == sorted(numbers)


def test_the_set_has_no_more_whole_frames_of_a_film_than_asked_for(tmp_path, film):
    manifest = make_set(tmp_path / "set", {"test": [film]}, 2, stride=1, val_frames=3)
    assert manifest.samples("test") == 3
    assert "| 3 of 45 |" in (tmp_path / "set" / "README.md").read_text()


def test_a_film_that_ends_early_is_refused_by_name(tmp_path, film):
    cut = FilmScene("film", film.path, ends=20)
    with pytest.raises(DataError, match=r"film.mkv: ends after 20 of 45 frames"):
        make_set(tmp_path / "set", {"train": [cut]}, 2, patches=2, stride=1)
    assert not (tmp_path / "set").exists()


def test_what_is_lost_is_counted_and_named_when_asked_to_keep_going(tmp_path, film, scenes, caplog):
    cut = FilmScene("film", film.path, ends=20)
    absent = Scene("gone", tmp_path / "gone.exr")
    manifest = make_set(
        tmp_path / "set", {"train": [cut, *scenes[:1], absent]}, 2, patches=2, stride=1, keep_going=True
    )
    assert manifest.samples("train") == 20 * 2 + 2
    assert [source.name for source in manifest.sources] == ["film", "attic"]
    card = (tmp_path / "set" / "README.md").read_text()
    assert "| film | 20 | " in card
    assert "| film | 5 | " in card
    assert "ends after 20 of 45 frames" in card
    assert "| gone | all | " in card
    assert "left out: 25 frames and 1 source; " in caplog.text


def test_a_source_that_cant_be_used_is_named_and_what_is_finished_is_kept(tmp_path, scenes):
    dusk = Scene("dusk", tmp_path / "dusk.exr")
    write_panorama(dusk.path, broken=True)
    folder = tmp_path / "out" / "set"
    with pytest.raises(DataError, match=r"dusk.exr: 1 of .* NaN.*3 finished parts are kept in .*\.set-making"):
        make_set(folder, {"train": [*scenes, dusk]}, 2, patches=1)
    assert not folder.exists()

    write_panorama(dusk.path, seed=9)
    parts = folder.parent / ".set-making" / "parts" / "attic" / "000000.tar"
    made = parts.stat().st_mtime_ns
    with pytest.raises(DataError, match="holds an unfinished set with another seed; finish it with its own command"):
        make_set(folder, {"train": [*scenes, dusk]}, 2, patches=1, seed=1)
    assert parts.stat().st_mtime_ns == made
    make_set(folder, {"train": [*scenes, dusk]}, 2, patches=1)
    make_set(tmp_path / "fresh", {"train": [*scenes, dusk]}, 2, patches=1)
    assert files(folder) == files(tmp_path / "fresh")


def test_where_nothing_is_finished_nothing_is_left_behind(tmp_path):
    with pytest.raises(DataError, match=r"dusk.exr: no such file or folder$"):
        make_set(tmp_path / "out" / "set", {"train": [Scene("dusk", tmp_path / "dusk.exr")]}, 2, patches=1)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), DataError("dusk.exr: is damaged")])
def test_surveys_outlive_a_stop_and_serve_another_plan_too(tmp_path, film, stop, monkeypatch):
    opened: list[str] = []

    def open_film(scene: FilmScene) -> Film:
        opened.append(scene.name)
        if scene.name == "dusk":
            raise stop
        return Film(scene.path)

    monkeypatch.setattr(FilmScene, "open", open_film)
    with pytest.raises(type(stop)) as stopped:
        make_set(tmp_path / "set", {"train": [film, FilmScene("dusk", film.path)]}, 2, patches=1)
    if isinstance(stop, DataError):
        assert str(stopped.value).endswith(f"(what was learnt of 1 source is kept in {tmp_path / '.set-making'})")
    make_set(tmp_path / "set", {"train": [film]}, 2, patches=1)
    assert opened.count("film") == 1


def test_a_full_disk_is_one_line_and_what_is_finished_is_used_later(tmp_path, scenes, undisturbed, monkeypatch):
    write = shards._npy_bytes
    calls = iter(range(1000))

    def full(array: np.ndarray) -> bytes:
        if next(calls) == 12:  # trial runs write nothing; two parts take 16
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(array)

    monkeypatch.setattr(shards, "_npy_bytes", full)
    with pytest.raises(DataError, match=r"can't write .*/set: No space left on device; make room .*1 finished parts"):
        small_set(tmp_path / "set", scenes)
    monkeypatch.setattr(shards, "_npy_bytes", write)
    small_set(tmp_path / "set", scenes)
    assert files(tmp_path / "set") == undisturbed


def test_a_disk_that_is_too_small_is_refused_before_anything_is_made(tmp_path, scenes, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(DataError, match=r"needs .* MB of disk while it is made, .* has 1.* MB"):
        small_set(tmp_path / "set", scenes)
    assert WorkFolder(tmp_path / "set").parts_made() == 0


def test_a_folder_with_something_in_it_is_refused_and_an_empty_one_is_taken(tmp_path, scenes):
    folder = tmp_path / "set"
    folder.mkdir()
    make_set(folder, {"val": scenes[:1]}, 2)
    before = files(folder)
    with pytest.raises(DataError, match="set exists and isn't an empty folder"):
        make_set(folder, {"val": scenes[1:]}, 2)
    assert files(folder) == before


def test_a_link_to_an_empty_folder_leads_to_the_set(tmp_path, scenes):
    (tmp_path / "disk" / "set").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "set")
    manifest = make_set(tmp_path / "link", {"val": scenes[:1]}, 2)
    assert (tmp_path / "link").is_symlink()
    assert Manifest.read(tmp_path / "link") == manifest
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["set"]


def test_a_mount_point_is_refused_before_anything_is_made(tmp_path, scenes, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "disk")
    monkeypatch.setattr(Scene, "open", lambda _: pytest.fail("a source was opened"))
    for folder in (tmp_path / "disk", tmp_path / "link"):
        with pytest.raises(
            DataError, match=r"disk is a mount point, which a set can't replace; give a folder inside it"
        ):
            make_set(folder, {"val": scenes[:1]}, 2)


def test_a_place_that_cant_be_written_is_refused(tmp_path, scenes):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"can't write .*/file/set"):
        make_set(tmp_path / "file" / "set", {"val": scenes[:1]}, 2)


@pytest.mark.parametrize("splits", [("train", "train"), ("train", "val")])
def test_a_scene_is_in_a_set_only_once(tmp_path, scenes, splits: Sequence[str]):
    chosen: dict[str, list[Scene]] = {}
    for split in splits:
        chosen.setdefault(split, []).append(scenes[0])
    with pytest.raises(DataError, match="scene attic is there twice"):
        make_set(tmp_path / "set", chosen, 2)


def test_one_picture_under_two_names_isnt_taken_into_two_splits(tmp_path, scenes):
    shutil.copyfile(scenes[0].path, tmp_path / "loft.exr")
    splits = {"train": scenes[:1], "test": [Scene("loft", tmp_path / "loft.exr")]}
    with pytest.raises(DataError, match=r"attic.exr \(train\) and .*loft.exr \(test\) are the same"):
        make_set(tmp_path / "set", splits, 2)
    assert not (tmp_path / "set").exists()


def test_one_picture_under_two_names_in_one_split_is_told(tmp_path, scenes, caplog):
    shutil.copyfile(scenes[0].path, tmp_path / "loft.exr")
    make_set(tmp_path / "set", {"train": [*scenes[:2], Scene("loft", tmp_path / "loft.exr")]}, 2, patches=1)
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert re.fullmatch(r".*attic.exr and .*loft.exr are the same; what they show counts twice in train", warning)


def test_sources_that_give_no_sample_are_told(tmp_path, monkeypatch, film):
    monkeypatch.setattr(PairMaker, "training", lambda *_: iter(()))
    with pytest.raises(DataError, match="no frame gives a sample"):
        make_set(tmp_path / "set", {"train": [film]}, 2)


def test_two_processes_dont_make_one_set_at_once(tmp_path, scenes):
    with WorkFolder(tmp_path / "set").held({}), pytest.raises(DataError, match=r"another process is making a set"):
        small_set(tmp_path / "set", scenes)


def test_a_source_that_changes_is_made_anew_until_shards_hold_it(tmp_path, scenes, monkeypatch):
    changing = Scene("attic", tmp_path / "attic.exr")
    write_panorama(changing.path, seed=0)

    def make(folder: str) -> Manifest:
        return make_set(tmp_path / folder, {"train": [changing, scenes[1]], "val": scenes[2:]}, 2, patches=2)

    def stop(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(making.Deal, "write", stop)
        with pytest.raises(DataError, match="Input/output error"):
            make("set")
    write_panorama(changing.path, seed=8)
    with monkeypatch.context() as patched:
        patched.setattr(making, "write_card", stop)
        with pytest.raises(DataError, match="Input/output error"):
            make("set")
    work = WorkFolder(tmp_path / "set")
    assert [entry.file for entry in work.dealt_split("train")] == ["train-000000.tar"]
    assert [path.name for path in work.parts.glob("*/*.tar")] == []
    content = changing.path.read_bytes()
    write_panorama(changing.path, seed=9)
    with pytest.raises(DataError, match=r"attic.exr changed since shards were made of it"):
        make("set")
    changing.path.write_bytes(content)
    shutil.rmtree(work.path)
    make("set")
    make("fresh")
    assert files(tmp_path / "set") == files(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "val-v9"}, "preset 'val-v9' is unknown; known: val-v1"),
        ({"scale": 3}, "scale 3 is unknown"),
        ({"seed": -1}, "seed is -1"),
        ({"patches": 0}, "patches is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_arguments_that_cant_be_are_refused(tmp_path, scenes, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_set(tmp_path / "set", {"train": scenes}, **{"scale": 2} | arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_comes_near_what_is_made(tmp_path, scenes):
    splits = {"train": scenes[:2], "val": scenes[2:]}
    expected = estimate_set(splits, Recipe(2, patches=4))
    manifest = small_set(tmp_path / "set", scenes)
    assert expected.samples == {"train": 8, "val": 4, "test": 0}
    made = sum(entry.bytes for entries in manifest.splits.values() for entry in entries)
    assert expected.set_bytes == pytest.approx(made, rel=0.05)
    assert expected.peak_bytes > expected.set_bytes
    assert 0 < expected.seconds < 60
