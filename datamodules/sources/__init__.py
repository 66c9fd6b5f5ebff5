"""Sources of HDR pictures, by themselves or in pairs with SDR: one file for each kind."""

from datamodules.sources.frame import Frame, Picture, Source
from datamodules.sources.kaist import KaistMat
from datamodules.sources.opening import SUFFIXES, open_source
from datamodules.sources.paired_folder import HDRRange, PairedFolder, is_paired_folder
from datamodules.sources.paired_video import PairedVideo
from datamodules.sources.panorama import Panorama, PanoramaSource, read_panorama, scene_name
from datamodules.sources.raw_yuv import RawYUV
from datamodules.sources.stills import CodedStill, SceneLightStill
from datamodules.sources.ultrahdr import UltraHDR
from datamodules.sources.video import HDRVideo

__all__ = [
    "SUFFIXES",
    "CodedStill",
    "Frame",
    "HDRRange",
    "HDRVideo",
    "KaistMat",
    "PairedFolder",
    "PairedVideo",
    "Panorama",
    "PanoramaSource",
    "Picture",
    "RawYUV",
    "SceneLightStill",
    "Source",
    "UltraHDR",
    "is_paired_folder",
    "open_source",
    "read_panorama",
    "scene_name",
]
