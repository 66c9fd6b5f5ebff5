"""The signal of a coded file: from its tags, completed or confirmed by what the user says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datamodules.sources.video_file import VideoFile
from datamodules.sources.video_stream import Tags
from zoo.color.chroma import Siting
from zoo.errors import DataError, SignalError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

HDR_TRANSFERS = ("pq", "hlg")

# Codes below 4 and above 1019 (of 10 bit) are kept for timing in narrow range (ITU-R BT.2100, Table 9). Pictures in
# full range have them wherever they are black or clipped; ringing of a codec reaches them in single pixels only.
_MAX_RESERVED = 0.01


def video_signal(video: VideoFile, stated: Signal | None, option: str) -> Signal:
    """The signal that a file's codes are on.

    Tags count where the file has them, and what is stated must agree with each of them; what the file leaves
    unspecified has to be stated. Nothing is guessed: the range of untagged video alone is worth 9 dB.

    Args:
        video: the file.
        stated: the user's answer, if any.
        option: the option by which it is given, for messages.

    Returns:
        The signal; for planes of R'G'B' its matrix is ``rgb``, whatever the tag.

    Raises:
        DataError: tags are missing and nothing is stated, or what is stated contradicts a tag or the depth.
    """
    if stated is not None and stated.depth != video.depth:
        raise DataError(
            f"{video.path}: has {video.depth} bits ({video.pixel_format}), but {option} {stated} says others"
        )
    tags = video.tags._replace(matrix=0) if video.is_rgb else video.tags
    return tagged_signal(video.path, tags, video.depth, stated, option)


def tagged_signal(path: Path, tags: Tags, depth: int, stated: Signal | None, option: str) -> Signal:
    """The signal that tags say, completed or confirmed by what is stated.

    Args:
        path: the file, for messages.
        tags: what it says about itself.
        depth: bits of its codes.
        stated: the user's answer, if any.
        option: the option by which it is given, for messages.

    Raises:
        DataError: tags are unknown, or missing and nothing is stated, or what is stated contradicts a tag.
    """
    if stated is None:
        return _signal_of_tags(path, tags, depth, option)
    answer = Tags(*stated.cicp[:3], bool(stated.cicp.full_range))
    # Code points that mean the same (1, 6, 14 and 15 among transfers) must not count as different.
    agreed = Signal.from_cicp(*answer, depth)
    if _signal_of_tags(path, tags.completed(answer), depth, option) != agreed:
        raise DataError(
            f"{path}: is tagged {tags} (H.273), which contradicts {option} {stated}; "
            f"leave {option} out, or correct the file's tags if they are wrong"
        )
    return stated


def hdr_signal(video: VideoFile, stated: Signal | None, option: str = "--signal") -> Signal:
    """``video_signal`` of a file that is to be the HDR side.

    Raises:
        DataError: as ``video_signal``; 8 bit, or neither PQ nor HLG.
    """
    if video.depth < 10:
        raise DataError(
            f"{video.path}: has {video.depth} bits ({video.pixel_format}), HDR needs 10 or more; "
            "give the HDR master, or this file as the SDR side of a pair"
        )
    signal = video_signal(video, stated, option)
    if signal.transfer not in HDR_TRANSFERS:
        raise DataError(
            f"{video.path}: is SDR ({signal}); HDR video has the transfer {' or '.join(HDR_TRANSFERS)}; "
            "give the HDR master, or this file as the SDR side of a pair"
        )
    return signal


def sdr_signal(video: VideoFile, stated: Signal | None, option: str = "--sdr-signal") -> Signal:
    """``video_signal`` of a file that is to be the SDR side.

    Raises:
        DataError: as ``video_signal``; PQ or HLG.
    """
    signal = video_signal(video, stated, option)
    if signal.transfer in HDR_TRANSFERS:
        raise DataError(f"{video.path}: is HDR ({signal}), but stands for the SDR side; are the two files swapped?")
    return signal


def chroma_siting(stated: Siting | None, signal: Signal) -> Siting:
    """Where chroma samples lie: as stated, else ``topleft`` for BT.2020 (its masters' siting), ``left`` for others.

    Streams may say it, but PyAV doesn't pass it on.
    """
    return stated or ("topleft" if signal.primaries == "bt2020" else "left")


def check_range(path: Path, luma: np.ndarray, signal: Signal, picture: str = "the picture") -> None:
    """Refuse a picture in narrow range whose blacks or whites lie where only full range has codes.

    Args:
        path: the file, for messages.
        luma: codes of Y', or of R'.
        signal: what they mean.
        picture: which one of the file, for messages.

    Raises:
        DataError: more than one in a hundred codes is reserved.
    """
    if signal.range == "full":
        return
    step = 2 ** (signal.depth - 8)
    reserved = np.count_nonzero((luma < step) | (luma > signal.peak - step)) / luma.size
    if reserved > _MAX_RESERVED:
        raise DataError(
            f"{path}: {100 * reserved:.0f} % of {picture} lies outside the codes of narrow range; it seems to be in "
            "full range; correct the file's tags, or the signal that you state"
        )


def _signal_of_tags(path: Path, tags: Tags, depth: int, option: str) -> Signal:
    try:
        return Signal.from_cicp(*tags, depth)
    except SignalError as error:
        if not tags.unspecified:
            raise DataError(f"{path}: {error}") from error
        example = HDR10_VIDEO if option == "--signal" else SDR_VIDEO
        raise DataError(
            f"{path}: doesn't say its {', '.join(tags.unspecified)} (tags {tags}, H.273); "
            f"say what it is, e.g. {option} {example}"
        ) from error
