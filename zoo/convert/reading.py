"""SDR video as the input of a conversion: which signal its codes are on, and its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from torch import Tensor

from datamodules.sources.decoding import decode_planes, to_values
from datamodules.sources.tagged_signal import HDR_TRANSFERS, chroma_siting, tagged_signal, video_signal
from datamodules.sources.video_file import VideoFile, open_video
from datamodules.sources.video_stream import Tags
from zoo.color.chroma import Siting
from zoo.errors import DataError
from zoo.signal import Signal

# What players take untagged video for: BT.709 above 576 lines or from 1280 columns on, BT.601 below, narrow range. A
# matrix of BT.2020 has its primaries too.
_HD_LINES, _HD_COLUMNS = 576, 1280
_HD = Tags(1, 1, 1, False)
_SD_625 = Tags(5, 6, 5, False)
_SD_525 = Tags(6, 6, 6, False)
_BT2020_MATRIX = 9
_DOLBY_VISION = ("DOVI_METADATA", "DOVI_RPU_BUFFER")
_HDR10 = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")


@dataclass(frozen=True, eq=False)
class SDRVideo:
    """A video file that can be converted; nothing is held open.

    Attributes:
        video: the file.
        signal: of its codes.
        siting: of its chroma.
        notes: what the user should know of how it is read, a line each.
    """

    video: VideoFile
    signal: Signal
    siting: Siting
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the planes, which aren't turned: the output carries the same rotation."""
        return self.video.coded_size

    def frames(self, numbers: range) -> Iterator[tuple[int, Tensor]]:
        """Frames in a row, each ``(3, h, w)`` float32, code / peak, 4:4:4; chroma is interpolated and not rounded.

        Raises:
            DataError: a frame is damaged or missing; those before it have been given.
        """
        for planes in decode_planes(self.video, numbers):
            yield planes.number, to_values(planes, self.signal.depth, 0, self.siting).float()

    def span(self, seconds: tuple[float, float] | None) -> range:
        """Numbers of the frames that are shown from one time to before another.

        Args:
            seconds: from the first frame on; None for the whole file.

        Raises:
            DataError: no frame lies there, or the file ends before.
        """
        video = self.video
        if seconds is None:
            if video.ending:
                last = float(video.seconds[-1] - video.seconds[0])
                raise DataError(
                    f"{video.path}: {video.ending}; {len(video.pts)} of about {video.frame_count} frames can be read; "
                    f"get the whole file, or convert what there is with --range 0s-{last:.3f}s"
                )
            return range(len(video.pts))
        times = video.seconds - video.seconds[0]
        start, stop = (int(np.searchsorted(times, second - 1e-6)) for second in seconds)
        if start >= stop:
            end = float(times[-1])
            raise DataError(f"{video.path}: no frame from {seconds[0]:g} s to {seconds[1]:g} s; it ends at {end:.2f} s")
        return range(start, stop)


def open_sdr_video(path: Path, stated: Signal | None = None) -> SDRVideo:
    """Open and check a video file.

    Args:
        path: any container and codec that FFmpeg reads.
        stated: what its codes mean, where the tags don't say it; it mustn't contradict those that there are. Without
            it untagged parts follow the rule of players, with a note that says so.

    Raises:
        DataError: it can't be read as video, is interlaced, HDR or Dolby Vision, or has tags that aren't known.
    """
    video = open_video(path, any_aspect=True)
    _refuse_what_tags_hide(path, "transfer" in video.tags.unspecified and stated is None)
    notes = []
    if stated is not None:
        signal = video_signal(video, stated, "--signal")
    else:
        tags = video.tags._replace(matrix=0) if video.is_rgb else video.tags
        if tags.unspecified:
            rule = _rule_of_players(video)
            signal = tagged_signal(path, tags.completed(rule), video.depth, None, "--signal")
            notes.append(
                f"{path.name} doesn't say its {', '.join(tags.unspecified)}: taken for {signal}, as players do at "
                f"{video.coded_size[1]}x{video.coded_size[0]}; --signal says otherwise"
            )
        else:
            signal = tagged_signal(path, tags, video.depth, None, "--signal")
    if signal.transfer in HDR_TRANSFERS:
        raise DataError(f"{path}: is HDR already ({signal}); play it as it is, or give the SDR version")
    if video.rotation:
        notes.append(f"the output is turned by players as {path.name} is ({90 * video.rotation} degrees to the left)")
    return SDRVideo(video, signal, chroma_siting(None, signal), tuple(notes))


def display_rotation(video: VideoFile) -> int:
    """Degrees to the left that players turn the picture by, -90 to 180."""
    return (90 * video.rotation + 90) % 360 - 90


def _rule_of_players(video: VideoFile) -> Tags:
    height, width = video.coded_size
    if video.tags.matrix == _BT2020_MATRIX:
        return Tags(9, 14, 9, False)
    if height > _HD_LINES or width >= _HD_COLUMNS:
        return _HD
    return _SD_625 if height > 480 else _SD_525


def _refuse_what_tags_hide(path: Path, untagged: bool) -> None:
    with av.open(str(path), metadata_errors="replace") as container:
        if container.streams.video[0].metadata.get("alpha_mode") == "1":  # of VP8 and VP9, beside the picture
            raise DataError(f"{path}: is transparent in parts; put it on a background first")
        frame = next(container.decode(video=0))
        assert isinstance(frame, av.VideoFrame)
        try:
            dolby, hdr10 = (
                any(frame.side_data.get(kind) is not None for kind in kinds) for kinds in (_DOLBY_VISION, _HDR10)
            )
        except ValueError:  # PyAV meets a kind of side data that it doesn't know
            return
    if dolby:
        raise DataError(f"{path}: is Dolby Vision, which is HDR already; play it as it is, or give the SDR version")
    if hdr10 and untagged:
        raise DataError(
            f"{path}: doesn't say its transfer, but light levels of HDR10: it is HDR already, most likely; if it is "
            "SDR, say so with --signal"
        )
