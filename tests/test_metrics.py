from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from dmecodec.bench.bd_rate import bd_rate, interval, reversed_rate
from dmecodec.bench.metrics import largest_error, ms_ssim, ndvi_error, psnr, similarity_db, spectral_angle, ssim

CURVE = [(0.1, 25.0), (0.3, 28.0), (0.8, 32.0), (1.7, 36.0), (3.0, 40.0)]


def picture(height: int, width: int, bands: int = 3) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(rows / (5 + b)) * np.cos(columns / 7) for b in range(bands)]
    return np.stack(waves, axis=2).astype(np.uint8)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((300, 7, 3), np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black, np.full_like(black, 255)) == 0
    one_band = black.copy()
    one_band[:, :, 1] = 10
    assert psnr(black, one_band) == pytest.approx(10 * math.log10(255**2 * 3 / 100))
    assert psnr(one_band, black) == psnr(black, one_band)  # uint8 must not wrap
    assert psnr(black[:, :, 0], one_band[:, :, 1]) == pytest.approx(10 * math.log10(255**2 / 100))


def test_images_that_cannot_be_compared() -> None:
    a = picture(200, 200)
    with pytest.raises(ValueError, match="shapes"):
        psnr(a, a[:-1])
    with pytest.raises(ValueError, match="uint8"):
        ms_ssim(a.astype(np.float32), a.astype(np.float32))


def test_ms_ssim_needs_161_pixels_a_side() -> None:
    assert ms_ssim(picture(160, 400), picture(160, 400)) is None
    assert ms_ssim(picture(161, 161), picture(161, 161)) == pytest.approx(1)
    assert ms_ssim(picture(161, 170, 1)[:, :, 0], picture(161, 170, 1)[:, :, 0]) == pytest.approx(1)


def test_ms_ssim_falls_with_damage() -> None:
    a = picture(176, 192)
    noise = np.random.default_rng(0).integers(-40, 41, a.shape)
    values = [ms_ssim(a, np.clip(a + noise * k / 4, 0, 255).astype(np.uint8)) for k in range(5)]
    assert all(v is not None for v in values)
    assert values == sorted(values, key=lambda v: -(v or 0))


def test_ssim_needs_11_pixels_a_side() -> None:
    a = picture(64, 48)
    noise = np.random.default_rng(0).integers(-20, 21, a.shape)
    assert ssim(a, a) == pytest.approx(1)
    assert 0 < (ssim(a, np.clip(a + noise, 0, 255).astype(np.uint8)) or 0) < 0.95
    assert ssim(a[:10], a[:10]) is None


def test_sixteen_bits_have_a_peak_of_their_own() -> None:
    a = picture(64, 48).astype(np.uint16) * 100
    b = a + np.uint16(100)
    assert psnr(a, b, 25500) == pytest.approx(20 * math.log10(255))
    assert ssim(a, a, 25500) == pytest.approx(1)
    assert largest_error(a, b) == largest_error(b, a) == 100


def test_spectral_angle_of_known_spectra() -> None:
    a, b = np.zeros((2, 1, 4), np.uint8), np.zeros((2, 1, 4), np.uint8)
    a[0, 0] = 10, 20, 30, 40
    assert spectral_angle(a, 2 * a) == pytest.approx(0, abs=1e-5)  # twice as bright, the same colour
    a[1, 0], b[1, 0] = (0, 0, 5, 0), (0, 7, 0, 0)
    assert spectral_angle(a, b) == pytest.approx(90)  # the first pixel is zero in b, and has no angle
    assert spectral_angle(a, np.zeros_like(a)) is None


def test_ndvi_error_of_known_bands() -> None:
    a, b = np.zeros((300, 2, 4), np.uint8), np.zeros((300, 2, 4), np.uint8)
    a[..., 0], a[..., 3] = 50, 150  # NDVI 0.5
    b[..., 0], b[..., 3] = 100, 100  # NDVI 0
    assert ndvi_error(a, b, red=0, near_infrared=3) == pytest.approx(0.5)
    assert ndvi_error(a, b, red=1, near_infrared=2) is None  # black in both


def test_ms_ssim_in_decibels() -> None:
    assert similarity_db(0.99) == pytest.approx(20)
    assert similarity_db(1.0) == math.inf
    assert similarity_db(None) is None


def test_bd_rate_of_a_codec_that_needs_a_fifth_less() -> None:
    test = [(0.8 * bpp, quality) for bpp, quality in CURVE]
    assert bd_rate(CURVE, test) == pytest.approx(-20, abs=1e-6)
    assert bd_rate(test, CURVE) == pytest.approx(25, abs=1e-6)
    assert bd_rate(CURVE, CURVE) == pytest.approx(0)


def test_bd_rate_copes_with_any_order_duplicates_and_points_that_do_not_rise() -> None:
    messy = [*reversed(CURVE), CURVE[2], (0.9, 31.0), (0.8, 30.0), (5.0, math.inf), (0.0, 20.0)]
    assert bd_rate(messy, CURVE) == pytest.approx(0)


def test_bd_rate_without_enough_in_common_is_none() -> None:
    above = [(bpp, quality + 14.5) for bpp, quality in CURVE]
    assert bd_rate(CURVE, above) is None
    assert bd_rate(CURVE, [(bpp, quality + 13.5) for bpp, quality in CURVE]) is not None
    assert bd_rate(CURVE, CURVE[:1]) is None
    assert bd_rate([], CURVE) is None


def test_bd_rate_the_other_way_round() -> None:
    test = [(bpp**1.1, quality - 0.3) for bpp, quality in CURVE]
    forth, back = bd_rate(CURVE, test), bd_rate(test, CURVE)
    assert forth is not None
    assert back == pytest.approx(reversed_rate(forth), abs=0.01)


def test_the_interval_holds_the_mean_and_needs_five_images() -> None:
    values = [-10.0, -12, -8, -11, -30, -9]
    low, high = interval(values) or (0, 0)
    assert low < sum(values) / 6 < high
    assert min(values) < low < high < max(values)
    assert interval(values) == (low, high)
    assert interval([-5.0] * 5) == (-5, -5)
    assert interval(values[:4]) is None


def test_importing_the_module_imports_no_heavy_library() -> None:
    heavy = ("torch", "pytorch_msssim", "bjontegaard", "scipy", "matplotlib")
    script = f"import sys, dmecodec.bench.metrics; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
