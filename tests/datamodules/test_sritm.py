from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from datamodules import SRITMDataModule, remote
from datamodules.manifest import Manifest
from tests.datamodules.set_server import SetServer, watched
from zoo.errors import ConfigError, DataError


def attach(data: SRITMDataModule, rank: int, world_size: int) -> SRITMDataModule:
    """Let a data module see what it reads of a trainer on one of several ranks."""
    connector = SimpleNamespace(use_distributed_sampler=False)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size, _accelerator_connector=connector)
    return data


def opened(
    root: Path | str | list[str], rank: int = 0, world_size: int = 1, stage: str = "fit", **arguments: Any
) -> SRITMDataModule:
    root = str(root) if isinstance(root, Path) else root
    data = attach(SRITMDataModule(root, **{"crop": [8]} | arguments), rank, world_size)
    data.prepare_data()
    data.setup(stage)
    return data


def train_batches(data: SRITMDataModule, epochs: Sequence[int]) -> list[dict[str, Any]]:
    loader = data.train_dataloader()
    batches = []
    for epoch in epochs:
        loader.batch_sampler.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def test_a_batch_holds_codes_channels_first(make_set):
    batch = train_batches(opened(make_set(), batch_size=3), [0])[0]
    assert batch.keys() == {"sdr", "hdr", "key"}
    assert (batch["sdr"].shape, batch["sdr"].dtype) == ((3, 3, 4, 4), torch.uint8)
    assert (batch["hdr"].shape, batch["hdr"].dtype) == ((3, 3, 8, 8), torch.int16)
    assert [int(key[-3:]) for key in batch["key"]] == batch["hdr"][:, 1, 0, 0].tolist()
    # The samples' LR pixels equal every second HR pixel: row by row, or column by column after a quarter turn.
    phases = [batch["hdr"][:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)]
    for sdr, *candidates in zip(batch["sdr"], *phases, strict=True):
        assert any(torch.equal(sdr, candidate.to(torch.uint8)) for candidate in candidates)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("shards", [(9, 1, 4, 7), (3, 3, 1, 0, 8, 2, 5)], ids=len)
def test_ranks_and_workers_share_each_epoch_exactly(make_set, shards, world_size, workers):
    folder = make_set(train=shards)
    global_batch = 6
    epochs = []
    for epoch in (0, 1):
        ranks = [
            train_batches(
                opened(folder, rank, world_size, global_batch_size=global_batch, num_workers=workers), [epoch]
            )
            for rank in range(world_size)
        ]
        # By slot: the batches of all ranks, rank after rank within each global batch.
        epochs.append([key for batches in zip(*ranks, strict=True) for batch in batches for key in batch["key"]])
        assert len(epochs[-1]) == sum(shards) // global_batch * global_batch
        assert max(Counter(epochs[-1]).values()) == 1
    assert epochs[0] != epochs[1]
    alone = train_batches(opened(folder, batch_size=global_batch), [0, 1])
    assert epochs[0] + epochs[1] == [key for batch in alone for key in batch["key"]]


@pytest.mark.parametrize(("world_size", "workers"), [(2, 0), (3, 2)])
def test_crops_and_turns_belong_to_the_slot(make_set, world_size, workers):
    folder = make_set(train=(13, 11))
    alone = train_batches(opened(folder, batch_size=6), [3])
    ranks = [
        train_batches(opened(folder, rank, world_size, global_batch_size=6, num_workers=workers), [3])
        for rank in range(world_size)
    ]
    for whole, *parts in zip(alone, *ranks, strict=True):
        for name in ("sdr", "hdr"):
            assert torch.equal(whole[name], torch.cat([part[name] for part in parts]))


