"""One conversion, from a path to a path: all that is wrong is said before any work."""

from __future__ import annotations

from dataclasses import replace

import torch

from zoo.convert.film import check_output, convert_film
from zoo.convert.formats import FEWEST_FRAMES
from zoo.convert.parts import Model
from zoo.convert.photographs import SUFFIXES
from zoo.convert.preview import write_preview
from zoo.convert.request import Listener, Report, Request
from zoo.convert.stills import STILLS, check_still, convert_folder, convert_photograph
from zoo.errors import ConfigError, DataError
from zoo.evaluation.models import parse_model
from zoo.evaluation.report import resolve_device

_BASELINE_SCALE = 2


def convert(request: Request, listener: Listener | None = None) -> Report:
    """Convert a video file, a photograph, or a folder of photographs, from SDR to HDR.

    The output appears under its name when it is whole and has been read again; until then parts of a film lie in
    ``.NAME-converting`` beside it, from which the same request goes on after a kill.

    Args:
        request: what is wanted.
        listener: is told of each frame that is written.

    Returns:
        What was read, written and seen.

    Raises:
        ConfigError: what is asked for contradicts itself, can't be had here, or would replace something.
        DataError: the input can't be used, or what was written isn't what was meant.
        WeightsError, UnknownModelError, SignalError: as ``zoo.load``.
        OSError: the disk is full, or can't be written to.

    Example:
        >>> convert(Request(Path("clip.mp4"), Path("clip-hdr.mp4"), "bicubic+bt2446c"))
    """
    # FFmpeg takes what stands before a colon for a protocol.
    if any(":" in str(path) for path in (request.source, request.output)):
        request = replace(request, source=request.source.absolute(), output=request.output.absolute())
    _check(request)
    source = request.source
    if source.is_dir():
        check_still(request, request.still)
        if request.output.exists() and not request.output.is_dir():
            raise ConfigError(f"{request.output}: is a file; a folder of pictures needs a folder")
        if not request.output.absolute().parent.is_dir():
            raise ConfigError(f"{request.output}: the folder {request.output.parent} isn't there; make it first")
        return convert_folder(request, _model(request), listener)
    check_output(request.output, request.overwrite)
    if request.output.exists() and request.output.samefile(source):
        raise ConfigError(f"{request.output}: is the input itself; name another output")
    if source.suffix.lower() in SUFFIXES:
        check_still(request, request.output.suffix.lower())
        return convert_photograph(request, _model(request))
    if request.output.suffix.lower() in STILLS:
        raise ConfigError(f"{request.output}: video is written as .mp4, .mkv or .yuv; name the output so")
    model = _model(request)
    if request.preview:
        write_preview(request, model)
    return convert_film(request, model, listener)


def _check(request: Request) -> None:
    if not request.source.exists():
        raise DataError(f"{request.source}: no such file or folder")
    if request.part_frames < FEWEST_FRAMES or request.workers < 1:
        raise ConfigError(f"--part is at least {FEWEST_FRAMES}, --workers at least 1")
    if request.precision not in ("32", "bf16", "16"):
        raise ConfigError(f"--precision {request.precision}: choose 32, bf16 or 16")
    if request.transfer not in ("pq", "hlg"):
        raise ConfigError(f"--transfer {request.transfer}: choose pq or hlg")


def _model(request: Request) -> Model:
    requested = parse_model(request.model)
    device = resolve_device(request.device)
    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if device.type == "cuda" else ["cpu"]
    scale = request.scale or requested.scale or _BASELINE_SCALE
    if requested.scale not in (None, scale):
        raise ConfigError(f"{request.model} is of scale {requested.scale}, not {scale}; leave --scale out")
    return Model(request.model, scale, tuple(devices), request.precision, request.memory)
