"""Colour: transfer curves, primaries, Y'CbCr, chroma, code values and tone curves, on tensors ``(..., 3, H, W)``."""

from zoo.color.bt2446 import bt2446a, bt2446a_inverse, bt2446a_table4, bt2446c, bt2446c_inverse
from zoo.color.chroma import subsample_chroma, upsample_chroma
from zoo.color.codes import codes_to_components, components_to_codes, quantize
from zoo.color.convert import decode, encode, rgb_to_signal, signal_to_rgb
from zoo.color.hlg import hlg_decode, hlg_encode, hlg_ootf, hlg_ootf_inverse
from zoo.color.ictcp import light_to_ictcp
from zoo.color.primaries import convert_primaries, primaries_matrix, rgb_to_xyz_matrix
from zoo.color.sdr_curves import SDR_CURVES, bt2390, hable, to_sdr, video_site
from zoo.color.tonemap import reinhard, reinhard_inverse, roll_off
from zoo.color.transfer import (
    bt709_decode,
    bt709_encode,
    bt1886_decode,
    bt1886_encode,
    hlg_oetf,
    hlg_oetf_inverse,
    pq_decode,
    pq_encode,
    srgb_decode,
    srgb_encode,
)
from zoo.color.ycbcr import luma, rgb_to_ycbcr, ycbcr_to_rgb

__all__ = [
    "SDR_CURVES",
    "bt709_decode",
    "bt709_encode",
    "bt1886_decode",
    "bt1886_encode",
    "bt2390",
    "bt2446a",
    "bt2446a_inverse",
    "bt2446a_table4",
    "bt2446c",
    "bt2446c_inverse",
    "codes_to_components",
    "components_to_codes",
    "convert_primaries",
    "decode",
    "encode",
    "hable",
    "hlg_decode",
    "hlg_encode",
    "hlg_oetf",
    "hlg_oetf_inverse",
    "hlg_ootf",
    "hlg_ootf_inverse",
    "light_to_ictcp",
    "luma",
    "pq_decode",
    "pq_encode",
    "primaries_matrix",
    "quantize",
    "reinhard",
    "reinhard_inverse",
    "rgb_to_signal",
    "rgb_to_xyz_matrix",
    "rgb_to_ycbcr",
    "roll_off",
    "signal_to_rgb",
    "srgb_decode",
    "srgb_encode",
    "subsample_chroma",
    "to_sdr",
    "upsample_chroma",
    "video_site",
    "ycbcr_to_rgb",
]
