"""Small films with sound, subtitles and chapters, and what another reader than the converter's finds in a file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.datamodules.sources.video_files import SDR, Codes, textured, write_video

RATE = 48000


def sdr_frames(count: int, size: tuple[int, int] = (48, 64)) -> list[Codes]:
    """A moving texture in 8-bit 4:2:0."""
    return textured(count, size, depth=8)


def write_film(path: Path, count: int = 12, tags: tuple[int, int, int, int] = SDR, **options: object) -> Path:
    """H.264 without loss, a key frame every fourth frame, with AAC and two chapters."""
    silent = path.with_name(f"silent-{path.stem}.mkv")
    coding = {"qp": "0", "g": "4", "bf": "0"}
    write_video(silent, sdr_frames(count), "yuv420p", tags, "libx264", options=coding, **options)  # type: ignore[arg-type]
    return add_sound(silent, path)


def add_sound(silent: Path, path: Path) -> Path:
    """Copy a film's pictures and put a tone and two chapters beside them."""
    with av.open(str(silent)) as source, av.open(str(path), "w") as container:
        pictures = source.streams.video[0]
        copied = container.add_stream_from_template(pictures, opaque=True)
        rotation = next(source.decode(pictures)).rotation
        if rotation:
            copied.set_display_rotation(rotation)
        source.seek(0)
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        sound.metadata["language"] = "fra"
        container.metadata["title"] = "a film"
        half = 1000 * 40 * 6 // 1000
        times = [(0, half), (half, 2 * half)]
        container.set_chapters(
            [
                {
                    "id": n,
                    "start": start,
                    "end": end,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": f"part {n}"},
                }
                for n, (start, end) in enumerate(times)
            ]
        )
        last = 0.0
        for packet in source.demux(pictures):
            if packet.size:
                last = max(last, float(packet.pts * packet.time_base))
                packet.stream = copied
                container.mux(packet)
        tone = np.sin(np.arange(0, int((last + 0.04) * RATE)) * 0.05).astype(np.float32)
        for start in range(0, len(tone) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def decoded(path: Path) -> tuple[list[Fraction], list[tuple[np.ndarray, ...]]]:
    """Times in seconds and planes of all frames."""
    times, planes = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            times.append(frame.pts * frame.time_base)
            code = "<u2" if frame.format.components[0].bits > 8 else "u1"
            planes.append(
                tuple(
                    np.frombuffer(plane, code).reshape(plane.height, -1)[:, : plane.width].copy()
                    for plane in frame.planes
                )
            )
    return times, planes


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Times in seconds and bytes of the first sound stream's packets."""
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(sound) if p.size]


def hevc_messages(path: Path) -> dict[int, list[bytes]]:
    """Payloads of an HEVC stream's SEI messages by type, read from its packets (ITU-T H.265, 7.3.5)."""
    found: dict[int, list[bytes]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            data, position = bytes(packet), 0
            while position + 4 <= len(data):
                size = int.from_bytes(data[position : position + 4])
                unit = data[position + 4 : position + 4 + size]
                position += 4 + size
                if unit[0] >> 1 != 39:  # prefix SEI
                    continue
                payload = unit[2:].replace(b"\0\0\3", b"\0\0")
                kind, length = payload[0], payload[1]
                found.setdefault(kind, []).append(payload[2 : 2 + length])
    return found


def mp4_box(path: Path, kind: bytes) -> bytes:
    """The content of the only box of a kind, found by its name."""
    data = path.read_bytes()
    at = data.index(kind)
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at])]