def test_a_seed_has_an_order_and_crops_of_its_own(make_set):
    folder = make_set(train=(8,))
    first, second = (train_batches(opened(folder, batch_size=8, seed=seed), [0])[0] for seed in (1, 2))
    assert first["key"] != second["key"]
    by_key = [dict(zip(batch["key"], batch["hdr"], strict=True)) for batch in (first, second)]
    assert any(not torch.equal(by_key[0][key], by_key[1][key]) for key in first["key"])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_crop_follows_the_stage(make_set, workers):
    data = opened(make_set(), batch_size=4, crop=[8, 16], stage_epoch=1, num_workers=workers)
    assert [tuple(batch["hdr"].shape) for batch in train_batches(data, [0, 1])] == [(4, 3, 8, 8)] * 2 + [
        (4, 3, 16, 16)
    ] * 2


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("shards", [(3, 1, 0, 3), (1, 2, 0, 1, 1, 1, 1)], ids=len)
def test_validation_gives_each_frame_once_over_all_ranks_whole_and_in_order(make_set, shards, world_size, workers):
    folder = make_set(val=shards)
    ranks = []
    for rank in range(world_size):
        batches = list(opened(folder, rank, world_size, "validate", num_workers=workers).val_dataloader())
        assert all(batch["hdr"].shape == (1, 3, 16, 16) for batch in batches)
        ranks.append([batch["key"][0] for batch in batches])
    assert ranks == [[f"val-{n:03d}" for n in range(rank, 7, world_size)] for rank in range(world_size)]


def test_validation_can_be_held_to_scenes_and_batched(make_set):
    data = opened(make_set(val=(4, 7)), val_scenes=["scene0", "scene2"], val_batch_size=4)
    assert [batch["key"] for batch in data.val_dataloader()] == [
        ["val-000", "val-001", "val-002", "val-003"],
        ["val-008", "val-009", "val-010"],
    ]


def test_frames_whose_record_names_no_scene_are_of_none(make_set):
    with pytest.raises(ConfigError, match=r"has no scene0; it has None"):
        opened(make_set(scene=None), val_scenes=["scene0"])


def test_a_set_without_validation_trains_without_it(make_set):
    data = opened(make_set(val=()))
    assert len(data.val_dataloader()) == 0
    assert len(data.train_dataloader()) == 1


def test_only_the_splits_of_the_stage_are_opened(make_set):
    folder = make_set(train=(1,))
    (folder / "train-0.tar").unlink()
    assert len(opened(folder, stage="validate").val_dataloader()) == 4
    assert len(opened(folder, stage="test").test_dataloader()) == 0


def test_what_the_set_says_is_offered_to_the_trainer_side(make_set):
    folder = make_set(train=(5, 4))
    data = opened(folder, world_size=2, batch_size=3)
    assert (data.train_samples, data.sources, data.roots, data.scale) == (9, ["noise"], [str(folder)], 2)
    assert (data.batch_size, data.global_batch_size) == (3, 6)
    assert data.digest == data.sets[0].manifest.digest
    assert opened(folder, world_size=2, global_batch_size=8).batch_size == 4


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1600] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("damage", "message"),
    [(Path.unlink, "train-1.tar is missing"), (cut, "train-1.tar has .* bytes"), (flip_bit, "train-1.tar has SHA-256")],
    ids=["missing", "cut", "bit"],
)
def test_a_damaged_shard_is_refused_by_name_on_every_rank(make_set, damage, message, rank):
    folder = make_set(train=(5, 3))
    damage(folder / "train-1.tar")
    with pytest.raises(DataError, match=message):
        opened(folder, rank, world_size=2, batch_size=1)


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip_bit], ids=["missing", "cut", "bit"])
def test_tolerated_damage_changes_only_the_slots_of_lost_samples(make_set, damage):
    folder = make_set(train=(20, 4))
    arguments = {"batch_size": 6, "tolerate_damage": True, "num_workers": 2}
    before = [key for batch in train_batches(opened(folder, **arguments), [0]) for key in batch["key"]]
    damage(folder / "train-1.tar")
    data = opened(folder, **arguments)
    after = [key for batch in train_batches(data, [0]) for key in batch["key"]]
    assert len(after) == len(before) == 24
    for slot, (was, now) in enumerate(zip(before, after, strict=True)):
        if was in after:
            assert now == was
        else:
            assert int(was[-3:]) >= 20  # lost with the second shard
            assert now == next(key for key in before[slot:] + before[:slot] if key in after)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 9}, "8 training samples, fewer than one global batch of 9 .*data.batch_size"),
        ({"batch_size": 3, "world_size": 3}, r"fewer than one global batch of 9 \(3 x 3 ranks\)"),
        ({"batch_size": 1, "world_size": 5}, "has 4 val frames for 5 ranks"),
        ({"batch_size": 1, "scale": 4}, "are of scale 2, not 4"),
    ],
)
def test_a_set_that_doesnt_fit_is_refused(make_set, arguments, message):
    with pytest.raises(DataError, match=message):
        opened(make_set(), **arguments)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no shard folder"):
        opened(tmp_path / "absent")


