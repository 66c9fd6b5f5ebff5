"""From a path to the source that reads it."""

from __future__ import annotations

from pathlib import Path

from datamodules.sources import coded, scene_light
from datamodules.sources.frame import Source
from datamodules.sources.kaist import KaistMat
from datamodules.sources.paired_folder import HDRRange, PairedFolder
from datamodules.sources.paired_video import PairedVideo
from datamodules.sources.panorama import PanoramaSource, is_panorama_size
from datamodules.sources.stills import CodedStill, SceneLightStill
from datamodules.sources.ultrahdr import UltraHDR
from datamodules.sources.video import HDRVideo
from zoo.errors import DataError
from zoo.signal import Signal

_JPEG_SUFFIXES = (".jpg", ".jpeg")
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".m2ts", ".mxf", ".y4m")

SUFFIXES = (*scene_light.SUFFIXES, *coded.SUFFIXES, *_JPEG_SUFFIXES, *_VIDEO_SUFFIXES)
"""Endings of the files that ``open_source`` opens by themselves; ``.mat`` needs its other half."""


def open_source(
    path: Path,
    *,
    pair: Path | None = None,
    signal: Signal | None = None,
    sdr_signal: Signal | None = None,
    panoramic: bool | None = None,
    hdr_range: HDRRange = "full",
) -> Source:
    """Open and check a source, of the kind that its ending tells.

    Args:
        path: a file with one of ``SUFFIXES``, a folder as ``PairedFolder`` takes it, or the HDR side of ``pair``.
        pair: the SDR side: of a PNG, AVIF, video or ``.mat`` file, or of a folder.
        signal: of the HDR side where its files carry no tags. Pictures of scene light and Ultra HDR need none and
            ignore it.
        sdr_signal: of the SDR side, likewise.
        panoramic: whether an ``.exr`` or ``.hdr`` is a panorama. None takes pictures that are twice as wide as high,
            the height a multiple of 8, for panoramas.
        hdr_range: of a folder's HDR pictures; see ``PairedFolder``. Scene light and Ultra HDR ignore it too.

    Raises:
        DataError: no such file, another kind of file, one that its source refuses, or ``hdr_range`` for codes that
            aren't a folder's.
        SignalError: a stated signal that can't be used.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        return PairedFolder(path, pair, signal, sdr_signal, hdr_range)
    if hdr_range != "full" and suffix in (*coded.SUFFIXES, *_VIDEO_SUFFIXES, ".mat"):
        raise DataError(
            f"{path}: range {hdr_range} is for folders of pairs only; give the folder, or leave the range out"
        )
    if suffix in coded.SUFFIXES:
        return CodedStill(path, signal, pair, sdr_signal)
    if suffix in _VIDEO_SUFFIXES:
        return HDRVideo(path, signal) if pair is None else PairedVideo(path, pair, signal, sdr_signal)
    if suffix == ".mat":
        if pair is None:
            raise DataError(f"{path}: half of a pair; give the SDR file beside it")
        return KaistMat(pair, path)
    if pair is not None:
        raise DataError(f"{path}: is no HDR side of a pair; those are PNG, AVIF, video or .mat files, or folders")
    if suffix in _JPEG_SUFFIXES:
        return UltraHDR(path)
    if suffix in scene_light.SUFFIXES:
        if panoramic is None:
            panoramic = is_panorama_size(*scene_light.scene_light_size(path))
        return PanoramaSource(path) if panoramic else SceneLightStill(path)
    raise DataError(f"{path}: no kind of source; these are: {', '.join(SUFFIXES)}, and pairs of .mat files or folders")
