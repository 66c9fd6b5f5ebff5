"""Make shards from every kind of source, and say what each costs: samples, seconds, peak memory, bytes.

    python tests/benchmarks/bench_sources.py REFERENCE [--scale 2]

REFERENCE is a folder of pictures and clips in `panoramas`, `stills2`, `raw`, `ultrahdr2`, `avif`, `pairs` and `video`,
as the project's reference data has them. The KAIST file, the HDRTV1K folders, the SDR + HDR films and the raw video are
made for the occasion. Each set is made by tools/make_shards.py in one process of its own, whose peak resident size
Linux tells.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
import torch
from einops import rearrange

from datamodules.sources import open_source
from zoo.color import decode, encode, quantize, signal_to_rgb, to_sdr
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

MAKE_SHARDS = Path(__file__).parents[2] / "tools" / "make_shards.py"


def film_codes(clip: Path, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip's first frames as HDR10 codes uint16, (n, H, W, 3), and SDR codes uint8 made of them by BT.2446 A."""
    hdr, sdr = [], []
    for frame in open_source(clip).frames(0, frames):
        codes = quantize(HDR10_VIDEO.peak * frame.hdr.values, HDR10_VIDEO)
        light = to_sdr(decode(codes / HDR10_VIDEO.peak, HDR10_VIDEO), "bt2020", "bt2446a")
        hdr.append(rearrange(codes, "c h w -> h w c").numpy().astype(np.uint16))
        sdr_codes = quantize(SDR_VIDEO.peak * encode(light, SDR_VIDEO), SDR_VIDEO)
        sdr.append(rearrange(sdr_codes, "c h w -> h w c").numpy().astype(np.uint8))
    return np.stack(hdr), np.stack(sdr)


def write_kaist(folder: Path, hdr: np.ndarray, sdr: np.ndarray, scale: int) -> list[str]:
    """A training file of KAIST's layout: patches of HR 160, their SDR made small by leaving pixels out."""
    corners = [(top, left) for top in range(0, hdr.shape[1] - 159, 160) for left in range(0, hdr.shape[2] - 159, 160)]
    for name, pictures, step in (("HDR", hdr, 1), ("SDR", sdr, scale)):
        patches = np.stack([pictures[0, top : top + 160 : step, left : left + 160 : step] for top, left in corners])
        data = rearrange(patches, "n h w c -> n c w h")
        with h5py.File(folder / f"{name}.mat", "w", userblock_size=512) as file:
            file.create_dataset(f"{name}_data", data=data, chunks=(1, *data.shape[1:]), compression="gzip")
            file[f"{name}_data"].attrs["MATLAB_class"] = np.bytes_(str(data.dtype))
        with (folder / f"{name}.mat").open("r+b") as stream:
            stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return [f"{folder / 'HDR.mat'}+{folder / 'SDR.mat'}"]


def write_hdrtv1k(folder: Path, hdr: np.ndarray, sdr: np.ndarray) -> list[str]:
    """Folders of PNG as HDRTV1K has them: R'G'B' of 16 bit, white at 65282.5, and of 8 bit."""
    for name, pictures, signal, white in (
        ("test_hdr", hdr, HDR10_VIDEO, 65282.5),
        ("test_sdr", sdr, SDR_VIDEO, 255.0),
    ):
        (folder / name).mkdir()
        for number, codes in enumerate(pictures):
            values = torch.from_numpy(rearrange(codes.astype(np.float64), "h w c -> c h w")) / signal.peak
            rgb = rearrange(white * signal_to_rgb(values, signal).clamp(0, 1), "c h w -> h w c").numpy()
            stored = np.rint(rgb).astype(np.uint16 if white > 255 else np.uint8)
            cv2.imwrite(str(folder / name / f"{number:03d}.png"), stored[..., ::-1])
    return [f"{folder / 'test_hdr'}+{folder / 'test_sdr'}", "--hdr-range", "hdrtv1k"]


