"""Frames a second of a conversion: into nothing, into the encoder, and what the encoder reaches alone.

    python tests/benchmarks/bench_conversion.py --device cuda --precision bf16    # jsinet_x2, 1920x1080 in
    python tests/benchmarks/bench_conversion.py deep_sritm_x2 --size 480 270 --frames 8

The film is a moving texture, H.264. A network's weights are fresh; a baseline takes part by its name. Decoder,
network, codes and encoder run as they do in `zoo.convert`, but for reading the part back, which comes after it. The
encoder alone gets the same frames from memory, where they are kept: 25 MB for each of 3840x2160.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import torch

import zoo
from tests.datamodules.sources.video_files import SDR, textured, write_video
from zoo.convert.bars import Bars
from zoo.convert.encoding import Geometry, Planes, encode
from zoo.convert.formats import video_format
from zoo.convert.overlap import ahead
from zoo.convert.parts import Film, Model, converted
from zoo.convert.reading import open_sdr_video
from zoo.weights import write_weights

WARM_UP = 2  # frames


def open_film(folder: Path, options: argparse.Namespace) -> Film:
    """A film of as many frames as are timed, and what it is to become."""
    width, height = options.size
    frames = textured(options.frames, (height, width), depth=8)
    source = open_sdr_video(write_video(folder / "film.mp4", frames, "yuv420p", SDR, "libx264"))
    text, scale = options.name, 2
    if "+" not in options.name:
        net = zoo.create(options.name)
        scale = net.scale
        write_weights(folder / "fresh.safetensors", net.state_dict(), {})
        text = f"{options.name}={folder / 'fresh.safetensors'}"
    settings = dict(setting.split("=", 1) for setting in options.encoder)
    form = video_format(folder / "film.hdr.mp4", options.codec, options=settings, frames=options.frames)
    size = (scale * height, scale * width)
    return Film(
        source=source,
        model=Model(text, scale, (options.device,), options.precision),
        video_format=form,
        geometry=Geometry(size, source.video.sample_aspect, source.video.time_base, Fraction(25)),
        bars=Bars(),
        origin=0,
    )


def encoded(film: Film, path: Path, frames: Iterable[tuple[int, Planes]]) -> float:
    """Seconds that it takes to encode frames, which may be made meanwhile."""
    begin = time.perf_counter()
    encode(path, frames, film.video_format, film.geometry)
    return time.perf_counter() - begin


def main() -> int:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="jsinet_x2", help="a network or a baseline")
    parser.add_argument("--size", type=int, nargs=2, default=(1920, 1080), metavar=("WIDTH", "HEIGHT"), help="in")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("32", "bf16", "16"), default="32")
    parser.add_argument("--codec", choices=("hevc", "av1"), default="hevc")
    parser.add_argument("--encoder", nargs="+", default=["preset=medium"], metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = open_film(folder, options)
        numbers = range(options.frames)
        for _ in converted(film, range(min(WARM_UP, options.frames)), 0):
            pass
        begin = time.perf_counter()
        kept = list(converted(film, numbers, 0))
        seconds = {"into nothing": time.perf_counter() - begin}
        with closing(ahead(converted(film, numbers, 0))) as frames:
            seconds["encoded"] = encoded(film, folder / "film.hdr.mp4", frames)
        seconds["encoder alone"] = encoded(film, folder / "again.mp4", kept)
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    size = "x".join(map(str, options.size))
    print(f"{options.name}, {options.precision} on {where}, {size} in, {options.frames} frames", end=", ")
    print(options.codec, *options.encoder)
    for what, taken in seconds.items():
        print(f"{what:16}{options.frames / taken:8.2f} frames/s")
    print(f"{'share':16}{seconds['encoder alone'] / seconds['encoded']:8.2f} of the encoder alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