def test_shards_of_another_scale_than_their_manifest_says_are_refused(make_set):
    folder = make_set(scale=4)
    manifest = folder / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"scale": 4', '"scale": 2'))
    with pytest.raises(DataError, match="not scale 2"):
        opened(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop": [9]}, r"data.crop is \[9\].*multiples of scale 2"),
        ({"crop": []}, r"data.crop is \[\]"),
        ({"crop": [8, 8, 8], "stage_epoch": 1}, "one or two sizes"),
        ({"crop": [8, 16]}, "set stage.epoch"),
        ({"crop": [18]}, "data.crop 18 is larger than the stored patches .*16 HR pixels"),
        ({"crop": [8, 18], "stage_epoch": 3}, "data.crop 18 is larger"),
        ({"val_scenes": ["scene0", "moon"]}, "has no moon; it has scene0"),
        ({"global_batch_size": 5, "world_size": 2}, "5 can't be divided among 2 ranks"),
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"val_batch_size": 0}, "data.val_batch_size is 0"),
        ({"seed": -1}, "data.seed is -1"),
        ({"weights": [1, 2]}, "data.weights has 2 numbers for 1 sets"),
        ({"weights": [0]}, r"data.weights is \[0\]; each must be above 0"),
        ({"weights": [float("nan")]}, "each must be above 0"),
        ({"exposure_jitter": -1}, "data.exposure_jitter is -1; it takes 0 to 4.0 stops"),
        ({"exposure_jitter": float("nan")}, "data.exposure_jitter is nan"),
    ],
)
def test_arguments_that_cant_be_are_refused(make_set, arguments, message):
    with pytest.raises(ConfigError, match=message):
        opened(make_set(), **arguments)


def test_no_set_is_refused():
    with pytest.raises(ConfigError, match=r"data.root names no set"):
        SRITMDataModule([])


def test_lightnings_own_sampler_is_refused(make_set):
    data = attach(SRITMDataModule(str(make_set())), rank=0, world_size=2)
    data.trainer._accelerator_connector.use_distributed_sampler = True
    with pytest.raises(ConfigError, match="use_distributed_sampler=False"):
        data.setup("fit")


