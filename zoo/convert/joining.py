"""Finished parts, and what of the input isn't picture, to one file without encoding anything again."""

from __future__ import annotations

import heapq
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from zoo.convert.encoding import Geometry, mp4_options
from zoo.convert.formats import VideoFormat
from zoo.convert.hdr10 import Template, set_light_levels
from zoo.errors import DataError

# Of a container itself, or of the program that wrote it.
_OWN_METADATA = ("major_brand", "minor_version", "compatible_brands", "encoder", "creation_time")


@dataclass(frozen=True)
class Companions:
    """What comes with the picture.

    Attributes:
        streams: indices of the input's streams that are copied, audio and subtitles.
        left_out: a line for each that can't be.
    """

    streams: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Joined:
    """What was written.

    Attributes:
        frames: packets of the picture.
        packets: of each further stream, in the order of ``Companions.streams``.
        messages: light level messages that were filled in.
        chapters: that lie in what was converted.
    """

    frames: int
    packets: tuple[int, ...]
    messages: int
    chapters: int = 0


@dataclass(frozen=True)
class Clip:
    """From when to when of the input, in seconds of its clock; ``stop`` None to its end.

    Attributes:
        start: 0 of the output; 0 for the whole file, whose clock stays as it is.
        stop: of the last frame's end.
    """

    start: Fraction = Fraction(0)
    stop: Fraction | None = None


def find_companions(source: Path, container: str) -> Companions:
    """Find out which streams can be copied into a container.

    Args:
        source: the input.
        container: of the output; ``yuv`` takes none.
    """
    kept, left_out = [], []
    with av.open(str(source), metadata_errors="replace") as opened:
        picture = opened.streams.video[0]
        for stream in opened.streams:
            if stream.index == picture.index:
                continue
            name = stream.codec_context.codec.canonical_name if stream.codec_context is not None else "no codec"
            if stream.type in ("audio", "subtitle") and container != "yuv" and _fits(stream, container):
                kept.append(stream.index)
            elif stream.type in ("audio", "subtitle"):
                other = "" if container != "mp4" else "; .mkv may take it"
                left_out.append(f"{stream.type} stream {stream.index} ({name}) doesn't go into the output{other}")
            else:
                left_out.append(f"{stream.type} stream {stream.index} ({name}) isn't copied")
    return Companions(tuple(kept), tuple(left_out))


def join(
    parts: Sequence[Path],
    output: Path,
    video_format: VideoFormat,
    levels: tuple[int, int] | None,
    source: Path,
    companions: Companions,
    clip: Clip,
    rotation: int,
    geometry: Geometry,
) -> Joined:
    """Write the file.

    Args:
        parts: in the order of showing, as ``encode`` wrote them.
        output: written over.
        video_format: of the parts and the output.
        levels: MaxCLL and MaxFALL in place of the placeholder; None where there is none.
        source: the input.
        companions: what is copied from it.
        clip: of the input.
        rotation: degrees to the left that players turn the picture by.
        geometry: of the parts.

    Raises:
        DataError: a light level message of a key frame is missing.
        OSError: the disk is full.
    """
    if video_format.codec == "raw":
        with output.open("wb") as file:
            for part in parts:
                with part.open("rb") as planes:
                    shutil.copyfileobj(planes, file, 1 << 22)
        return Joined(0, (), 0)
    options = {"movflags": "+faststart", **mp4_options(geometry.time_base)} if video_format.container == "mp4" else {}
    with ExitStack() as stack:
        opened = stack.enter_context(av.open(str(source), metadata_errors="replace"))
        container = stack.enter_context(av.open(str(output), "w", format=video_format.container, options=options))
        head: Any = stack.enter_context(Template(parts[0], levels)) if levels is not None else str(parts[0])
        template = stack.enter_context(av.open(head)).streams.video[0]
        picture = container.add_stream_from_template(template, opaque=True)
        count = _Counter()
        if levels is not None and template.codec_context.extradata:
            header, _ = set_light_levels(template.codec_context.extradata, video_format.codec, levels)
            picture.codec_context.extradata = header
        picture.codec_context.sample_aspect_ratio = geometry.sample_aspect  # which AV1 and FFV1 themselves don't state
        if video_format.tag is not None:
            picture.codec_context.codec_tag = video_format.tag
        if rotation:
            picture.set_display_rotation(rotation)
        chapters = _copy_metadata(opened, container, clip)
        own = opened.streams.video[0].metadata
        picture.metadata.update({key: own[key] for key in ("title", "language") if key in own})
        copied = {}
        for index in companions.streams:
            stream = opened.streams[index]
            copied[index] = container.add_stream_from_template(stream, opaque=True)
            copied[index].metadata.update(stream.metadata)
            copied[index].disposition = stream.disposition
        pictures = _pictures(parts, video_format, levels, count)
        others = _others(opened, companions.streams, clip)
        packets = dict.fromkeys(companions.streams, 0)
        for _, origin, packet in heapq.merge(pictures, others, key=lambda item: item[0]):
            packet.stream = picture if origin is None else copied[origin]
            container.mux(packet)
            if origin is not None:
                packets[origin] += 1
    if levels is not None and video_format.codec in ("hevc", "av1") and count.messages < count.keys:
        raise DataError(f"{output}: {count.messages} light level messages for {count.keys} key frames; leave hdr10 on")
    return Joined(count.frames, tuple(packets.values()), count.messages, chapters)


