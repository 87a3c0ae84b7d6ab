"""A second decoder, written from docs/format.md alone: plain integers for what must be exact, float64 for pixels.

It shares no code with the package: a tile's streams and the tensors of a model file go in, latents and
pixels come out. Slow, and simple enough to be compared with the page line by line.
"""

from __future__ import annotations

import json
import math
import zlib
from bisect import bisect_right
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from safetensors import safe_open

TOTAL = 1 << 24


# ---- entropy coding ----------------------------------------------------------------------------


class Ans:
    """The rANS decoder of one stream."""

    def __init__(self, data: bytes) -> None:
        self.words = np.frombuffer(data, "<u4").tolist()
        self.state = 0
        for _ in range(min(2, len(self.words))):
            self.state = self.state << 32 | self.words.pop()

    def finished(self) -> bool:
        return self.state == 0 and not self.words

    def _advance(self, left: int, frequency: int) -> None:
        self.state = (self.state >> 24) * frequency + self.state % TOTAL - left
        if self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, boundaries: list[int]) -> int:
        """One symbol, given where each begins and, at the end, 2^24."""
        symbol = bisect_right(boundaries, self.state % TOTAL) - 1
        self._advance(boundaries[symbol], boundaries[symbol + 1] - boundaries[symbol])
        return symbol

    def uniform(self, count: int) -> int:
        """One of `count` equally frequent symbols; the last takes what is left over."""
        step = TOTAL // count
        symbol = min(self.state % TOTAL // step, count - 1)
        rest = TOTAL - (count - 1) * step
        self._advance(symbol * step, rest if symbol == count - 1 else step)
        return symbol


class FrequencyTables:
    """low, length and frequency of a set of tables."""

    def __init__(self, low: np.ndarray, length: np.ndarray, frequency: np.ndarray) -> None:
        self.low, self.length = low.tolist(), length.tolist()
        starts = [0, *accumulate(self.length)]
        self.boundaries = [[0, *accumulate(frequency[a:b].tolist())] for a, b in pairwise(starts)]

    def read_pass(self, ans: Ans, indices: list[int]) -> list[int]:
        """Values of one pass: bucket by bucket, then what escaped."""
        values, escaped = [0] * len(indices), []
        for index in sorted(set(indices)):
            for position in (p for p, i in enumerate(indices) if i == index):
                symbol = ans.symbol(self.boundaries[index])
                values[position] = self.low[index] + symbol
                if symbol == self.length[index] - 1:
                    escaped.append(position)
        for position in sorted(escaped):
            values[position] = self._escaped(ans, indices[position])
        return values

    def _escaped(self, ans: Ans, index: int) -> int:
        above = ans.uniform(2)
        bits = ans.uniform(24)
        distance = (1 << bits) + (ans.uniform(1 << bits) if bits else 0)
        first, last = self.low[index], self.low[index] + self.length[index] - 2
        return last + distance if above else first - distance


# ---- fixed-point arithmetic --------------------------------------------------------------------


class Model:
    """The tensors of a model file."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "np") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.metadata = file.metadata()
            self.config = json.loads(self.metadata["config"])
        self.y, self.z = (
            FrequencyTables(
                *(self.tensors[f"tables.{n}.{f}"] for f in ("low", "length", "frequency"))
            )
            for n in "yz"
        )

    def layer(self, name: str, x: np.ndarray, quality: int, activation: str) -> np.ndarray:
        """One layer on integers (channels, height, width)."""
        weight, bias, shift = (
            self.tensors[f"exact.{name}.{part}"].astype(np.int64)
            for part in ("weight", "bias", "shift")
        )
        if len(bias) > 1:
            knot = min(quality // 32, 6)
            f = quality - 32 * knot
            bias = (bias[knot] * (32 - f) + bias[knot + 1] * f + 16) // 32
        up = name in ("decoder.layers.0", "decoder.layers.1")
        total = (convolve_up if up else convolve)(x, weight) + bias.reshape(-1, 1, 1)
        out = total >> shift[:, None, None]
        if activation == "gate":
            return (out + 128).clip(0, 256)
        limits = {"relu": (0, 255), "signed": (-255, 255), "none": (-TOTAL, TOTAL)}
        return out.clip(*limits[activation])


def convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Zeros outside; weight (outputs, inputs, kh, kw), or (channels, 1, kh, kw) channel by channel."""
    outputs, inputs, kh, kw = weight.shape
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2)))
    out = np.zeros((outputs, height, width), np.result_type(x, weight))
    for i in range(kh):
        for j in range(kw):
            part = padded[:, i : i + height, j : j + width]
            if inputs == 1 and len(x) == outputs > 1:
                out += weight[:, 0, i, j, None, None] * part
            else:
                out += np.einsum("oi,ihw->ohw", weight[:, :, i, j], part)
    return out


