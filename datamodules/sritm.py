"""The data module: shards on the disk to batches, for training, validation and test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from datamodules.augment import CropSchedule
from datamodules.datasets import TrainingPatches, WholeFrames, collate
from datamodules.embedded import embedded_root, make_embedded
from datamodules.index import open_index
from datamodules.loader import SlotBatches, SlotLoader, same_size_batches
from datamodules.manifest import Manifest
from datamodules.reader import ShardReader
from zoo.errors import ConfigError, DataError, ZooError

logger = logging.getLogger(__name__)


class SRITMDataModule(pl.LightningDataModule):
    """Batches of SDR and HDR codes from a set of shards.

    A batch is ``{"sdr": uint8 (B, 3, h, w), "hdr": int16 (B, 3, s h, s w), "key": list of B names}``; codes stay
    integers here. The order of training samples, their crops and turns are a function of ``seed`` and epoch alone,
    whatever the number of ranks and workers; the last incomplete global batch of an epoch is dropped. Validation and
    test give each frame exactly once over all ranks, whole and in the order of the set.

    Use it with ``Trainer(use_distributed_sampler=False)``: it divides the samples among the ranks itself.

    Args:
        root: folder of a set (``dataset.json`` and shards), or ``embedded``: the photographs in the checkout, whose
            shards are made on first use.
        scale: HR over LR size; the set must have been made for it.
        batch_size: training samples for each rank.
        global_batch_size: training samples for all ranks together; if given it replaces ``batch_size``.
        crop: HR pixels of the training crops, one value or one for each of two stages; multiples of the scale.
        stage_epoch: the epoch with which the second stage begins; None where there is one stage.
        seed: of order, crops and turns; not negative.
        num_workers: processes that read, for each rank.
        val_batch_size: frames of one size in a batch of validation and test.
        val_scenes: names of the scenes to validate on; None takes all.
        tolerate_damage: use what can be read of damaged shards; each lost slot takes the next good sample.

    Raises:
        ConfigError: arguments that contradict each other or can't be.
    """

    def __init__(
        self,
        root: str = "embedded",
        scale: Literal[1, 2, 4] = 2,
        batch_size: int = 8,
        global_batch_size: int | None = None,
        crop: Sequence[int] = (160,),
        stage_epoch: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
        val_batch_size: int = 1,
        val_scenes: Sequence[str] | None = None,
        tolerate_damage: bool = False,
    ) -> None:
        super().__init__()
        self.root = root
        self.scale = scale
        self.seed = seed
        self.num_workers = num_workers
        self.val_batch_size = val_batch_size
        self.val_scenes = val_scenes
        self.tolerate_damage = tolerate_damage
        self.crops = CropSchedule(tuple(crop), stage_epoch)
        self._batch_size = batch_size
        self._global_batch_size = global_batch_size
        self._manifest: Manifest | None = None
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
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"data.seed is {self.seed}; it must be 0 or more")

    @property
    def root_path(self) -> Path:
        """The folder of the set."""
        return embedded_root(self.scale) if self.root == "embedded" else Path(self.root).expanduser()

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
        """Samples of the training split, those of a last incomplete global batch included."""
        return self.manifest.samples("train")

    @property
    def sources(self) -> list[str]:
        """Names of the pictures that the set was made from."""
        return [source.name for source in self.manifest.sources]

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest: equal digests mean equal samples."""
        return self.manifest.digest

    @property
    def manifest(self) -> Manifest:
        """What the set says of itself; known after ``setup``."""
        if self._manifest is None:
            raise ConfigError("the set isn't open; call prepare_data() and setup() of the data module first")
        return self._manifest

    def prepare_data(self) -> None:
        """Once on each node: make the embedded set if it is asked for, and check the shards' digests.

        What fails here fails again in ``setup``, on every rank; raised here, it would leave other ranks waiting.
        """
        try:
            if self.root == "embedded":
                make_embedded(self.scale)
            for entries in Manifest.read(self.root_path).splits.values():
                for entry in entries:
                    open_index(self.root_path, entry)
        except ZooError as error:
            logger.debug("left to setup: %s", error)

    def setup(self, stage: str) -> None:
        """Open the splits that ``stage`` needs and check them.

        Raises:
            DataError: the set is missing, damaged, of another scale or too small.
            ConfigError: the set, the trainer and the arguments don't go together.
        """
        # Lightning's sampler would divide among the ranks what is divided already. (No public attribute says so.)
        trainer = self.trainer
        if trainer is not None and trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise ConfigError("the data module divides the samples itself; use Trainer(use_distributed_sampler=False)")
        if self.root == "embedded":
            make_embedded(self.scale)  # it is there already, unless prepare_data failed
        manifest = Manifest.read(self.root_path)
        if manifest.scale != self.scale:
            raise DataError(
                f"shards in {self.root_path} are of scale {manifest.scale}, not {self.scale}; "
                f"set scale to {manifest.scale} or make a set with tools/make_shards.py --scale {self.scale}"
            )
        self._manifest = manifest
        if stage == "fit":
            self._setup_train()
        if stage in ("fit", "validate"):
            self._setup_frames("val", self.val_scenes)
        if stage == "test":
            self._setup_frames("test", None)

    def _setup_train(self) -> None:
        reader = self._open("train")
        if len(reader) < self.global_batch_size:
            raise DataError(
                f"{self.root_path} has {len(reader)} training samples, fewer than one global batch of "
                f"{self.global_batch_size} ({self.batch_size} x {self.world_size} ranks); lower data.batch_size or "
                "make more patches"
            )
        if (largest := max(self.crops.sizes)) > (smallest := reader.smallest_side()):
            raise ConfigError(
                f"data.crop {largest} is larger than the stored patches of {self.root_path}, {smallest} HR pixels; "
                "give a smaller crop"
            )

    def _setup_frames(self, split: str, scenes: Sequence[str] | None) -> None:
        reader = self._open(split)
        frames = np.flatnonzero(reader.readable).tolist()
        if scenes is not None:
            scene_of = {frame: reader.meta(frame)["scene"] for frame in frames}
            known = sorted(set(scene_of.values()))
            if unknown := sorted(set(scenes) - set(known)):
                raise ConfigError(
                    f"data.val_scenes: {self.root_path} has no {', '.join(unknown)}; it has {', '.join(known)}"
                )
            frames = [frame for frame in frames if scene_of[frame] in scenes]
        # A rank without a frame would skip validation and leave the others waiting for its part of the scores.
        if frames and len(frames) < self.world_size:
            raise DataError(
                f"{self.root_path} has {len(frames)} {split} frames for {self.world_size} ranks, each needs one; "
                "use fewer ranks or more scenes"
            )
        self._frames[split] = frames[self.rank :: self.world_size]

    def _open(self, split: str) -> ShardReader:
        entries = self.manifest.splits.get(split, ())
        reader = ShardReader(self.root_path, entries, self.scale, self.tolerate_damage)
        self._readers[split] = reader
        return reader

    def _opened(self, split: str) -> ShardReader:
        if split not in self._readers:
            raise ConfigError(f"{split} isn't open; call prepare_data() and setup() of the data module first")
        return self._readers[split]

    def train_dataloader(self) -> DataLoader:
        """Training batches of this rank."""
        reader = self._opened("train")
        order = {"seed": self.seed, "global_batch_size": self.global_batch_size, "digest": self.digest}
        return SlotLoader(
            TrainingPatches(reader, self.seed, self.crops),
            SlotBatches(len(reader), self.batch_size, self.rank, self.world_size),
            order,
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
        )