def write_films(folder: Path, hdr: np.ndarray, sdr: np.ndarray) -> list[str]:
    """The HDR10 codes and their SDR as two lossless films."""
    for name, pictures, pixel_format, tags in (
        ("hdr", hdr, "yuv444p10le", (9, 16, 9, 1)),
        ("sdr", sdr, "yuv444p", (1, 1, 1, 1)),
    ):
        with av.open(str(folder / f"{name}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=24)
            stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], pixel_format
            coding = stream.codec_context
            coding.color_primaries, coding.color_trc, coding.colorspace, coding.color_range = tags
            for codes in pictures:
                frame = av.VideoFrame(stream.width, stream.height, pixel_format)
                for plane, values in zip(frame.planes, rearrange(codes, "h w c -> c h w"), strict=True):
                    lines = np.frombuffer(plane, codes.dtype).reshape(plane.height, -1)
                    lines[:, : plane.width] = values
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return [f"{folder / 'hdr.mkv'}+{folder / 'sdr.mkv'}"]


def write_raw(folder: Path, hdr: np.ndarray) -> list[str]:
    """The HDR10 codes as planar raw video, 4:4:4."""
    rearrange(hdr, "n h w c -> n c h w").astype("<u2").tofile(folder / "hdr.yuv")
    size = f"{hdr.shape[2]}x{hdr.shape[1]}"
    return [str(folder / "hdr.yuv"), "--signal", str(HDR10_VIDEO), "--size", size, "--layout", "444"]


def measure(output: Path, arguments: list[str]) -> tuple[float, int]:
    """Run make_shards.py in a process of its own; returns seconds and the peak resident size in KiB.

    Raises:
        SystemExit: it failed.
    """
    # Not getrusage's peak: a child inherits that of the process which started it.
    program = (
        f"import runpy, sys; sys.argv[0] = {str(MAKE_SHARDS)!r}\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    start = time.perf_counter()
    command = [sys.executable, "-c", program, *arguments, "-o", str(output), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start, int(done.stdout.split()[-1])


def main() -> None:
    """Measure each kind of source and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--scale", type=int, default=2)
    parsed = parser.parse_args()
    data: Path = parsed.reference
    clip = data / "video" / "hdr10-video-with-sdr-container.mp4"
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        hdr, sdr = film_codes(clip, 8)
        sources = {
            "panoramas, EXR": [str(path) for path in sorted((data / "panoramas").glob("*.exr"))[:8]],
            "flat stills, EXR": [str(data / "stills2"), str(data / "raw"), "--flat"],
            "Ultra HDR photographs": [str(data / "ultrahdr2")],
            "AVIF stills, PQ": [str(data / "avif" / "seine_hdr_rec2020.avif")],
            "AVIF pairs": [
                f"{data / 'pairs' / f'hdr_{name}_cicp9-16-0_lossless.avif'}+"
                f"{data / 'pairs' / f'sdr_{name}_cicp1-13-0_lossless.avif'}"
                for name in ("cosmos01000", "cosmos07296")
            ],
            "film, HDR10": [str(clip)],
            "film, HLG": [str(data / "video" / "hlg10-color-test.mp4")],
            "films, SDR + HDR": write_films(work, hdr, sdr),
            "raw video": write_raw(work, hdr),
            "KAIST .mat": write_kaist(work, hdr, sdr, parsed.scale),
            "HDRTV1K folders": write_hdrtv1k(work, hdr, sdr),
        }
        print("| source | samples | seconds | peak RSS, MB | bytes |\n| --- | ---: | ---: | ---: | ---: |")
        for number, (kind, arguments) in enumerate(sources.items()):
            output = work / f"set{number}"
            options = ["--scale", str(parsed.scale), "--stride", "24"]
            seconds, peak = measure(output, [*arguments, *options])
            shards = json.loads((output / "dataset.json").read_text())["splits"]["train"]
            samples, size = (sum(shard[key] for shard in shards) for key in ("samples", "bytes"))
            print(f"| {kind} | {samples} | {seconds:.1f} | {peak / 1024:.0f} | {size:,} |", flush=True)


if __name__ == "__main__":
    main()