@dataclass
class _Counter:
    frames: int = 0
    keys: int = 0
    messages: int = 0


def _fits(stream: Any, container: str) -> bool:
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True


def _copy_metadata(opened: Any, container: Any, clip: Clip) -> int:
    """Copy what the file says of itself, and its chapters, of which there were so many."""
    container.metadata.update({key: text for key, text in opened.metadata.items() if key.lower() not in _OWN_METADATA})
    chapters = []
    for chapter in opened.chapters():
        base = chapter["time_base"]
        start, end = (chapter[key] * base - clip.start for key in ("start", "end"))
        if clip.stop is not None:
            end = min(end, clip.stop - clip.start)
        if end > 0 and end > start:
            times = {"start": int(max(start, Fraction(0)) / base), "end": int(end / base)}
            chapters.append({**chapter, **times})
    if chapters:
        container.set_chapters(chapters)
    return len(chapters)


def _pictures(
    parts: Sequence[Path], video_format: VideoFormat, levels: tuple[int, int] | None, count: _Counter
) -> Iterator[tuple[Fraction, None, Any]]:
    times = _decoding_times(parts)
    for part in parts:
        with av.open(str(part)) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if not packet.size:  # the end of the stream; dts None isn't
                    continue
                count.frames += 1
                packet.dts = int(next(times) / packet.time_base)
                if packet.is_keyframe:
                    count.keys += 1
                    if levels is not None:
                        data, messages = set_light_levels(bytes(packet), video_format.codec, levels)
                        if messages:
                            packet.update(data)
                            count.messages += messages
                yield _when(packet), None, packet


def _decoding_times(parts: Sequence[Path]) -> Iterator[Fraction]:
    """When packets are decoded, in seconds, in their order: rising over the whole film, and never after they are shown.

    An encoder counts these back from a part's first frame by its own next ones, so that where frames are missing behind
    a joint its times begin before the last part's end. These are the times of showing in their order instead, later by
    as many frames as a packet comes before its turn at the most.
    """
    shown: list[Fraction] = []
    for part in parts:
        with av.open(str(part)) as container:
            packets: Iterator[Any] = container.demux(container.streams.video[0])
            shown += [packet.pts * packet.time_base for packet in packets if packet.size]
    order = sorted(shown)
    rank = {time: number for number, time in enumerate(order)}
    delay = max((number - rank[time] for number, time in enumerate(shown)), default=0)
    before = [2 * order[0] - order[number] for number in range(delay, 0, -1)]
    return iter([*before, *order][: len(order)])


def _others(opened: Any, streams: Sequence[int], clip: Clip) -> Iterator[tuple[Fraction, int, Any]]:
    if not streams:
        return
    for packet in opened.demux([opened.streams[index] for index in streams]):
        if not packet.size or packet.pts is None:
            continue
        begin = packet.pts * packet.time_base
        end = begin + (packet.duration or 0) * packet.time_base
        if end <= clip.start and clip.start:
            continue
        if clip.stop is not None and begin >= clip.stop:
            continue
        if packet.stream.type == "subtitle" and packet.duration:  # what is left of it; a tone can't be cut so
            begin, end = max(begin, clip.start), min(end, clip.stop or end)
            packet.pts = packet.dts = round(begin / packet.time_base)
            packet.duration = round((end - begin) / packet.time_base)
        if clip.start:
            shift = round(clip.start / packet.time_base)
            packet.pts -= shift
            if packet.dts is not None:
                packet.dts -= shift
        yield _when(packet), packet.stream_index, packet


def _when(packet: Any) -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    return time * packet.time_base
