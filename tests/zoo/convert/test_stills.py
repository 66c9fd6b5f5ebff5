from __future__ import annotations

import struct
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import OpenEXR
import pytest
import torch

import zoo
from datamodules.sources.ultrahdr import UltraHDR
from zoo.color import convert_primaries, pq_decode, srgb_decode
from zoo.convert.job import convert
from zoo.convert.photographs import read_photograph
from zoo.convert.request import Request
from zoo.errors import ConfigError, DataError
from zoo.rgb import Pipeline
from zoo.signal import Signal

MODEL = "bicubic+bt2446c"
PQ16 = Signal("bt2020", "pq", "rgb", "full", 16)


def picture(size: tuple[int, int] = (20, 30), dtype: type = np.uint8) -> np.ndarray:
    """R, G, B with another ramp in each."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    ramps = np.stack([rows / size[0], columns / size[1], (rows + columns) / sum(size)], axis=-1)
    return (ramps * np.iinfo(dtype).max).astype(dtype)


def write(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[-1] == 3 else pixels)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(path: Path, kind: bytes, content: bytes) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk(kind, content) + data[33:])
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_holds_the_pipeline_s_codes_in_16_bits_and_says_what_they_are(dtype: type, tmp_path: Path) -> None:
    source = write(tmp_path / "in.png", picture(dtype=dtype))
    report = convert(Request(source, tmp_path / "out.png", MODEL))
    wanted = Pipeline(zoo.load(MODEL, scale=2))(picture(dtype=dtype), "srgb", PQ16)
    codes = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(codes, np.floor(wanted.astype(np.float64) * 65535 + 0.5))
    with av.open(str(tmp_path / "out.png")) as container:
        frame = next(container.decode(video=0))
        assert (frame.color_primaries, frame.color_trc, frame.color_range) == (9, 16, 2)  # cICP
        levels = struct.unpack("<2I", bytes(memoryview(frame.side_data.get("CONTENT_LIGHT_LEVEL"))))
    light = pq_decode(torch.from_numpy(codes.astype(np.float64) / 65535)).amax(dim=-1)
    assert levels == report.levels
    assert levels[0] == pytest.approx(float(light.max()) + 0.5, abs=0.6)
    assert levels[1] == pytest.approx(float(light.mean()) + 0.5, abs=0.6)


def test_avif_holds_the_codes_and_its_tags(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    source = write(tmp_path / "in.png", picture())
    convert(Request(source, tmp_path / "lossless.avif", MODEL, quality=100))
    convert(Request(source, tmp_path / "small.avif", MODEL))
    wanted = Pipeline(zoo.load(MODEL, scale=2))(picture(), "srgb", Signal("bt2020", "pq", "rgb", "full", 10)) * 1023
    codes = imagecodecs.avif_decode((tmp_path / "lossless.avif").read_bytes())
    np.testing.assert_array_equal(codes, np.floor(wanted.astype(np.float64) + 0.5))
    assert np.abs(imagecodecs.avif_decode((tmp_path / "small.avif").read_bytes()) - wanted).mean() < 4
    with av.open(str(tmp_path / "small.avif")) as container:
        frame = next(container.decode(video=0))
        assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (9, 16, 9)
        assert frame.format.name == "yuv444p10le"


def test_exr_holds_light_in_units_of_its_stated_white(tmp_path: Path) -> None:
    source = write(tmp_path / "white.png", np.full((16, 16, 3), 255, np.uint8))
    convert(Request(source, tmp_path / "out.exr", "bicubic+white203"))
    with OpenEXR.File(str(tmp_path / "out.exr")) as file:
        assert file.header()["whiteLuminance"] == pytest.approx(203)
        assert file.header()["chromaticities"][:2] == pytest.approx((0.708, 0.292))
        np.testing.assert_allclose(file.channels()["RGB"].pixels, 1.0, rtol=0.02)


def test_ultra_hdr_shows_the_photograph_and_holds_the_hdr_picture(tmp_path: Path) -> None:
    source = write(tmp_path / "in.png", picture((64, 96)))
    convert(Request(source, tmp_path / "out.jpg", MODEL, scale=1))
    base = cv2.imread(str(tmp_path / "out.jpg"))[..., ::-1]
    assert np.abs(base.astype(int) - picture((64, 96))).mean() < 2
    wanted = Pipeline(zoo.load(MODEL, scale=1))(picture((64, 96)), "srgb", PQ16)
    (frame,) = UltraHDR(tmp_path / "out.jpg").frames()
    light, truth = (
        pq_decode(x).numpy() for x in (frame.hdr.values, torch.from_numpy(wanted).permute(2, 0, 1).double())
    )
    stops = np.abs(np.log2((light + 1) / (truth + 1)))
    assert stops.mean() < 0.03
    assert np.percentile(stops, 99) < 0.2


def test_ultra_hdr_is_read_by_google_s_library(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    source = write(tmp_path / "in.png", picture((64, 96)))
    convert(Request(source, tmp_path / "out.jpg", MODEL, scale=1))
    light = 203 * imagecodecs.ultrahdr_decode((tmp_path / "out.jpg").read_bytes())[..., :3].astype(np.float64)
    wanted = Pipeline(zoo.load(MODEL, scale=1))(picture((64, 96)), "srgb", PQ16)
    truth = convert_primaries(pq_decode(torch.from_numpy(wanted).permute(2, 0, 1).double()), "bt2020", "bt709").numpy()
    stops = np.abs(np.log2((light.transpose(2, 0, 1).clip(0) + 1) / (truth.clip(0) + 1)))
    assert stops.mean() < 0.1


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    png = write(tmp_path / "turned.png", picture())
    little = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 8, 0, 0)  # to the left
    np.testing.assert_array_equal(read_photograph(with_chunk(png, b"eXIf", little)).pixels, np.rot90(picture()))
    with_chunk(write(png, picture()), b"eXIf", b"II*\0damaged")
    np.testing.assert_array_equal(read_photograph(png).pixels, picture())
    jpeg = cv2.imencode(".jpg", picture()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # turned by 90 degrees to the right
    exif = b"Exif\0\0" + tiff
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    upright = np.rot90(picture(), -1)
    read = read_photograph(path)
    assert read.pixels.shape == (30, 20, 3)
    assert np.abs(read.pixels.astype(int) - upright).mean() < 3


def test_display_p3_keeps_its_colours(reference: Path, tmp_path: Path) -> None:
    # Phone photographs of the reference folder carry Display P3 profiles.
    read = read_photograph(reference / "data" / "ultrahdr" / "parking_lot_uhdr.jpg")
    assert read.signal == Signal("p3d65", "srgb", "rgb", "full", 8)
    assert any("colours beyond BT.709" in note for note in read.notes)


def test_primaries_of_a_png_reach_the_network(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    plain = write(tmp_path / "srgb.png", red)
    convert(Request(plain, tmp_path / "srgb-hdr.exr", "bicubic+white100"))
    with OpenEXR.File(str(tmp_path / "srgb-hdr.exr")) as file:
        found = file.channels()["RGB"].pixels.mean(axis=(0, 1)) * 203
    wanted = convert_primaries(100 * srgb_decode(torch.tensor([1.0, 0, 0])[:, None, None]), "bt709", "bt2020")
    np.testing.assert_allclose(found, wanted.flatten().numpy(), atol=1.5)
    marked = with_chunk(write(tmp_path / "2020.png", red), b"cICP", bytes([9, 13, 0, 1]))
    assert read_photograph(marked).signal.primaries == "bt2020"


def test_grey_palette_and_opaque_alpha_are_taken(tmp_path: Path) -> None:
    grey = write(tmp_path / "grey.png", picture()[..., 0])
    np.testing.assert_array_equal(read_photograph(grey).pixels, np.repeat(picture()[..., :1], 3, axis=-1))
    opaque = np.dstack([picture()[..., ::-1], np.full((20, 30), 255, np.uint8)])
    np.testing.assert_array_equal(read_photograph(write(tmp_path / "opaque.png", opaque)).pixels, picture())
    palette = bytes([255, 0, 0, 0, 0, 255])
    rows = zlib.compress(b"\0\x40" * 4)  # pixels 0, 1, 0, 0 of two bits would be 0b01000000: here one bit each
    header = struct.pack(">IIBBBBB", 2, 4, 1, 3, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"PLTE", palette) + chunk(b"IDAT", rows)
    (tmp_path / "palette.png").write_bytes(data + chunk(b"IEND", b""))
    np.testing.assert_array_equal(read_photograph(tmp_path / "palette.png").pixels[0], [[255, 0, 0], [0, 0, 255]])


def test_tiff_of_16_bits_is_read_in_16_bits(tmp_path: Path) -> None:
    read = read_photograph(write(tmp_path / "a.tif", picture(dtype=np.uint16)))
    np.testing.assert_array_equal(read.pixels, picture(dtype=np.uint16))
    assert read.signal.depth == 16


def bad_pictures(folder: Path) -> dict[str, Path]:
    whole = write(folder / "whole.jpg", picture((200, 300))).read_bytes()
    cmyk = whole.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x14\x08", 1)
    at = cmyk.index(b"\xff\xc0") + 9
    cmyk = cmyk[:at] + b"\x04" + cmyk[at + 1 : at + 10] + b"\x04\x11\x01" + cmyk[at + 10 :]
    png = write(folder / "whole.png", picture((200, 300))).read_bytes()
    contents = {
        "cut before its end": ("cut.jpg", whole[: len(whole) // 2]),
        "cut before": ("cut.png", png[: len(png) // 2]),
        "CMYK": ("cmyk.jpg", cmyk),
        "no JPEG, PNG or TIFF": ("text.png", b"a text"),
        "HDR already": ("hdr.png", png[:33] + chunk(b"cICP", bytes([9, 16, 0, 1])) + png[33:]),
        "none of sRGB": ("profile.png", png[:33] + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 200)) + png[33:]),
    }
    for name, content in contents.values():
        (folder / name).write_bytes(content)
    clear = np.dstack([picture(), np.zeros((20, 30), np.uint8)])
    return {text: folder / name for text, (name, _) in contents.items()} | {
        "transparent": write(folder / "clear.png", clear)
    }


def test_bad_pictures_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    for text, path in bad_pictures(tmp_path).items():
        with pytest.raises(DataError, match=text):
            convert(Request(path, tmp_path / "out.avif", MODEL))
        assert not (tmp_path / "out.avif").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_folder_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source / "a.png", picture())
    convert(Request(source, output, MODEL))
    (output / "a.png").write_text("mine")
    report = convert(Request(source, output, MODEL))
    assert (output / "a.png").read_text() == "mine"  # also where it is the only one
    assert report.resumed == 1
    (output / "a.png").unlink()
    for name in ("a.png", "b.jpg", "c.tif"):
        write(source / name, picture())
    (source / "notes.txt").write_text("no picture")
    assert convert(Request(source, output, MODEL)).frames == 3
    before = (output / "a.png").stat().st_mtime_ns
    (output / "c.png").unlink()
    report = convert(Request(source, output, MODEL))
    assert (report.frames, report.resumed) == (3, 2)
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "b.png", "c.png"]
    assert (output / "a.png").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="is the folder that is read"):
        convert(Request(source, source, MODEL))
    write(source / "a.jpg", picture())
    with pytest.raises(DataError, match="two pictures are named a"):
        convert(Request(source, output, MODEL))


def test_options_of_video_are_refused_for_pictures(tmp_path: Path) -> None:
    source = write(tmp_path / "in.png", picture())
    for options in ({"codec": "hevc"}, {"options": {"crf": "1"}}, {"span": (0.0, 1.0)}, {"transfer": "hlg"}):
        with pytest.raises(ConfigError, match="are for video"):
            convert(Request(source, tmp_path / "out.png", MODEL, **options))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"written as \.png, \.avif, \.exr, \.jpg"):
        convert(Request(source, tmp_path / "out.webp", MODEL))
