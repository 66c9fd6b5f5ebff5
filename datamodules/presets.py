"""Presets: how the SDR side of a pair is made, and how densely footage is sampled (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datamodules.degrade import JPEG, ChromaSubsampling, Noise, Stage, VideoCodec
from datamodules.draws import generator
from zoo.errors import ConfigError


@dataclass(frozen=True)
class Preset:
    """A way to make pairs.

    Attributes:
        name: as samples and ``dataset.json`` record it.
        summary: what it is for, a sentence for people.
        curves: the SDR curves by their names in ``zoo.color.SDR_CURVES``, each with its weight in the draw. One is
            drawn for each scene, or for each shot of a scene whose frames say ``shot`` in their meta. True pairs need
            none.
        exposure_stops: scene light is made brighter or darker by up to so many stops, drawn with the curve, before
            both sides are made of it. What is graded already keeps its level.
        degradations: what the LR codes go through, in this order.
        patches_per_frame: least and most training patches of a frame; drawn for each frame.
        patches_per_panorama: training patches of a panorama. 120 show each pixel of 1024x512 about eight times.
        stride: least and most frames from one that is used to the next; drawn for each shot.
    """

    name: str
    summary: str
    curves: Mapping[str, float]
    exposure_stops: float = 0.0
    degradations: tuple[Stage, ...] = ()
    patches_per_frame: tuple[int, int] = (30, 30)
    patches_per_panorama: int = 120
    stride: tuple[int, int] = (30, 30)

    @property
    def draws(self) -> bool:
        """Whether the seed has a part in the pixels, not in their choice alone."""
        return len(self.curves) > 1 or self.exposure_stops > 0 or bool(self.degradations)


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="val-v1",
            summary="one SDR curve (Reinhard's, 1000 cd/m²) and clean 8-bit SDR: for comparing networks",
            curves={"reinhard-1000": 1.0},
        ),
        Preset(
            name="mixed",
            summary="six SDR curves, exposure within a stop, noise and compression: for networks that meet real SDR",
            # Those that real SDR comes from weigh most: BT.2390 in displays and players, BT.2446 and what video sites
            # do in conversions.
            curves={
                "bt2390": 0.2,
                "bt2446a": 0.2,
                "video-site": 0.2,
                "bt2446c": 0.15,
                "hable": 0.125,
                "reinhard-1000": 0.125,
            },
            exposure_stops=1.0,
            degradations=(
                ((Noise(deviation=(0.25, 1.5)), 0.3),),
                (
                    (VideoCodec("h264", crf=(16, 30)), 0.3),
                    (VideoCodec("hevc", crf=(16, 32)), 0.2),
                    (JPEG(quality=(50, 95)), 0.1),
                    (ChromaSubsampling(), 0.2),
                ),
            ),
        ),
        Preset(
            name="paper",
            summary="the sampling of the Deep SR-ITM and JSI-GAN papers, for pairs of graded SDR and HDR film",
            # Their SDR side came from a video site's conversion; so does ours where a source brings no SDR.
            curves={"video-site": 1.0},
            patches_per_frame=(20, 40),
            stride=(10, 80),
        ),
    )
}
"""The presets by name."""


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        ConfigError: there is none; the message names those that are.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def patch_count(preset: Preset, seed: int, scene: str, number: int) -> int:
    """How many training patches frame ``number`` of a scene shall give; drawn evenly from ``patches_per_frame``."""
    least, most = preset.patches_per_frame
    return int(generator(seed, scene, number, "patches").integers(least, most + 1))


def frame_numbers(preset: Preset, seed: int, scene: str, frame_count: int, shots: Sequence[int] = (0,)) -> list[int]:
    """Which frames of a scene are used for training, shot by shot, so that none is left out for being short.

    In each shot a stride is drawn from ``preset.stride``, and the first frame among the first ``stride`` frames; from
    there every ``stride``-th frame is used.

    Args:
        preset: gives the strides.
        seed: of the set.
        scene: name of the scene.
        frame_count: frames of the scene.
        shots: number of the first frame of each shot, rising, the first of them 0.

    Returns:
        Frame numbers, rising; at least one of each shot.
    """
    numbers: list[int] = []
    for first, end in zip(shots, [*shots[1:], frame_count], strict=True):
        draws = generator(seed, scene, first, "frames")
        stride = int(draws.integers(preset.stride[0], preset.stride[1] + 1))
        numbers.extend(range(first + int(draws.integers(min(stride, end - first))), end, stride))
    return numbers
