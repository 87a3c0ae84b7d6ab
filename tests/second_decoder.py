"""A second decoder, written from docs/format.md alone: plain integers for what must be exact, float64 for pixels.

It shares no code with the package: a tile's streams and the tensors of a model file go in, latents and
pixels come out. Slow, and simple enough to be compared with the page line by line.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import zlib
from bisect import bisect_right
from decimal import Decimal, localcontext
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from safetensors import safe_open

TOTAL = 1 << 24


# ---- entropy coding ----------------------------------------------------------------------------


class Ans:
    """The rANS decoder of one stream, or of one and the one below it."""

    def __init__(self, data: bytes, below: bytes = b"") -> None:
        assert len(below) % 4 == 0
        data = below + data
        self.words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").tolist()
        assert not self.words or self.words[-1]
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

    def read_list(self, ans: Ans, indices: list[int]) -> list[int]:
        """The integers of one list: table by table, then those that escaped."""
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


# ---- the filter's own tables -------------------------------------------------------------------

DECAYS = (1239, 9904, 26649, 42696, 53440, 59468, 62573, 64108)
NAMES = "12345678defghi"
PRESENT = 64
COEFFICIENTS = {
    16: "g228d181d7548d1i1d533id1i1d3447h78hi",
    112: "5447f585e5437h687f433666777233465567",
    999: "3445g576f344565666222454555111243334",
}


def filter_frequencies(middle: int, decay: int) -> list[int]:
    fall = [1 << 24]
    while len(fall) < 600:
        fall.append(fall[-1] * decay // 65536)
    weight = {v: fall[abs(v - middle)] for v in range(-255, 256)}
    f = {v: 1 + 4 * (TOTAL - 512) // 5 * w // sum(weight.values()) for v, w in weight.items()}
    f[0] += TOTAL - sum(f.values()) - 1
    return [*f.values(), 1]


def all_tables(model: Model) -> FrequencyTables:
    """Those of a Y stream, in a file with filters."""
    lows, frequencies = [0] + [-255] * 14, [[1, TOTAL - 2, 1]]
    frequencies += [filter_frequencies(0, decay) for decay in DECAYS]
    frequencies += [filter_frequencies(-28, decay) for decay in DECAYS[2:]]
    parts = [model.tensors[f"tables.y.{f}"].tolist() for f in ("low", "length", "frequency")]
    parts[0] += lows
    parts[1] += [len(row) for row in frequencies]
    parts[2] += [f for row in frequencies for f in row]
    return FrequencyTables(*(np.array(part) for part in parts))


def read_filter(tables: FrequencyTables, ans: Ans, quality: int) -> list[int]:
    """The 36 coefficients."""
    (present,) = tables.read_list(ans, [PRESENT])
    if not present:
        return [0] * 36
    names = next(names for below, names in COEFFICIENTS.items() if quality < below)
    values = tables.read_list(ans, [PRESENT + 1 + NAMES.index(name) for name in names])
    assert present == 1 and any(values) and max(map(abs, values)) <= 255
    return values


# ---- fixed-point arithmetic --------------------------------------------------------------------


class Model:
    """The tensors of a model file."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "np") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.metadata = file.metadata()
            self.config = json.loads(self.metadata["config"])
        self.id = hashlib.sha256(path.read_bytes()).digest()[:8]
        self.z = FrequencyTables(*(self.tensors[f"tables.z.{f}"] for f in ("low", "length", "frequency")))

    def layer(self, name: str, x: np.ndarray, quality: int, activation: str) -> np.ndarray:
        """One layer on integers (channels, height, width)."""
        weight, bias, shift = (
            self.tensors[f"exact.{name}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift")
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
            out[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += np.einsum("io,ihw->ohw", weight[:, :, i, j], x)
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
        checkered = index < model.config["checkered"]
        found += [(first, first + channels, p) for p in (halves if checkered else whole)]
        first += channels
    return found


def predict(model: Model, index: int, hyper: np.ndarray, y: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
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
    model: Model,
    z_stream: bytes,
    y_stream: bytes,
    quality: int,
    height: int,
    width: int,
    has_filter: bool,
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """y-hat (M, height, width) in 1/16 step, z-hat, and the filter; sides in latents."""
    shape = (model.config["hyper"], -(-height // 4), -(-width // 4))
    ans = Ans(z_stream, y_stream)
    channels = np.repeat(np.arange(shape[0]), shape[1] * shape[2]).tolist()
    z = np.array(model.z.read_list(ans, channels)).reshape(shape)
    hyper, tables = features(model, z, quality)[:, :height, :width], all_tables(model)
    y = np.zeros_like(hyper)
    for index, (first, end, positions) in enumerate(passes(model, height, width)):
        mean, scale = (v[:, positions] for v in predict(model, index, hyper, y, quality))
        k = tables.read_list(ans, scale.ravel().tolist())
        y[first:end, positions] = mean + 16 * np.array(k).reshape(mean.shape)
    coefficients = read_filter(tables, ans, quality) if has_filter else [0] * 36
    assert ans.finished()
    return y, z, coefficients


# ---- pixels ------------------------------------------------------------------------------------


def synthesise(model: Model, y_hat: np.ndarray, quality: int) -> np.ndarray:
    """y-hat of the whole image (M, h, w) to red, green and blue (3, 16 h, 16 w), about 0 to 1."""
    y = y_hat / 16 * np.exp(row_at(model, "log_inverse_gain", quality))
    found, features = blocks(model, 0.2 * y, quality)
    pixels = found * model.tensors["synthesis.scale"].astype(float)
    if not model.config["paper"]:
        pixels = pixels + unpack(dense(model, "shortcut", y))
        pixels = pixels + refinement(model, pixels, features, quality)
    return pixels


def filtered(image: np.ndarray, tile: tuple[int, int, int, int], values: list[int]) -> np.ndarray:
    """A tile (col, row, width, height) of an image (3, h, w) with a filter of 36 coefficients."""
    col, row, width, height = tile
    axes = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    seen = np.pad(np.einsum("ij,jhw->ihw", axes, image), ((0, 0), (8, 8), (8, 8)), "symmetric")
    found = np.zeros((3, height, width))
    means = [seen[:, 8 + row :, 8 + col :][:, :height, :width]]
    for radius in (1, 2, 4, 8):
        places = itertools.product(range(8 - radius, 9 + radius), repeat=2)
        squares = [seen[:, row + r :, col + c :][:, :height, :width] for r, c in places]
        means.append(np.mean(squares, axis=0))
    for n, value in enumerate(values):
        radius, detail, axis = n // 9, n // 3 % 3, n % 3
        found[axis] += value / 32 * (means[radius][detail] - means[radius + 1][detail])
    return image[:, row:, col:][:, :height, :width] + np.einsum("ji,jhw->ihw", axes, found)


def row_at(model: Model, name: str, quality: int) -> np.ndarray:
    """A table of one row for each quality, between its rows: (channels, 1, 1)."""
    rows = model.tensors[name].astype(float)
    knot = min(quality // 32, 6)
    t = (quality - 32 * knot) / 32
    return ((1 - t) * rows[knot] + t * rows[knot + 1])[:, None, None]


def refinement(model: Model, pixels: np.ndarray, features: np.ndarray, quality: int) -> np.ndarray:
    """What the refinement adds to an image (3, h, w)."""
    height, width = pixels.shape[1:]
    quarters = (pixels - 0.5).reshape(3, height // 2, 2, width // 2, 2).transpose(0, 2, 4, 1, 3)
    x = dense(model, "refinement.first", quarters.reshape(12, height // 2, width // 2))
    x = x + row_at(model, "synthesis.refinement.quality", quality)
    x = leaky(x + dense(model, "refinement.features", features))
    for index in range(model.config["refining"]):
        x = x + leaky(dense(model, f"refinement.middle.{index}", x))
    x = dense(model, "refinement.last", x).reshape(3, 2, 2, height // 2, width // 2)
    return x.transpose(0, 3, 1, 4, 2).reshape(pixels.shape)


def dense(model: Model, name: str, x: np.ndarray) -> np.ndarray:
    """A convolution of the synthesis with its bias."""
    weight, bias = (model.tensors[f"synthesis.{name}.{p}"].astype(float) for p in ("weight", "bias"))
    return convolve(x, weight) + bias[:, None, None]


def blocks(model: Model, x: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """What the blocks make of x, and what the last of them sees."""
    features = x
    for index in range(5):
        if index == 2:
            x = sdpm(model, x)
            continue
        weight, bias, beta, gamma = (
            model.tensors[f"synthesis.blocks.{index}.{p}"].astype(float)
            for p in ("0.weight", "0.bias", "1.beta", "1.gamma")
        )
        features, name = x, f"synthesis.blocks.{index}.0"
        if not model.config["paper"]:
            x = x * np.exp(row_at(model, f"{name}.log_gain", quality))
            bias = bias + row_at(model, f"{name}.offset", quality)[:, 0, 0]
        x = convolve_up(x, weight) + bias[:, None, None]
        x = x * np.sqrt(beta[:, None, None] + np.einsum("ij,jhw->ihw", gamma, x * x))
    return x, features


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


# ---- base image and residual ---------------------------------------------------------------------


def base_image(model: Model, y_hat: np.ndarray, quality: int, grey: bool) -> np.ndarray:
    """y-hat of one tile to levels (bands, 16 h, 16 w), in integers."""
    knot = min(quality // 32, 6)
    t = quality - 32 * knot
    first, second = (model.tensors["log_inverse_gain"][knot + n].tolist() for n in (0, 1))
    with localcontext() as context:
        context.prec = 80
        exponents = [(Decimal(a) * (32 - t) + Decimal(b) * t) / 32 for a, b in zip(first, second, strict=True)]
        gains = [int(e.exp() * 2**24 + Decimal("0.5")) for e in exponents]
    y = np.stack([channel * gain for channel, gain in zip(y_hat.astype(object), gains, strict=True)])
    y = halved(y, 15).clip(-(2**22), 2**22)
    weight, bias = (model.tensors[f"synthesis.shortcut.{part}"].astype(float) for part in ("weight", "bias"))
    weight = np.floor(weight[:, :, 0, 0] * 2**24 + 0.5).astype(np.int64)
    sums = np.einsum("oc,chw->ohw", weight, y.astype(np.int64))
    sums += np.floor(bias * 2**37 + 0.5).astype(np.int64)[:, None, None]
    packed = halved(255 * sums, 25).clip(-(2**26), 2**26)
    return halved(integer_unpack(packed, grey), 12).clip(0, 255)


def halved(x: np.ndarray, bits: int) -> np.ndarray:
    """x / 2^bits to the nearest integer, upwards from half-way."""
    return (2 * x + 2**bits) // 2 ** (bits + 1)


def integer_unpack(packed: np.ndarray, grey: bool) -> np.ndarray:
    def colours(x: np.ndarray) -> np.ndarray:
        return (x.sum(0, keepdims=True) + 1) // 3 if grey else x

    lowest, end = colours(packed[765:]), 765
    for factor in (1, 2, 4, 8):
        first = end - 9 * factor * factor
        height, width = packed.shape[1:]
        level = packed[first:end].reshape(9, factor, factor, height, width)
        level = level.transpose(0, 3, 1, 4, 2).reshape(9, factor * height, factor * width)
        lh, hl, hh = (colours(level[n : n + 3]) for n in (0, 3, 6))
        low, high = integer_merge(lowest, lh, 1), integer_merge(hl, hh, 1)
        lowest, end = integer_merge(low, high, 2).clip(-(2**26), 2**26), first
    return lowest


def integer_merge(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    low, high = np.moveaxis(low, axis, 0), np.moveaxis(high, axis, 0)
    even, odd = halved(57007 * low, 16), halved(75340 * high, 16)
    for of_even, of_odd in ((29066, 57862), (-3472, -103949)):
        even = even - halved(of_even * (np.concatenate([odd[:1], odd[:-1]]) + odd), 16)
        odd = odd - halved(of_odd * (even + np.concatenate([even[1:], even[-1:]])), 16)
    merged = np.stack([even, odd], 1).reshape(2 * len(even), *even.shape[1:])
    return np.moveaxis(merged, 0, axis)


def residual_tables() -> FrequencyTables:
    lows, lengths, frequencies = [], [], []
    for scale in range(41):
        with localcontext() as context:
            context.prec = 80
            step = Decimal(2) ** (Decimal(20 - scale) / 4)
            e = int((-step / 8).exp() * 2**64)
        reach = 1 + math.ceil(10 * 2.0 ** math.ceil((scale - 20) / 4))
        c, t = [], 1 << 64
        for _ in range(8 * reach + 17):
            c.append((1 << 96) // ((1 << 64) + t))
            t = t * e >> 64
        share = 2**24 - (2 * reach + 2)
        for d in range(-4, 4):
            edges = [8 * v - 4 - d for v in range(-reach, reach + 2)]
            bounds = [share * (c[n] if n >= 0 else 2**32 - c[-n]) >> 32 for n in edges]
            bounds[0], bounds[-1] = 0, share
            lows.append(-reach)
            lengths.append(2 * reach + 2)
            frequencies += [b - a + 1 for a, b in pairwise(bounds)] + [1]
    for bits in range(1, 11):
        lows.append(0)
        lengths.append(2**bits + 1)
        frequencies += [2 ** (24 - bits)] * (2**bits - 1) + [2 ** (24 - bits) - 1, 1]
    return FrequencyTables(*(np.array(column) for column in (lows, lengths, frequencies)))


FLAT, SMALL, WIDE = 327, 164, 276
AXES = [(-1, 0), (1, 0), (0, -1), (0, 1)]
DIAGONALS = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
KNIGHTS = [(-1, -2), (-1, 2), (1, -2), (1, 2), (-2, -1), (-2, 1), (2, -1), (2, 1)]
RING = [(-1, -3), (-1, 3), (1, -3), (1, 3), (-3, -1), (-3, 1), (3, -1), (3, 1)]
KINDS = {
    0: ((0, 0), [], []),
    1: ((1, 1), DIAGONALS, RING),
    2: ((0, 1), AXES, KNIGHTS),
    3: ((1, 0), AXES, DIAGONALS + KNIGHTS),
}
ORDER = [(0, 8)] + [(kind, u) for u in (8, 4, 2, 1) for kind in (1, 2, 3)]
Plane = list[list[int]]


class Band:
    """Base, samples and errors of one band, all as lists of rows."""

    def __init__(self, base: Plane) -> None:
        self.b, self.x = base, [row[:] for row in base]
        self.e = [[0] * len(row) for row in base]


class Slot:
    """The weights of some passes."""

    def __init__(self, kind: int, before: int) -> None:
        own = {0: (0, 1), 1: (14, 6), 2: (14, 6), 3: (18, 6)}[kind]
        other = (9, 5) if kind else (1, 4)
        self.mean = [0] * own[0] + ([64 // max(1, before)] + [0] * (other[0] - 1)) * before
        own_spread = [4, 0, 0, 0, 2, 0] if kind else [4]
        self.spread = own_spread + ([0, 0, 4, 0, 0] if kind else [0, 8, 0, 0]) * before
        self.floor, self.first = (32 if kind else 256), 0
        self.scales = [min(i + 2, 80) for i in range(85)]


class Residual:
    """Decodes the RESIDUAL stream of a tile of at most 1024 x 1024 pixels."""

    tables = residual_tables()

    def __init__(self, stream: bytes, bound: int) -> None:
        self.ans, self.step = Ans(stream), 2 * bound + 1

    def many(self, count: int, table: int) -> list[int]:
        return self.tables.read_list(self.ans, [table] * count)

    def decode(self, base: np.ndarray, height: int, width: int) -> np.ndarray:
        """base (bands, 16 h, 16 w) to samples (bands, height, width)."""
        rows, cols = -(-height // 16) * 16, -(-width // 16) * 16
        levels = 1 + self.many(1, FLAT + 2)[0]
        samples, known = {}, []
        for index in (1, 0, 2) if len(base) == 3 else (0,):
            plane = [
                [int(base[index][min(r, height - 1)][min(c, width - 1)]) for c in range(cols)] for r in range(rows)
            ]
            values = self.values()
            top = 255
            if values:
                top = len(values) - 1
                plane = [[self.rank(v, values) for v in row] for row in plane]
            band = Band(plane)
            self.band(band, known, levels, top, height, width)
            known.append(band)
            found = [row[:width] for row in band.x[:height]]
            samples[index] = [[values[v] for v in row] for row in found] if values else found
        assert self.ans.finished()
        return np.array([samples[index] for index in sorted(samples)])

    def values(self) -> list[int]:
        if not self.many(1, FLAT + 1)[0]:
            return []
        steps = self.many(1 + self.many(1, WIDE)[0], SMALL)
        return [i + total for i, total in enumerate(accumulate(steps))]

    @staticmethod
    def rank(v: int, values: list[int]) -> int:
        return min(range(len(values)), key=lambda i: (abs(values[i] - v), i))

    def slot(self, kind: int, before: int) -> Slot:
        slot = Slot(kind, before)
        if self.many(1, FLAT + 1)[0]:
            n, m = len(slot.mean), len(slot.spread)
            w = self.many(n + m + 3, WIDE)
            slot.mean = [a + b for a, b in zip(slot.mean, w[:n], strict=True)]
            slot.spread = [a + b for a, b in zip(slot.spread, w[n : n + m], strict=True)]
            slot.floor += w[n + m]
            slot.first, more = w[n + m + 1 :]
            lifts = self.many(more + 1, SMALL)
            slot.scales = [slot.first + i + 2 + lift for i, lift in enumerate(lifts)]
        return slot

    def band(self, band: Band, known: list[Band], levels: int, top: int, height: int, width: int) -> None:
        names = [(0, 0)] + [(kind, level) for level in range(levels) for kind in (1, 2, 3)]
        slots = {name: self.slot(name[0], len(known)) for name in names}
        for kind, u in ORDER:
            level = 0 if kind == 0 else min({1: 0, 2: 1}.get(u, 2), levels - 1)
            slot, (a, b) = slots[kind, level], KINDS[kind][0]
            places = [(r, c) for r in range(u * a, len(band.b), 2 * u) for c in range(u * b, len(band.b[0]), 2 * u)]
            found = [self.predict(band, known, kind, u, r, c, slot, top) for r, c in places]
            coded = [f for f, (r, c) in zip(found, places, strict=True) if r < height and c < width]
            residuals = iter(self.residuals(coded))
            for (p, _, _, _), (r, c) in zip(found, places, strict=True):
                q = next(residuals) if r < height and c < width else 0
                band.x[r][c] = min(max(band.b[r][c] + q * self.step, 0), top)
                band.e[r][c] = abs(64 * band.x[r][c] - p) // 16

    def residuals(self, coded: list[tuple[int, int, int, int]]) -> list[int]:
        low_bits = [max(0, -((40 - scale) // 4)) for _, _, _, scale in coded]
        tables = [
            8 * (scale - 4 * n) + 4 if n else 8 * scale + d + 4
            for (_, _, d, scale), n in zip(coded, low_bits, strict=True)
        ]
        high = self.tables.read_list(self.ans, tables)
        low = iter(self.tables.read_list(self.ans, [FLAT + n for n in low_bits if n]))
        return [
            k + (v * 2**n + next(low) - 2 ** (n - 1) if n else v)
            for (_, k, _, _), v, n in zip(coded, high, low_bits, strict=True)
        ]

    def predict(
        self, band: Band, known: list[Band], kind: int, u: int, r: int, c: int, slot: Slot, top: int
    ) -> tuple[int, int, int, int]:
        """p, k, d and scale of one sample."""

        def at(plane: Plane, offset: tuple[int, int]) -> int:
            row, col = r + u * offset[0], c + u * offset[1]
            row, col = (
                min(max(v, v % (2 * u)), v % (2 * u) + (size // (2 * u) - 1) * 2 * u)
                for v, size in ((row, len(plane)), (col, len(plane[0])))
            )
            return plane[row][col]

        def total(plane: Plane, offsets: list[tuple[int, int]]) -> int:
            return sum(at(plane, o) for o in offsets)

        _, near, far = KINDS[kind]
        b = band.b[r][c]
        if kind:
            m = (total(band.x, near) + 2) // 4
            differences = [at(band.x, o) - m for o in near + far]
            curve = 4 * b - total(band.b, near)
            spread = [sum(map(abs, differences[:4])), sum(map(abs, differences[4:8]))]
            spread += [abs(curve), abs(b - m), total(band.e, near), total(band.e, far[:4])]
            mean = [*differences, curve, b - m]
        else:
            m, mean, spread = b, [], [sum(abs(at(band.b, o) - b) for o in AXES)]
        for other in known:
            if kind:
                m_y = (total(other.x, near) + 2) // 4
                step = other.x[r][c] - m_y
                ys = [at(other.x, o) - m_y for o in near]
                corners = DIAGONALS if near is AXES else AXES
                mean += [step, *ys, *(at(other.x, o) - m_y for o in corners)]
                spread += [sum(abs(y - x) for y, x in zip(ys, mean[:4], strict=True))]
            else:
                step = other.x[r][c] - other.b[r][c]
                mean.append(step)
            spread += [abs(step), other.e[r][c], total(other.e, AXES), total(other.e, DIAGONALS)]
        p = 64 * m + sum(w * v for w, v in zip(slot.mean, mean, strict=True))
        p = min(max(p, 0), 64 * top)
        s = slot.floor + sum(w * v for w, v in zip(slot.spread, spread, strict=True))
        t = (p - 64 * b + 4 * self.step) // (8 * self.step)
        k = (t + 4) // 8
        thresholds = [(4 + i) << j for j in range(21) for i in range(4)]
        context = bisect_right(thresholds, s // self.step)
        place = min(max(context - slot.first, 0), len(slot.scales) - 1)
        return p, k, t - 8 * k, slot.scales[place]
