"""The data module: shards on the disk or on a server to batches, for training, validation and test."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from datamodules.augment import CropSchedule
from datamodules.cache import ShardCache
from datamodules.datasets import TrainingPatches, WholeFrames, collate
from datamodules.embedded import embedded_root, make_embedded
from datamodules.jitter import ColourJitter, check_pair, check_preset
from datamodules.loader import SlotBatches, SlotLoader, leave_stopping_to_the_parent, same_size_batches
from datamodules.mixture import MixedOrder, Part
from datamodules.reader import ShardReader
from datamodules.sets import ShardSet, open_set
from zoo.errors import ConfigError, DataError, ZooError
from zoo.home import sritm_home
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

logger = logging.getLogger(__name__)

_SIGNALS = {"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)}

# Beyond it a picture is nearly all black or all white.
_MOST_STOPS = 4.0


class SRITMDataModule(pl.LightningDataModule):
    """Batches of SDR and HDR codes from one or several sets of shards.

    A batch is ``{"sdr": uint8 (B, 3, h, w), "hdr": int16 (B, 3, s h, s w), "key": list of B names}``; codes stay
    integers here. The order of training samples, their crops, turns and jitter are a function of ``seed`` and epoch
    alone, whatever the number of ranks and workers; the last incomplete global batch of an epoch is dropped.
    Validation and test give each frame of the first set exactly once over all ranks, whole and in the order of the set.

    Use it with ``Trainer(use_distributed_sampler=False)``: it divides the samples among the ranks itself.

    Args:
        root: the set or, as a list, the sets: folders (``dataset.json`` and shards), URLs of ``http(s)``, ``s3``,
            ``gs`` or ``file``, or ``embedded``: the photographs in the checkout, whose shards are made on first use.
        weights: share of each set in training, relative to the others; by their numbers of samples if None.
        scale: HR over LR size; the sets must have been made for it.
        batch_size: training samples for each rank.
        global_batch_size: training samples for all ranks together; if given it replaces ``batch_size``.
        crop: HR pixels of the training crops, one value or one for each of two stages; multiples of the scale.
        stage_epoch: the epoch with which the second stage begins; None where there is one stage.
        turns: give each crop one of the eight flips and quarter turns of a square.
        exposure_jitter: largest random change of exposure in stops; 0 is none. For pairs of scene light by the preset
            ``val-v1``.
        hue_jitter: put R, G and B in a random order. For the same pairs.
        seed: of order, crops, turns and jitter; not negative.
        num_workers: processes that read, for each rank.
        val_batch_size: frames of one size in a batch of validation and test.
        val_scenes: names of the scenes to validate on; None takes all.
        tolerate_damage: use what can be read of damaged shards; each lost slot takes the next good sample.
        cache_dir: where shards of remote sets are kept; None is ``cache`` in ``SRITM_HOME``. All processes of a node
            share it.
        cache_bytes: the most that these shards may take there. It must hold two windows of shards; a training order
            follows from it where a set is larger.

    Raises:
        ConfigError: arguments that contradict each other or can't be.
    """

    def __init__(
        self,
        root: Sequence[str] | str = "embedded",
        weights: Sequence[float] | None = None,
        scale: Literal[1, 2, 4] = 2,
        batch_size: int = 8,
        global_batch_size: int | None = None,
        crop: Sequence[int] = (160,),
        stage_epoch: int | None = None,
        turns: bool = True,
        exposure_jitter: float = 0.0,
        hue_jitter: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        val_batch_size: int = 1,
        val_scenes: Sequence[str] | None = None,
        tolerate_damage: bool = False,
        cache_dir: str | None = None,
        cache_bytes: int = 20_000_000_000,
    ) -> None:
        super().__init__()
        self.root = root
        self.weights = weights
        self.scale = scale
        self.turns = turns
        self.exposure_jitter = exposure_jitter
        self.hue_jitter = hue_jitter
        self.seed = seed
        self.num_workers = num_workers
        self.val_batch_size = val_batch_size
        self.val_scenes = val_scenes
        self.tolerate_damage = tolerate_damage
        self.cache_dir = cache_dir
        self.cache_bytes = cache_bytes
        self.crops = CropSchedule(tuple(crop), stage_epoch)
        self._batch_size = batch_size
        self._global_batch_size = global_batch_size
        self._sets: list[ShardSet] = []
        self._order: MixedOrder | None = None
        self._readers: dict[str, ShardReader] = {}
        self._frames: dict[str, list[int]] = {}
        self._check_arguments()

    def _check_arguments(self) -> None:
        sizes = self.crops.sizes
        if len(sizes) not in (1, 2) or any(size <= 0 or size % self.scale for size in sizes):
            raise ConfigError(
                f"data.crop is {list(sizes)}; it takes one or two sizes in HR pixels, multiples of scale {self.scale}"
            )
        if len(sizes) == 2 and self.crops.stage_epoch is None:
            raise ConfigError(
                f"data.crop has two sizes {list(sizes)} but there is one stage; set stage.epoch or give one"
            )
        for name, value in (("batch_size", self._batch_size), ("val_batch_size", self.val_batch_size)):
            if value < 1:
                raise ConfigError(f"data.{name} is {value}; it must be at least 1")
        if self.num_workers < 0:
            raise ConfigError(f"data.num_workers is {self.num_workers}; it must be at least 0")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"data.seed is {self.seed}; it must be 0 or more")
        if not self.roots:
            raise ConfigError("data.root names no set; give a folder, a URL or embedded")
        if not 0 <= self.exposure_jitter <= _MOST_STOPS:
            raise ConfigError(f"data.exposure_jitter is {self.exposure_jitter}; it takes 0 to {_MOST_STOPS} stops")
        if self.weights is None:
            return
        if len(self.weights) != len(self.roots):
            raise ConfigError(f"data.weights has {len(self.weights)} numbers for {len(self.roots)} sets of data.root")
        if not all(0 < weight < math.inf for weight in self.weights):
            raise ConfigError(f"data.weights is {list(self.weights)}; each must be above 0")

    @property
    def roots(self) -> list[str]:
        """The sets' roots as they were given."""
        return [self.root] if isinstance(self.root, str) else list(self.root)

    @property
    def world_size(self) -> int:
        """Ranks that share the samples; 1 without a trainer."""
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def rank(self) -> int:
        """This process among them, from 0."""
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def batch_size(self) -> int:
        """Training samples in a batch of each rank.

        Raises:
            ConfigError: the ranks can't share ``global_batch_size`` evenly.
        """
        if self._global_batch_size is None:
            return self._batch_size
        each, rest = divmod(self._global_batch_size, self.world_size)
        if rest or each < 1:
            raise ConfigError(
                f"data.global_batch_size {self._global_batch_size} can't be divided among {self.world_size} ranks; "
                "give a multiple of them"
            )
        return each

    @property
    def global_batch_size(self) -> int:
        """Training samples in a batch of all ranks together."""
        return self.batch_size * self.world_size

    @property
    def train_samples(self) -> int:
        """Samples of the sets' training splits, those of a last incomplete global batch included."""
        return sum(each.manifest.samples("train") for each in self.sets)

    @property
    def sources(self) -> list[str]:
        """Names of the pictures that the sets were made from."""
        return [source.name for each in self.sets for source in each.manifest.sources]

    @property
    def digest(self) -> str:
        """SHA-256 over the sets' manifests and weights, of one set its manifest's; equal ones mean equal samples."""
        digests = [each.manifest.digest for each in self.sets]
        if len(digests) == 1:
            return digests[0]
        weights = None if self.weights is None else list(self.weights)
        return hashlib.sha256(json.dumps([digests, weights]).encode()).hexdigest()

    @property
    def sets(self) -> list[ShardSet]:
        """The sets, in the order of ``root``; known after ``setup``."""
        if not self._sets:
            raise ConfigError("the set isn't open; call prepare_data() and setup() of the data module first")
        return self._sets

    def prepare_data(self) -> None:
        """Once on each node: make the embedded set if it is asked for, and check the local shards' digests.

        What fails here fails again in ``setup``, on every rank; raised here, it would leave other ranks waiting.
        """
        try:
            for each in self._open_sets():
                for split in each.manifest.splits:
                    ShardReader(each.shards(split), self.scale, self.tolerate_damage).index_all(remote=False)
        except ZooError as error:
            logger.debug("left to setup: %s", error)

    def _open_sets(self) -> list[ShardSet]:
        if "embedded" in self.roots:
            make_embedded(self.scale)
        folder = Path(self.cache_dir).expanduser() if self.cache_dir else sritm_home() / "cache"
        cache = ShardCache(folder.absolute(), self.cache_bytes)
        return [open_set(str(embedded_root(self.scale)) if r == "embedded" else r, cache) for r in self.roots]

    def setup(self, stage: str) -> None:
        """Open the splits that ``stage`` needs and check them; remote training shards when they are fetched.

        Raises:
            DataError: a set is missing, damaged, of another scale or signals, or too small.
            ConfigError: the sets, the trainer and the arguments don't go together.
        """
        # Lightning's sampler would divide among the ranks what is divided already. (No public attribute says so.)
        trainer = self.trainer
        if trainer is not None and trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise ConfigError("the data module divides the samples itself; use Trainer(use_distributed_sampler=False)")
        sets = self._open_sets()
        for each in sets:
            if each.manifest.scale != self.scale:
                raise DataError(
                    f"shards in {each.name} are of scale {each.manifest.scale}, not {self.scale}; set scale to "
                    f"{each.manifest.scale} or make a set with tools/make_shards.py --scale {self.scale}"
                )
            if each.manifest.signals != _SIGNALS:
                raise DataError(
                    f"{each.name} has signals {each.manifest.signals}; networks train on {_SIGNALS}: make the set with "
                    "tools/make_shards.py"
                )
        self._sets = sets
        if stage == "fit":
            self._setup_train()
        if stage in ("fit", "validate"):
            self._setup_frames("val", self.val_scenes)
        if stage == "test":
            self._setup_frames("test", None)

    def _setup_train(self) -> None:
        for each in self.sets:
            if not each.manifest.samples("train"):
                raise DataError(f"{each.name} has no training samples; leave it out, or make its train split")
        if self.train_samples < self.global_batch_size:
            raise DataError(
                f"{', '.join(each.name for each in self.sets)} has {self.train_samples} training samples, fewer than "
                f"one global batch of {self.global_batch_size} ({self.batch_size} x {self.world_size} ranks); lower "
                "data.batch_size or make more patches"
            )
        shards = [shard for each in self.sets for shard in each.shards("train")]
        reader = ShardReader(shards, self.scale, self.tolerate_damage, max(self.crops.sizes))
        reader.index_all(remote=False)
        if self.exposure_jitter or self.hue_jitter:
            self._check_jitter(reader)
        self._readers["train"] = reader
        self._order = self._mixed_order()

    def _check_jitter(self, reader: ShardReader) -> None:
        """Refuse sets that can't be jittered by what is at hand: the preset and, of a local set, one sample."""
        first = 0
        for each in self.sets:
            check_preset(each.name, each.manifest.preset)
            end = first + each.manifest.samples("train")
            if each.cache is None:
                sample = next(filter(None, map(reader.read_if_there, range(first, end))), None)
                if sample is not None:
                    check_pair(sample)
            first = end

    def _mixed_order(self) -> MixedOrder:
        remote = sum(each.cache is not None for each in self.sets)
        return MixedOrder(
            [
                Part(
                    [shard.entry.samples for shard in each.shards("train")],
                    each.manifest.samples("train") if self.weights is None else self.weights[place],
                    each.window("train", self.cache_bytes // max(1, remote)),
                )
                for place, each in enumerate(self.sets)
            ],
            self.seed,
        )

    def _setup_frames(self, split: str, scenes: Sequence[str] | None) -> None:
        first = self.sets[0]
        first.check_room(split)
        reader = ShardReader(first.shards(split), self.scale, self.tolerate_damage)
        # Remote ones too: which frames there are, and of what size, must be known to divide them among the ranks.
        reader.index_all()
        self._readers[split] = reader
        frames = [frame for frame in range(len(reader)) if reader.has(frame)]
        if scenes is not None:
            scene_of = {frame: str(reader.meta(frame).get("scene")) for frame in frames}
            known = sorted(set(scene_of.values()))
            if unknown := sorted(set(scenes) - set(known)):
                raise ConfigError(
                    f"data.val_scenes: {first.name} has no {', '.join(unknown)}; it has {', '.join(known)}"
                )
            frames = [frame for frame in frames if scene_of[frame] in scenes]
        # A rank without a frame would skip validation and leave the others waiting for its part of the scores.
        if frames and len(frames) < self.world_size:
            raise DataError(
                f"{first.name} has {len(frames)} {split} frames for {self.world_size} ranks, each needs one; "
                "use fewer ranks or more scenes"
            )
        self._frames[split] = frames[self.rank :: self.world_size]

    def _opened(self, split: str) -> ShardReader:
        if split not in self._readers:
            raise ConfigError(f"{split} isn't open; call prepare_data() and setup() of the data module first")
        return self._readers[split]

    def train_dataloader(self) -> DataLoader:
        """Training batches of this rank."""
        reader, order = self._opened("train"), self._order
        assert order is not None
        facts = {"seed": self.seed, "global_batch_size": self.global_batch_size, "digest": self.digest}
        if any(order.windows):
            facts["windows"] = order.windows
        jitter = (
            ColourJitter(self.exposure_jitter, self.hue_jitter) if self.exposure_jitter or self.hue_jitter else None
        )
        return SlotLoader(
            TrainingPatches(reader, order, self.seed, self.crops, self.turns, jitter, order.window_slots()),
            SlotBatches(len(reader), self.batch_size, self.rank, self.world_size),
            facts,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        """Whole validation frames of this rank."""
        return self._frame_loader("val")

    def test_dataloader(self) -> DataLoader:
        """Whole test frames of this rank."""
        return self._frame_loader("test")

    def _frame_loader(self, split: str) -> DataLoader:
        reader, frames = self._opened(split), self._frames[split]
        return DataLoader(
            WholeFrames(reader, frames),
            batch_sampler=same_size_batches([reader.hdr_size(frame) for frame in frames], self.val_batch_size),
            collate_fn=collate,
            num_workers=min(self.num_workers, len(frames)),
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
            worker_init_fn=leave_stopping_to_the_parent,
        )
