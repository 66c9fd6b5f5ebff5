"""Colour: transfer curves, primaries, Y'CbCr, code values and tone curves, on tensors ``(..., 3, H, W)``."""

from zoo.color.codes import codes_to_components, components_to_codes, quantize
from zoo.color.convert import decode, encode, rgb_to_signal, signal_to_rgb
from zoo.color.primaries import convert_primaries, primaries_matrix, rgb_to_xyz_matrix
from zoo.color.tonemap import bt2446a_inverse, bt2446a_table4, bt2446c_inverse, reinhard, reinhard_inverse, roll_off
from zoo.color.transfer import (
    bt709_decode,
    bt709_encode,
    bt1886_decode,
    bt1886_encode,
    pq_decode,
    pq_encode,
    srgb_decode,
    srgb_encode,
)
from zoo.color.ycbcr import luma, rgb_to_ycbcr, ycbcr_to_rgb

__all__ = [
    "bt709_decode",
    "bt709_encode",
    "bt1886_decode",
    "bt1886_encode",
    "bt2446a_inverse",
    "bt2446a_table4",
    "bt2446c_inverse",
    "codes_to_components",
    "components_to_codes",
    "convert_primaries",
    "decode",
    "encode",
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
    "ycbcr_to_rgb",
]
