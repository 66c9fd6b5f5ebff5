"""Folders of graded pairs: an SDR and an HDR picture of each frame under one name, as HDRTV1K comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from datamodules.sources.coded import (
    SUFFIXES,
    CodedFile,
    check_pair,
    coded_hdr_signal,
    coded_sdr_signal,
    inspect_coded,
    read_coded,
)
from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import scene_name
from zoo.errors import DataError
from zoo.signal import Signal

HDRRange = Literal["full", "hdrtv1k"]

# HDRTV1K (Chen et al., ICCV 2021) are frames of HDR10 videos and of their SDR versions that FFmpeg's scaler wrote as
# R'G'B' PNG. To 16 bits it takes nominal white, code 940 of 10 bits, to 65282.5 instead of 65535, and black to 0
# (seen in FFmpeg 8.1; overshoots end at 65535). Taken for full range all of it is 0.4 % of the signal too low.
_HDRTV1K_WHITE = 65282.5
_HDRTV1K_SIGNAL = Signal("bt2020", "pq", "rgb", "full", 16)
_HDRTV1K_SDR_SIGNAL = Signal("bt709", "bt1886", "rgb", "full", 8)

_NAMED_AT_MOST = 5  # files in a message


class PairedFolder:
    """Two folders of PNG or AVIF pictures under the same names, one of HDR and one of SDR; see ``Source``.

    Frames are in the order of their names; hidden files (named with a dot in front) are none. The SDR pictures have the
    size of the HDR ones, or are already reduced to 1/2 or 1/4. A frame's ``meta`` names its ``file``.

    Args:
        path: the folder of HDR pictures; or, without ``sdr_path``, a folder that holds both folders, named alike but
            for ``hdr`` and ``sdr`` (``test_hdr`` and ``test_sdr``).
        sdr_path: the folder of SDR pictures.
        signal: of HDR pictures without tags.
        sdr_signal: of SDR pictures without tags.
        hdr_range: ``full`` where white of 16-bit R'G'B' is 65535, as the PNG standard has it; ``hdrtv1k`` where it is
            65282.5, as in that set. The latter also states the set's signals, BT.2020 PQ and BT.709 BT.1886: nothing
            in its files does. Values of its HDR pictures are code / 65282.5, above 1 where the video overshoots.

    Raises:
        DataError: no such folders, several pairs of them, pictures without a partner, or a first pair that can't be
            used; faults of later ones are found when they are read.
    """

    panoramic = False

    def __init__(
        self,
        path: Path,
        sdr_path: Path | None = None,
        signal: Signal | None = None,
        sdr_signal: Signal | None = None,
        hdr_range: HDRRange = "full",
    ) -> None:
        if sdr_path is None:
            path, sdr_path = _sides(path)
        self.path = path
        self.scene = scene_name(path)
        self._hdrtv1k = hdr_range == "hdrtv1k"
        self._signal = signal or (_HDRTV1K_SIGNAL if self._hdrtv1k else None)
        self._sdr_signal = sdr_signal or (_HDRTV1K_SDR_SIGNAL if self._hdrtv1k else None)
        self._pairs = _pairs(path, sdr_path)
        self.frame_count = len(self._pairs)
        self.size = self._inspect(0)[0].size

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        for number in range(self.frame_count)[start:stop:stride]:
            hdr_file, hdr_signal, sdr_file, sdr_signal = self._inspect(number)
            hdr = read_coded(hdr_file, hdr_signal)
            if self._hdrtv1k:
                hdr = Picture(hdr.values * (_HDRTV1K_SIGNAL.peak / _HDRTV1K_WHITE), hdr.signal)
            yield Frame(number, hdr, read_coded(sdr_file, sdr_signal), {"file": hdr_file.path.name})

    def files(self) -> list[Path]:
        return [path for pair in self._pairs for path in pair]

    def _inspect(self, number: int) -> tuple[CodedFile, Signal, CodedFile, Signal]:
        """The two files of a pair and their signals, checked."""
        hdr, sdr = map(inspect_coded, self._pairs[number])
        if self._hdrtv1k and not (hdr.is_rgb and hdr.depth == 16):
            raise DataError(f"{hdr.path}: holds {hdr.pixel_format}; HDRTV1K's HDR pictures are 16-bit R'G'B' PNG")
        check_pair(hdr, sdr)
        return hdr, coded_hdr_signal(hdr, self._signal), sdr, coded_sdr_signal(sdr, self._sdr_signal)


def is_paired_folder(path: Path) -> bool:
    """Whether a folder holds folders of pairs, named alike but for ``hdr`` and ``sdr``."""
    return path.is_dir() and bool(_twins(path))


def _shown(folder: Path) -> list[Path]:
    """What a folder holds but for hidden files, of which systems leave some with a picture's ending (``._0.png``)."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _twins(path: Path) -> list[tuple[Path, Path]]:
    """HDR and SDR folders in a folder."""
    folders = {folder.name.lower(): folder for folder in _shown(path) if folder.is_dir()}
    names = ((name, name.replace("hdr", "sdr")) for name in sorted(folders) if "hdr" in name)
    return [(folders[hdr], folders[sdr]) for hdr, sdr in names if sdr in folders]


def _sides(path: Path) -> tuple[Path, Path]:
    """The one pair of folders in a folder."""
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    twins = _twins(path)
    if not twins:
        raise DataError(f"{path}: holds no folders named alike but for hdr and sdr, such as test_hdr and test_sdr")
    if len(twins) > 1:
        names = "; ".join(f"{hdr.name} and {sdr.name}" for hdr, sdr in twins)
        raise DataError(f"{path}: holds several pairs of folders ({names}); give one pair of them")
    return twins[0]


def _pairs(hdr_folder: Path, sdr_folder: Path) -> list[tuple[Path, Path]]:
    """HDR and SDR files under the same name (their endings may differ), in the order of the names."""
    hdr, sdr = _pictures(hdr_folder), _pictures(sdr_folder)
    if alone := sorted(hdr.keys() ^ sdr.keys()):
        named = ", ".join(str(hdr.get(stem) or sdr[stem]) for stem in alone[:_NAMED_AT_MOST])
        more = f" and {len(alone) - _NAMED_AT_MOST} more" if len(alone) > _NAMED_AT_MOST else ""
        raise DataError(f"{named}{more}: no partner of the same name in the other folder; add it or leave these out")
    return [(hdr[stem], sdr[stem]) for stem in sorted(hdr)]


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    pictures: dict[str, Path] = {}
    for path in sorted(_shown(folder)):
        if path.suffix.lower() in SUFFIXES:
            if path.stem in pictures:
                raise DataError(f"{path}: {pictures[path.stem].name} has the same name; keep one of them")
            pictures[path.stem] = path
    if not pictures:
        raise DataError(f"{folder}: holds no pictures ({', '.join(SUFFIXES)})")
    return pictures
