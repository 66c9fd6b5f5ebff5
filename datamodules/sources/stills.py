"""Single flat pictures: scene light from OpenEXR and Radiance, HDR codes from PNG and AVIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datamodules.sources.coded import check_pair, coded_hdr_signal, coded_sdr_signal, inspect_coded, read_coded
from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import scene_name
from datamodules.sources.scene_light import read_scene_light, scene_light_size
from zoo.signal import Signal


class SceneLightStill:
    """A flat picture of scene light as a source of one frame; see ``Source``.

    Raises:
        DataError: as ``read_scene_light``; damaged pixels, NaN and infinity are found when the frame is read.
    """

    frame_count = 1
    panoramic = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scene = scene_name(path)
        self.size = scene_light_size(path)

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        for number in range(self.frame_count)[start:stop:stride]:
            yield Frame(number, Picture(read_scene_light(self.path)))

    def files(self) -> list[Path]:
        return [self.path]


class CodedStill:
    """A PNG or AVIF picture on an HDR signal, by itself or with its graded SDR twin; see ``Source``.

    Args:
        path: the HDR picture, 10 bits or more, PQ or HLG.
        signal: of the HDR picture, where its tags are silent (16-bit PNG mostly).
        sdr_path: the SDR picture of the pair: of the same size, or already reduced to 1/2 or 1/4.
        sdr_signal: of the SDR picture, where its tags are silent.

    Raises:
        DataError: as ``coded_hdr_signal``, ``coded_sdr_signal`` and ``check_pair``; damaged pixels are found when the
            frame is read.
    """

    frame_count = 1
    panoramic = False

    def __init__(
        self,
        path: Path,
        signal: Signal | None = None,
        sdr_path: Path | None = None,
        sdr_signal: Signal | None = None,
    ) -> None:
        self.path = path
        self.scene = scene_name(path)
        hdr = inspect_coded(path)
        self.size = hdr.size
        self._hdr = hdr, coded_hdr_signal(hdr, signal)
        self._sdr = None
        if sdr_path is not None:
            sdr = inspect_coded(sdr_path)
            self._sdr = sdr, coded_sdr_signal(sdr, sdr_signal)
            check_pair(hdr, sdr)

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        for number in range(self.frame_count)[start:stop:stride]:
            yield Frame(number, read_coded(*self._hdr), None if self._sdr is None else read_coded(*self._sdr))

    def files(self) -> list[Path]:
        return [self.path] if self._sdr is None else [self.path, self._sdr[0].path]
