"""The folder beside a set where it is made, which survives a kill so that the same command can go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datamodules.manifest import ShardEntry
from datamodules.plan import Survey, read_survey
from datamodules.scenes import Scene
from datamodules.shards import is_whole
from zoo.errors import DataError
from zoo.files import UNFINISHED, lock, write_json


class WorkFolder:
    """``.NAME-making`` beside the folder NAME of a set.

    It holds ``plan.json`` (what the set follows from), ``surveys``, ``parts`` (scratch shards), ``set`` (the set as far
    as it is written) and ``dealt`` (records of the shards in it).

    Args:
        folder: where the set will lie.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.absolute()  # workers may have been started elsewhere
        self.path = folder.parent / f".{folder.name}-making"
        self.surveys = self.path / "surveys"
        self.parts = self.path / "parts"
        self.set = self.path / "set"
        self.dealt = self.path / "dealt"
        self._plan = self.path / "plan.json"

    @contextmanager
    def held(self, facts: dict[str, Any]) -> Iterator[None]:
        """Hold the folder for one process; made if it isn't there, kept if anything in it is worth it.

        Surveys alone bind it to no plan: each says which source it is of.

        Args:
            facts: what the set follows from, as JSON takes it.

        Raises:
            DataError: another process holds it, or it has parts of a set of other facts.
            OSError: it can't be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as file:
            if not lock(file):  # without locks two processes at once would only do the same work twice
                raise DataError(f"another process is making a set in {self.path}; wait for it")
            self._check(facts)
            for folder in (self.surveys, self.parts, self.set, self.dealt):
                folder.mkdir(exist_ok=True)
                for rest in folder.rglob(f".*{UNFINISHED}"):
                    rest.unlink(missing_ok=True)
            try:
                yield
            except BaseException:
                if not (self.parts_made() or self.surveys_made()):
                    self.remove()
                raise

    def left_over(self, facts: dict[str, Any]) -> bool:
        """Whether a set of these facts was made here and moved to its place, but this folder is still there."""
        return not self.set.exists() and self._plan.is_file() and self._read_plan() == facts

    def parts_made(self) -> int:
        """How many parts are finished."""
        return sum(1 for _ in self.parts.glob("*/*.json"))

    def surveys_made(self) -> int:
        """How many sources are surveyed."""
        return sum(1 for _ in self.surveys.glob("*.json"))

    def survey(self, scene: Scene) -> Survey | None:
        """The survey of a source that was surveyed before, by the same path and reading."""
        path = self.surveys / f"{scene.name}.json"
        return read_survey(path, scene) if path.is_file() else None

    def forget(self, scene: str) -> bool:
        """Drop what was made of a scene; False if shards of the set hold it already."""
        if any(self.dealt.iterdir()):
            return False
        (self.surveys / f"{scene}.json").unlink(missing_ok=True)
        shutil.rmtree(self.parts / scene, ignore_errors=True)
        return True

    def dealt_shard(self, split: str, number: int) -> ShardEntry | None:
        """The entry of a shard of the set if it was written before and is undamaged."""
        path = self.dealt / f"{split}-{number:06d}.json"
        if not path.is_file():
            return None
        entry = ShardEntry(**json.loads(path.read_text(encoding="utf-8")))
        return entry if is_whole(self.set / entry.file, entry) else None

    def record_shard(self, split: str, number: int, entry: ShardEntry) -> None:
        """Note that a shard of the set is written."""
        write_json(self.dealt / f"{split}-{number:06d}.json", asdict(entry))

    def dealt_split(self, split: str) -> list[ShardEntry] | None:
        """The entries of a split if all its shards are written, so that its parts aren't needed any more."""
        path = self.dealt / f"{split}.json"
        if not path.is_file():
            return None
        return [ShardEntry(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]

    def record_split(self, split: str, entries: Sequence[ShardEntry]) -> None:
        """Note that all shards of a split are written."""
        write_json(self.dealt / f"{split}.json", [asdict(entry) for entry in entries])

    def remove(self) -> None:
        """Remove the folder; the plan goes last, so that a kill meanwhile leaves what can be removed later."""
        for folder in (self.surveys, self.parts, self.set, self.dealt):
            shutil.rmtree(folder, ignore_errors=True)
        self._plan.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _check(self, facts: dict[str, Any]) -> None:
        begun = self._read_plan() if self._plan.is_file() else None
        if begun == facts:
            return
        if begun is not None and self.parts_made():
            other = ", ".join(key for key in facts if facts[key] != begun.get(key))
            raise DataError(
                f"{self.path} holds an unfinished set with another {other}; finish it with its own command, or remove "
                "that folder"
            )
        write_json(self._plan, facts)

    def _read_plan(self) -> dict[str, Any]:
        return json.loads(self._plan.read_text(encoding="utf-8"))
