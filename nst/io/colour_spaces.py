"""Colour spaces that a file describes by numbers, and their conversion to sRGB.

The numbers are code points (ITU-T H.273, as in PNG's chunk cICP and AVIF's property nclx), or a gamma with
chromaticities (PNG's chunks gAMA and cHRM).

PQ and HLG reach far beyond the white of a screen. Their reference white, 203 cd/m² (ITU-R BT.2408), becomes white here,
and what is brighter is clipped.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nst.io.depth import ROWS_AT_ONCE

D65 = (0.3127, 0.3290)
REFERENCE_WHITE = 203  # cd/m²
HLG_PEAK = 1000  # cd/m², for which the system gamma is 1.2 (ITU-R BT.2100)
HLG_GAMMA = 1.2
NEARLY_SRGB = 0.05  # with sRGB's chromaticities, a gamma within 5 % of 1/2.2 means sRGB, as in Chromium
SRGB = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
PRIMARIES = {  # x and y of red, green, blue and white, by code point
    1: (*SRGB, *D65),
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65),  # BT.2020
    10: (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3),  # XYZ
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),  # DCI-P3
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65),  # Display P3
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *D65),
}


@dataclass(frozen=True)
class ColourSpace:
    """The chromaticities of red, green, blue and white, (8,), and the curve from values to light.

    to_light: takes values in [0, 1], and returns light, in which 1 is the white of a screen.
    system_gamma: the power of the luminance by which the light is multiplied, plus one; 1 for all but HLG.
    """

    chromaticities: tuple[float, ...]
    to_light: Callable[[np.ndarray], np.ndarray]
    system_gamma: float = 1.0

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """Return a new image in mode RGB, converted to sRGB; colours beyond sRGB are clipped."""
        result = Image.new("RGB", image.size)
        for top in range(0, image.height, ROWS_AT_ONCE):
            rows = image.crop((0, top, image.width, min(top + ROWS_AT_ONCE, image.height)))
            result.paste(Image.fromarray(self.array_to_srgb(np.asarray(rows.convert("RGB")))), (0, top))
        return result

    def array_to_srgb(self, values: np.ndarray) -> np.ndarray:
        """Return values (H, W, 3), uint8 or uint16, as sRGB in uint8; colours beyond sRGB are clipped."""
        light, encoded = self._tables(np.iinfo(values.dtype).max)
        to_xyz = _rgb_to_xyz(self.chromaticities)
        matrix = np.linalg.inv(_rgb_to_xyz(PRIMARIES[1])) @ _adaptation(self.chromaticities[6:]) @ to_xyz
        linear = light[values]
        if self.system_gamma != 1:
            luminance = linear @ to_xyz[1].astype(np.float32)
            linear = linear * luminance[..., None] ** (self.system_gamma - 1)
        linear = (linear @ matrix.T.astype(np.float32)).clip(0, 1)
        return encoded[(linear * 65535).round().astype(np.uint16)]

    @functools.lru_cache(4)  # noqa: B019 - a colour space is small, and a clip has one for all its frames
    def _tables(self, largest: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the light of each value from 0 to `largest`, and sRGB's bytes of 65,536 steps of light."""
        light = self.to_light(np.arange(largest + 1) / largest).astype(np.float32)
        return light, (255 * _srgb_curve(np.arange(65536) / 65535)).round().astype(np.uint8)


def from_code_points(primaries: int, transfer: int) -> ColourSpace | None:
    """Return the colour space of H.273's code points; None for sRGB. An unknown one counts as that of sRGB."""
    chromaticities = PRIMARIES.get(primaries, PRIMARIES[1])
    to_light = CURVES.get(transfer, srgb_light)
    if chromaticities == PRIMARIES[1] and to_light is srgb_light:
        return None
    return ColourSpace(chromaticities, to_light, HLG_GAMMA if to_light is _hlg_light else 1.0)


def from_gamma(gamma: float, chromaticities: tuple[float, ...] | None) -> ColourSpace | None:
    """Return the colour space of PNG's gamma and chromaticities (white, red, green, blue).

    None stands for sRGB, and for numbers that are no colour space.
    """
    ordered = PRIMARIES[1] if chromaticities is None else (*chromaticities[2:], *chromaticities[:2])
    if gamma <= 0 or not _is_possible(ordered):
        return None
    if abs(gamma * 2.2 - 1) < NEARLY_SRGB and np.allclose(ordered, PRIMARIES[1], atol=1e-3):
        return None
    return ColourSpace(ordered, lambda values: values ** (1 / gamma))


def _is_possible(chromaticities: tuple[float, ...]) -> bool:
    """Return whether three colours span a triangle, and white is a light."""
    if len(chromaticities) != 8:
        return False
    corners = np.column_stack([np.reshape(chromaticities[:6], (3, 2)), np.ones(3)])
    return abs(np.linalg.det(corners)) > 1e-3 and chromaticities[7] > 0


def _rgb_to_xyz(chromaticities: tuple[float, ...]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ, in which white has Y = 1."""
    points = np.reshape(chromaticities, (4, 2))
    xyz = np.column_stack([points, 1 - points.sum(1)]).T  # columns: red, green, blue, white
    white = xyz[:, 3] / xyz[1, 3]
    return xyz[:, :3] * np.linalg.solve(xyz[:, :3], white)


def _adaptation(white: tuple[float, ...]) -> np.ndarray:
    """Return Bradford's matrix in XYZ from a white, (x, y), to D65."""
    source, target = (BRADFORD @ np.array([x / y, 1, (1 - x - y) / y]) for x, y in (white, D65))
    return np.linalg.inv(BRADFORD) @ np.diag(target / source) @ BRADFORD


def _srgb_curve(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def srgb_light(values: np.ndarray) -> np.ndarray:
    """Return the light of sRGB's values (IEC 61966-2-1); both in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _smpte_240_light(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0.0913, values / 4, ((values + 0.1115) / 1.1115) ** (1 / 0.45))


def _pq_light(values: np.ndarray) -> np.ndarray:
    """Return the light of PQ's values (SMPTE ST 2084), which go up to 10,000 cd/m²."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    powers = values ** (1 / m2)
    return 10_000 / REFERENCE_WHITE * (np.maximum(powers - c1, 0) / (c2 - c3 * powers)) ** (1 / m1)


def _hlg_light(values: np.ndarray) -> np.ndarray:
    """Return the light of HLG's values (ITU-R BT.2100) before the system gamma, which raises the scale to its power."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return (HLG_PEAK / REFERENCE_WHITE) ** (1 / HLG_GAMMA) * scene


CURVES = {  # by code point
    **dict.fromkeys((1, 6, 11, 14, 15), lambda values: values**2.4),  # video on a screen (ITU-R BT.1886)
    4: lambda values: values**2.2,
    5: lambda values: values**2.8,
    7: _smpte_240_light,
    8: lambda values: values,
    16: _pq_light,
    17: lambda values: 52.37 / 48 * values**2.6,
    18: _hlg_light,
}