def test_asking_for_batches_of_a_set_that_isnt_open_says_what_to_call(make_set):
    data = SRITMDataModule(str(make_set()))
    with pytest.raises(ConfigError, match="setup"):
        data.train_dataloader()
    with pytest.raises(ConfigError, match="setup"):
        data.val_dataloader()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries."""
    monkeypatch.setattr(remote, "_WAITS", (0.01, 0.01))


def small_cache(folder: Path, shards: int) -> dict[str, Any]:
    """Room for so many training shards, less than the set has."""
    sizes = [entry.bytes for entry in Manifest.read(folder).splits["train"]]
    assert shards * max(sizes) < sum(sizes)
    return {"cache_bytes": shards * max(sizes)}


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (2, 1), (3, 2)])
@pytest.mark.parametrize("shards", [(9, 7, 8, 8), (5, 3, 4, 5, 4, 3, 4)], ids=len)
def test_a_set_larger_than_its_cache_is_streamed_exactly(make_set, hasty, home, shards, world_size, workers):
    folder = make_set(train=shards, val=(4, 3))
    arguments = {"global_batch_size": 6, "num_workers": workers, **small_cache(folder, 3)}
    cache = home / "cache"
    cache.mkdir(parents=True)
    with SetServer(folder).running() as server, watched(cache) as most:
        ranks = [opened(server.url, rank, world_size, **arguments) for rank in range(world_size)]
        epochs = []
        for epoch in (0, 1):
            batches = [train_batches(data, [epoch]) for data in ranks]
            epochs.append([key for each in zip(*batches, strict=True) for batch in each for key in batch["key"]])
        validated = Counter(key for data in ranks for batch in data.val_dataloader() for key in batch["key"])
    for keys in epochs:
        assert len(keys) == len(set(keys)) == sum(shards) // 6 * 6
    assert epochs[0] != epochs[1]
    assert validated == {f"val-{number:03d}": 1 for number in range(7)}
    assert 0 < most[-1] <= arguments["cache_bytes"]
    # Another number of ranks and workers gives the same order; here there is one of each.
    with SetServer(folder).running() as server:
        alone = opened(server.url, batch_size=6, **small_cache(folder, 3))
        assert epochs[0] + epochs[1] == [key for batch in train_batches(alone, [0, 1]) for key in batch["key"]]


def test_a_window_is_fetched_once_and_the_next_ahead_of_need(make_set, hasty):
    folder = make_set(train=(8,) * 8)
    with SetServer(folder).running() as server:
        data = opened(server.url, batch_size=4, **small_cache(folder, 4))
        fetched = []
        loader = data.train_dataloader()
        for _ in loader:
            time.sleep(0.15)  # a step, in which two shards can be fetched
            fetched.append(sum(server.requests[f"train-{shard}.tar"] for shard in range(8)))
    # Windows of two shards, four batches each: when one ends, the shards of the next are there.
    assert [least <= seen for least, seen in zip((4, 6, 8, 8), fetched[3::4], strict=True)] == [True] * 4
    assert fetched[-1] == 8
    assert max(server.requests.values()) == 2  # dataset.json, by prepare_data and setup


def test_a_remote_set_that_fits_is_fetched_once_in_the_order_of_the_local_one(make_set, hasty):
    folder = make_set(train=(5, 3, 4))
    with SetServer(folder).running() as server:
        data = opened(server.url, batch_size=4)
        keys = [batch["key"] for batch in train_batches(data, [0, 1, 2])]
        assert [server.requests[f"train-{shard}.tar"] for shard in range(3)] == [1, 1, 1]
    assert keys == [batch["key"] for batch in train_batches(opened(folder, batch_size=4), [0, 1, 2])]


@pytest.mark.parametrize(("workers", "trouble"), [(0, "404"), (0, "wrong"), (2, "drop")])
def test_a_shard_that_the_server_never_gives_is_an_error_or_a_counted_loss(make_set, hasty, workers, trouble, caplog):
    folder = make_set(train=(12, 4, 8))
    arguments = {"batch_size": 6, "num_workers": workers}
    with SetServer(folder).running() as server:
        whole = [key for batch in train_batches(opened(server.url, **arguments), [0]) for key in batch["key"]]
    for path in (Path(os.environ["SRITM_HOME"]) / "cache").glob("*.tar"):
        path.unlink()
    with SetServer(folder).running() as server:
        server.troubles["train-1.tar"] = [trouble] * 100
        with pytest.raises(DataError, match=r"train-1.tar can't be fetched"):
            train_batches(opened(server.url, **arguments), [0])
        gc.collect()  # the broken loader, lest the next one's workers stumble over it
        tolerant = opened(server.url, tolerate_damage=True, **arguments)
        keys = [key for batch in train_batches(tolerant, [0]) for key in batch["key"]]
    lost = {f"train-{number:03d}" for number in range(12, 16)}
    assert len(keys) == 24
    for slot, (was, now) in enumerate(zip(whole, keys, strict=True)):
        assert now == next(key for key in whole[slot:] + whole[:slot] if key not in lost), was
    if not workers:
        assert "train-1.tar can't be fetched" in caplog.text


def test_a_cache_that_cant_hold_two_windows_is_refused(make_set, hasty):
    folder = make_set(train=(3, 3, 3))
    with SetServer(folder).running() as server:
        with pytest.raises(ConfigError, match=r"a cache of 1000 bytes can't hold two shards of http.*data.cache_bytes"):
            opened(server.url, batch_size=1, cache_bytes=1000)
        assert not server.requests["train-0.tar"]


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_a_validation_shard_that_the_cache_cant_hold_is_refused_before_it_is_fetched(make_set, hasty, stage):
    folder = make_set(train=(1,), val=(4,))
    (shard,) = Manifest.read(folder).splits["val"]
    with SetServer(folder).running() as server:
        with pytest.raises(ConfigError, match=rf"val shards of http.*; set data.cache_bytes to {shard.bytes}"):
            opened(server.url, stage=stage, batch_size=1, cache_bytes=shard.bytes - 1)
        assert not server.requests["val-0.tar"]


def test_a_server_without_the_set_is_named(tmp_path, hasty):
    with (
        SetServer(tmp_path).running() as server,
        pytest.raises(DataError, match=rf"^{server.url}/dataset.json can't be fetched: .*404"),
    ):
        opened(server.url)


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_sets_are_mixed_by_weight(make_set, world_size, workers):
    large, small = make_set(train=(20, 10), name="large"), make_set(train=(6, 4), name="small", prefix="other")
    roots = [str(large), str(small)]
    ranks = [
        opened(roots, rank, world_size, weights=[1, 1], global_batch_size=4, num_workers=workers)
        for rank in range(world_size)
    ]
    keys = []
    for epoch in range(3):
        batches = [train_batches(data, [epoch]) for data in ranks]
        keys.append([key for each in zip(*batches, strict=True) for batch in each for key in batch["key"]])
    assert [len(epoch) for epoch in keys] == [40] * 3
    by_set = [Counter(key.split("-")[0] for key in epoch) for epoch in keys]
    assert by_set == [{"train": 20, "other": 20}] * 3
    assert Counter(key for epoch in keys for key in epoch if key.startswith("other")) == {
        f"other-{number:03d}": 6 for number in range(10)
    }
    assert set(Counter(key for epoch in keys for key in epoch if key.startswith("train")).values()) == {2}
    assert [batch["key"][0] for batch in ranks[0].val_dataloader()] == [f"val-{n:03d}" for n in range(0, 4, world_size)]


def test_a_mixture_resumes_within_an_epoch_but_not_with_other_weights(make_set):
    roots = [str(make_set(train=(5, 4), name="one")), str(make_set(train=(3,), name="two", prefix="other"))]
    whole = [batch["key"] for batch in train_batches(opened(roots, weights=[1, 2], batch_size=2), [3])]
    before = opened(roots, weights=[1, 2], batch_size=2, num_workers=2).train_dataloader()
    before.batch_sampler.set_epoch(3)
    iterator = iter(before)
    next(iterator), next(iterator)
    after = opened(roots, weights=[1, 2], batch_size=2).train_dataloader()
    after.load_state_dict(before.state_dict())
    assert [batch["key"] for batch in after] == whole[2:]
    with pytest.raises(ConfigError, match="digest"):
        opened(roots, weights=[1, 3], batch_size=2).train_dataloader().load_state_dict(before.state_dict())


def test_a_window_of_another_size_is_another_order(make_set, hasty):
    folder = make_set(train=(4,) * 6)
    with SetServer(folder).running() as server:
        before = opened(server.url, batch_size=2, **small_cache(folder, 4)).train_dataloader()
        next(iter(before))
        after = opened(server.url, batch_size=2, **small_cache(folder, 2)).train_dataloader()
        with pytest.raises(ConfigError, match=r"windows \[2\] \(now \[1\]\)"):
            after.load_state_dict(before.state_dict())


@pytest.mark.parametrize("streamed_first", [True, False])
def test_a_streamed_set_and_its_local_copy_have_different_orders(make_set, hasty, streamed_first):
    folder = make_set(train=(4,) * 6)
    with SetServer(folder).running() as server:
        streamed = opened(server.url, batch_size=2, **small_cache(folder, 4)).train_dataloader()
        local = opened(folder, batch_size=2).train_dataloader()
        before, after = (streamed, local) if streamed_first else (local, streamed)
        next(iter(before))
        was, now = ("[2]", "None") if streamed_first else ("None", "[2]")
        with pytest.raises(ConfigError, match=re.escape(f"windows {was} (now {now})")):
            after.load_state_dict(before.state_dict())


def test_a_set_on_other_signals_is_refused(make_set):
    manifest = make_set() / "dataset.json"
    manifest.write_text(manifest.read_text().replace("bt709-bt1886-ycbcr709-narrow-8", "bt709-srgb-rgb-full-8"))
    with pytest.raises(DataError, match=r"has signals .*bt709-srgb-rgb-full-8.*; networks train on .*bt1886"):
        opened(str(manifest.parent))


def test_sets_that_dont_go_together_are_refused(make_set):
    one = make_set(name="one")
    with pytest.raises(DataError, match="are of scale 4, not 2"):
        opened([str(one), str(make_set(scale=4, name="scale"))])
    with pytest.raises(DataError, match=r"empty has no training samples; leave it out"):
        opened([str(one), str(make_set(train=(), name="empty"))])


def test_jitter_belongs_to_the_slot_and_changes_colours_alone(make_set):
    folder = make_set(train=(13, 11), curve="reinhard-1000", exposure=0.5)
    plain = train_batches(opened(folder, batch_size=6), [3])
    arguments = {"exposure_jitter": 0.5, "hue_jitter": True}
    alone = train_batches(opened(folder, batch_size=6, **arguments), [3])
    ranks = [
        train_batches(opened(folder, rank, 2, global_batch_size=6, num_workers=2, **arguments), [3])
        for rank in range(2)
    ]
    for before, whole, *parts in zip(plain, alone, *ranks, strict=True):
        assert before["key"] == whole["key"]
        assert not torch.equal(before["hdr"], whole["hdr"])
        for name in ("sdr", "hdr"):
            assert torch.equal(whole[name], torch.cat([part[name] for part in parts]))


@pytest.mark.parametrize("jitter", [{"hue_jitter": True}, {"exposure_jitter": 0.5}])
def test_sets_that_cant_be_jittered_are_refused_before_training(make_set, jitter):
    good = make_set(name="good", curve="reinhard-1000", exposure=0.5)
    graded = make_set(name="graded", curve="reinhard-1000", exposure=None)
    mixed = make_set(name="mixed", preset="mixed", curve="reinhard-1000", exposure=0.5)
    opened(good, batch_size=4, **jitter)
    with pytest.raises(DataError, match=r"sample train-000 was made of graded HDR: exposure and hue jitter need"):
        opened([str(good), str(graded)], batch_size=4, **jitter)
    with pytest.raises(DataError, match=r"mixed was made by the preset mixed: exposure and hue jitter need val-v1"):
        opened([str(good), str(mixed)], batch_size=4, **jitter)


def test_a_remote_set_is_judged_for_jitter_by_its_preset_then_by_its_samples(make_set, hasty):
    with SetServer(make_set(name="mixed", preset="mixed")).running() as server:
        with pytest.raises(DataError, match=r"was made by the preset mixed"):
            opened(server.url, batch_size=4, hue_jitter=True)
        assert not server.requests["train-0.tar"]
    with SetServer(make_set(name="graded", curve="reinhard-1000", exposure=None)).running() as server:
        data = opened(server.url, batch_size=4, hue_jitter=True)
        assert not server.requests["train-0.tar"]
        with pytest.raises(DataError, match=r"was made of graded HDR"):
            train_batches(data, [0])


def train_and_note(root: str, workers: int, state: Path, log: Path, cache_bytes: int) -> None:
    """Six epochs of ten batches, noted line by line; every third batch the place is saved, and taken up if found."""
    data = opened(root, batch_size=2, num_workers=workers, cache_bytes=cache_bytes)
    loader = data.train_dataloader()
    if state.exists():
        loader.load_state_dict(json.loads(state.read_text()))
    while loader.batch_sampler.epoch < 6:
        for batch in loader:
            with log.open("a") as stream:
                stream.write(f"{' '.join(batch['key'])} {int(batch['hdr'].sum())}\n")
            time.sleep(0.02)  # a step, long enough to be killed in
            if loader.state_dict()["done"] % 3 == 0:
                state.with_suffix(".new").write_text(json.dumps(loader.state_dict()))
                state.with_suffix(".new").replace(state)
        loader.batch_sampler.set_epoch(loader.batch_sampler.epoch + 1)


@pytest.mark.parametrize("remote_set", [False, True], ids=["local", "remote"])
def test_after_kill_9_and_resume_the_samples_are_those_of_an_undisturbed_run(make_set, tmp_path, hasty, remote_set):
    folder = make_set(train=(5, 4, 6, 5))
    cache_bytes = small_cache(folder, 3)["cache_bytes"]
    state, log = tmp_path / "state", tmp_path / "log"
    with SetServer(folder).running() as server:
        url = server.url if remote_set else str(folder)
        train_and_note(url, 0, tmp_path / "unused", tmp_path / "undisturbed", cache_bytes)
        undisturbed = (tmp_path / "undisturbed").read_text().splitlines()
        assert len(undisturbed) == 60
        server.delay = 0.02  # so that kills meet fetches too
        gc.collect()  # broken loaders of other tests, lest a forked process stumble over them
        for workers, lines in ((2, 14), (0, 30)):
            process = multiprocessing.get_context("fork").Process(
                target=train_and_note, args=(url, workers, state, log, cache_bytes)
            )
            process.start()
            while process.is_alive() and (not log.exists() or log.read_text().count("\n") < lines):
                time.sleep(0.001)
            process.kill()
            process.join()
            assert process.exitcode == -9
            # What came after the place was saved is done again, as after a checkpoint.
            done = json.loads(state.read_text())
            kept = log.read_text().splitlines()[: 10 * done["epoch"] + done["done"]]
            log.write_text("".join(f"{line}\n" for line in kept))
        train_and_note(url, 1, state, log, cache_bytes)
    assert log.read_text().splitlines() == undisturbed


class Recorder(pl.LightningModule):
    """Notes the batches it is given: rank, epoch, keys and the sum of all codes."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.notes = notes

    def note(self, batch: dict[str, Any], kind: str) -> None:
        total = int(batch["sdr"].sum()) + int(batch["hdr"].sum())
        with (self.notes / f"{kind}-{self.global_rank}").open("a") as stream:
            stream.write(f"{self.current_epoch} {','.join(batch['key'])} {total}\n")

    def read(self, kind: str = "train", rank: int = 0) -> list[str]:
        return (self.notes / f"{kind}-{rank}").read_text().splitlines()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.note(batch, "train")
        return self.weight.sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.note(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(notes: Path, data: SRITMDataModule, ckpt_path: Path | None = None, **arguments: Any) -> Recorder:
    notes.mkdir()
    module = Recorder(notes)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        use_distributed_sampler=False,
        default_root_dir=notes,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **arguments,
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return module


@pytest.mark.parametrize(
    ("workers", "resumed_workers", "limit"), [(0, 2, 1.0), (2, 0, 1.0), (2, 1, 3)], ids=["0-2", "2-0", "shortened"]
)
def test_a_resumed_fit_continues_with_the_very_next_sample(make_set, tmp_path, workers, resumed_workers, limit):
    folder = make_set(train=(7, 4))
    arguments = {"batch_size": 2, "crop": [8, 12], "stage_epoch": 1}
    every_step = pl.callbacks.ModelCheckpoint(
        dirpath=tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False
    )
    whole = fit(
        tmp_path / "whole",
        SRITMDataModule(str(folder), **arguments, num_workers=workers),
        callbacks=[every_step],
        limit_train_batches=limit,
    ).read()
    per_epoch = 5 if limit == 1.0 else 3
    assert len(whole) == 3 * per_epoch
    for step in (1, per_epoch, per_epoch + 1, 2 * per_epoch - 1):
        resumed = fit(
            tmp_path / f"from{step}",
            SRITMDataModule(str(folder), **arguments, num_workers=resumed_workers),
            tmp_path / f"step={step}.ckpt",
            enable_checkpointing=False,
            limit_train_batches=limit,
        ).read()
        assert resumed == whole[step:]


def test_two_lightning_ranks_get_what_one_gets(make_set, tmp_path):
    folder = make_set(train=(7, 6), val=(3, 2))
    quiet = {"enable_checkpointing": False}
    alone = fit(tmp_path / "one", SRITMDataModule(str(folder), batch_size=4, crop=[8]), **quiet)
    both = fit(
        tmp_path / "two",
        SRITMDataModule(str(folder), global_batch_size=4, crop=[8]),
        devices=2,
        strategy="ddp_fork",
        **quiet,
    )

    def keys(line: str) -> list[str]:
        return line.split()[1].split(",")

    for whole, first, second in zip(alone.read(), both.read(rank=0), both.read(rank=1), strict=True):
        assert keys(whole) == keys(first) + keys(second)
    validated = Counter(key for rank in (0, 1) for line in both.read("val", rank) for key in keys(line))
    assert validated == {f"val-{number:03d}": 3 for number in range(5)}  # once in each of three epochs
