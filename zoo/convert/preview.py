"""A look at what a conversion will give, before hours of work: a picture and a short film from its middle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodules.grading import given_code_units
from zoo.convert.film import check_output, convert_film
from zoo.convert.parts import Model, open_converter
from zoo.convert.reading import open_sdr_video
from zoo.convert.request import Request
from zoo.convert.work import PartsFolder
from zoo.pictures import show_hdr, show_sdr, write_png
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

_SECONDS = 2.0


def preview_paths(output: Path) -> tuple[Path, Path]:
    """Where the picture and the film of a preview lie, beside the output."""
    return output.with_suffix(".preview.png"), output.with_suffix(f".preview{output.suffix}")


def write_preview(request: Request, model: Model) -> None:
    """Write both, from the middle of what is to be converted.

    The picture shows the SDR frame at the left and the HDR frame at the right, the latter by the tone curve of
    ``zoo.pictures``, since an SDR screen can't show it.

    Those of a conversion that was killed and now goes on are kept.

    Raises:
        ConfigError: one of them is there already and isn't to be replaced.
        DataError: as ``convert``.
    """
    still, clip = preview_paths(request.output)
    going_on = any(PartsFolder(path).path.exists() for path in (request.output, clip))  # ours, of before a kill
    for path in (still, clip):
        check_output(path, request.overwrite or going_on)
    if going_on and still.exists() and clip.exists():
        return
    source = open_sdr_video(request.source, request.signal)
    numbers = source.span(request.span)
    middle = numbers[len(numbers) // 2]
    _, sdr = next(source.frames(range(middle, middle + 1)))
    hdr = open_converter(model, model.devices[0]).pipeline(sdr[None], source.signal, output=HDR10_VIDEO)[0]
    codes = given_code_units(sdr.double(), source.signal).float() / SDR_VIDEO.peak
    write_png(still, np.hstack([show_sdr(codes, model.scale), show_hdr(hdr)]))
    times = source.video.seconds - source.video.seconds[0]
    last = float(times[numbers[-1]]) + 1e-3  # so that a span of one frame isn't empty
    start = min(max(float(times[middle]) - _SECONDS / 2, float(times[numbers[0]])), float(times[middle]))
    span = (start, min(start + _SECONDS, last))
    convert_film(replace(request, output=clip, span=span, overwrite=True), model)