def convolve_up(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """weight (inputs, outputs, 3, 3): x[r, c] w[i, j] goes to [2 r + i - 1, 2 c + j - 1]."""
    height, width = x.shape[1:]
    out = np.zeros((weight.shape[1], 2 * height + 1, 2 * width + 1), np.result_type(x, weight))
    for i in range(3):
        for j in range(3):
            out[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += np.einsum(
                "io,ihw->ohw", weight[:, :, i, j], x
            )
    return out[:, 1:, 1:]


def features(model: Model, z: np.ndarray, quality: int) -> np.ndarray:
    """z-hat (N, h, w) to hyper features (M, 4 h, 4 w)."""
    x = z.astype(np.int64).clip(-127, 127)
    for name in ("decoder.layers.0", "decoder.layers.1", "decoder.layers.2"):
        x = model.layer(name, x, quality, "relu")
    row = model.layer("decoder.lsm.row", x, quality, "signed")
    gate = model.layer("decoder.lsm.column", row, quality, "gate")
    x = (x * (256 + gate) + 128) // 256
    squeezed = model.layer("decoder.lsm.squeeze", x, quality, "relu")
    gate = model.layer("decoder.lsm.excite", squeezed, quality, "gate")
    return (x * gate + 128) // 256


def shown(y: np.ndarray) -> np.ndarray:
    """What a later pass sees of y-hat."""
    logs = np.array([math.floor(32 * math.log1p(i / 16) + 0.5) for i in range(4096)])
    return np.concatenate([y.clip(-128, 128), logs[np.minimum(abs(y), 4095)]])


def passes(model: Model, height: int, width: int) -> list[tuple[int, int, np.ndarray]]:
    """First channel, end, and positions of every pass."""
    row, col = np.mgrid[:height, :width]
    found, first = [], 0
    for index, channels in enumerate(model.config["slices"]):
        whole = [np.ones((height, width), bool)]
        halves = [(row + col) % 2 == parity for parity in (0, 1)]
        checkered = index < model.config.get("checkered", 0)
        found += [(first, first + channels, p) for p in (halves if checkered else whole)]
        first += channels
    return found


def predict(
    model: Model, index: int, hyper: np.ndarray, y: np.ndarray, quality: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means in 1/16 step and scale indices of one pass at all positions."""
    x, name = hyper, f"networks.{index}"
    if f"exact.{name}.context.weight" in model.tensors:
        before = len(model.tensors[f"exact.{name}.context.weight"]) // 2
        context = model.layer(f"{name}.context", shown(y[:before]), quality, "signed")
        x = np.concatenate([x, context])
    if f"exact.{name}.hidden.0.weight" in model.tensors:
        x = model.layer(f"{name}.hidden.0", x, quality, "relu")
        x = model.layer(f"{name}.hidden.1", x, quality, "relu")
    mean, scale = np.split(model.layer(f"{name}.out", x, quality, "none"), 2)
    return mean, ((scale + 8) // 16).clip(0, 63)


def known_answer(model: Model) -> str:
    """What the model file's metadata must say."""
    z = np.arange(model.config["hyper"] * 9).reshape(-1, 3, 3) * 7919 % 23 - 11
    hyper, answer = features(model, z, 100), 0
    y = np.zeros_like(hyper)
    for index, (first, end, positions) in enumerate(passes(model, 12, 12)):
        mean, scale = (v[:, positions] for v in predict(model, index, hyper, y, 100))
        k = np.arange(mean.size).reshape(mean.shape) * 104729 % 7 - 3
        y[first:end, positions] = mean + 16 * k
        answer = zlib.crc32(mean.astype("<i4").tobytes() + scale.astype("<i4").tobytes(), answer)
    return f"{answer:08x}"


# ---- one tile ----------------------------------------------------------------------------------


def decode_tile(
    model: Model, z_stream: bytes, y_stream: bytes, quality: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """y-hat (M, height, width) in 1/16 step and z-hat; sides in latents."""
    shape = (model.config["hyper"], -(-height // 4), -(-width // 4))
    ans = Ans(z_stream)
    channels = np.repeat(np.arange(shape[0]), shape[1] * shape[2]).tolist()
    z = np.array(model.z.read_pass(ans, channels)).reshape(shape)
    assert ans.finished()
    hyper = features(model, z, quality)[:, :height, :width]
    ans = Ans(y_stream)
    y = np.zeros_like(hyper)
    for index, (first, end, positions) in enumerate(passes(model, height, width)):
        mean, scale = (v[:, positions] for v in predict(model, index, hyper, y, quality))
        k = model.y.read_pass(ans, scale.ravel().tolist())
        y[first:end, positions] = mean + 16 * np.array(k).reshape(mean.shape)
    assert ans.finished()
    return y, z


# ---- pixels ------------------------------------------------------------------------------------


def synthesise(model: Model, y_hat: np.ndarray, quality: int) -> np.ndarray:
    """y-hat of the whole image (M, h, w) to red, green and blue (3, 16 h, 16 w), about 0 to 1."""
    rows = model.tensors["log_inverse_gain"].astype(float)
    knot = min(quality // 32, 6)
    t = (quality - 32 * knot) / 32
    gain = np.exp((1 - t) * rows[knot] + t * rows[knot + 1])
    y = y_hat / 16 * gain[:, None, None]
    pixels = blocks(model, 0.2 * y) * model.tensors["synthesis.scale"].astype(float)
    if model.config["shortcut"]:
        pixels = pixels + unpack(dense(model, "shortcut", y))
    if model.config.get("refinement", 0):
        pixels = pixels + refinement(model, pixels, quality)
    return pixels


def refinement(model: Model, pixels: np.ndarray, quality: int) -> np.ndarray:
    """What the refinement adds to an image (3, h, w)."""
    height, width = pixels.shape[1:]
    quarters = (pixels - 0.5).reshape(3, height // 2, 2, width // 2, 2).transpose(0, 2, 4, 1, 3)
    rows = model.tensors["synthesis.refinement.quality"].astype(float)
    knot = min(quality // 32, 6)
    t = (quality - 32 * knot) / 32
    bias = (1 - t) * rows[knot] + t * rows[knot + 1]
    x = dense(model, "refinement.first", quarters.reshape(12, height // 2, width // 2))
    x = leaky(x + bias[:, None, None])
    for index in range(2):
        x = x + leaky(dense(model, f"refinement.middle.{index}", x))
    x = dense(model, "refinement.last", x).reshape(3, 2, 2, height // 2, width // 2)
    return x.transpose(0, 3, 1, 4, 2).reshape(pixels.shape)


def dense(model: Model, name: str, x: np.ndarray) -> np.ndarray:
    """A convolution of the synthesis with its bias."""
    weight, bias = (
        model.tensors[f"synthesis.{name}.{p}"].astype(float) for p in ("weight", "bias")
    )
    return convolve(x, weight) + bias[:, None, None]


def blocks(model: Model, x: np.ndarray) -> np.ndarray:
    for index in range(5):
        if index == 2:
            x = sdpm(model, x)
            continue
        weight, bias, beta, gamma = (
            model.tensors[f"synthesis.blocks.{index}.{p}"].astype(float)
            for p in ("0.weight", "0.bias", "1.beta", "1.gamma")
        )
        x = convolve_up(x, weight) + bias[:, None, None]
        x = x * np.sqrt(beta[:, None, None] + np.einsum("ij,jhw->ihw", gamma, x * x))
    return x


def leaky(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, x / 10)


def sdpm(model: Model, x: np.ndarray) -> np.ndarray:
    half = len(x) // 2
    a, b = x[:half], x[half:]
    groups = max(1, half // 16)
    choice = dense(model, "blocks.2.seb.choice", a).reshape(3, groups, *x.shape[1:])
    choice = np.exp(choice - choice.max(0))
    choice = np.repeat(choice / choice.sum(0), half // groups, axis=1)
    shapes = sum(
        weight * dense(model, f"blocks.2.seb.{name}", a)
        for weight, name in zip(choice, ("row", "column", "square"), strict=True)
    )
    scales = np.zeros_like(b)
    for index in range(3):
        b = leaky(dense(model, f"blocks.2.peb.scales.{index}", b))
        scales = scales + b
    return x + dense(model, "blocks.2.join", leaky(np.concatenate([shapes, scales])))


def unpack(coefficients: np.ndarray) -> np.ndarray:
    """768 channels of subbands to pixels."""
    lowest, end = coefficients[765:], 765
    for factor in (1, 2, 4, 8):
        first = end - 9 * factor * factor
        height, width = coefficients.shape[1:]
        level = coefficients[first:end].reshape(9, factor, factor, height, width)
        level = level.transpose(0, 3, 1, 4, 2).reshape(9, factor * height, factor * width)
        low = merge(lowest, level[:3], axis=1)
        lowest, end = merge(low, merge(level[3:6], level[6:], axis=1), axis=2), first
    return lowest


def merge(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    low, high = np.moveaxis(low, axis, 0), np.moveaxis(high, axis, 0)
    a, b, g, d = -1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971
    k = 1.149604398860241
    even, odd = low / k, high * k
    for of_even, of_odd in ((d, g), (b, a)):
        even = even - of_even * (np.concatenate([odd[:1], odd[:-1]]) + odd)
        odd = odd - of_odd * (even + np.concatenate([even[1:], even[-1:]]))
    merged = np.stack([even, odd], 1).reshape(2 * len(even), *even.shape[1:])
    return np.moveaxis(merged, 0, axis)
