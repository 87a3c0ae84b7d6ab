"""The second decoder for files of mode BANDS, written from docs/format.md: BANDS, MASK, ALPHA, empty tiles.

It shares no code with the package.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np
import second_decoder
from second_container import ALPHA, BANDS, MASK, Bytes, Container, Y, Z


def digest(latents: np.ndarray) -> str:
    return hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest()


class Layout:
    """The fields of a BANDS stream."""

    def __init__(self, data: bytes, groups: int) -> None:
        fields = Bytes(data)
        self.depth = fields.take(1)[0]
        self.count = fields.varint(64)
        self.alpha = fields.take(1)[0]
        self.place = fields.varint(self.count) if self.alpha == 1 else self.count
        self.groups = [list(fields.take(fields.take(1)[0])) for _ in range(groups)]
        self.nodata: list[int | None] = []
        self.scale = []
        self.maps: list[Map] = []
        for _ in range(self.count):
            flags = fields.take(1)[0]
            assert flags in range(4)
            self.nodata.append(fields.varint(2**self.depth - 1) if flags & 1 else None)
            self.scale.append((fields.varint(65535), fields.varint(65535)) if self.depth == 16 else (0, 255))
            self.maps += [Map(fields)] if flags & 2 else []
        members = [band for group in self.groups for band in group]
        assert not fields.left and sorted(members) == list(range(self.count))


class Map:
    """The map of values of a band."""

    TYPES = ("int8", "int16", "int32", "int64", "uint32", "uint64", "float16", "float32", "float64")

    def __init__(self, fields: Bytes) -> None:
        self.dtype, flags = np.dtype(self.TYPES[fields.take(1)[0]]), fields.take(1)[0]
        numbers = [struct.unpack("<d", fields.take(8))[0] for _ in range(2 + (flags & 1) + (flags >> 1))]
        self.scale, self.offset, *others = numbers
        self.fill = others[0] if flags & 1 else None
        self.special = others

    def values(self, samples: np.ndarray, nodata: int | None) -> np.ndarray:
        """Samples of a band as values of its type."""
        exact = self.offset + self.scale * samples.astype(float)
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            exact = np.rint(exact).clip(limits.min, limits.max)
        values = exact.astype(self.dtype)
        for special in map(self.dtype.type, self.special):
            up = np.nextafter(special, self.dtype.type(np.inf)) if self.dtype.kind == "f" else special + 1
            values[values == special] = up
        if self.fill is not None:
            values[samples == nodata] = self.fill
        return values


def plane(stream: bytes, height: int, width: int) -> np.ndarray:
    """Bytes of an ALPHA or MASK stream."""
    if len(stream) == 1:
        return np.full((height, width), stream[0], np.uint8)
    values = np.frombuffer(zlib.decompress(stream[1:], -15), np.uint8).reshape(height, width)
    if stream[0] & 2:
        values = np.cumsum(values, 0, dtype=np.uint8)
    if stream[0] & 1:
        values = np.cumsum(values, 1, dtype=np.uint8)
    return values


def decode(model: second_decoder.Model, file: Container) -> np.ndarray:
    """All bands of the image, alpha among them: (height, width, bands)."""
    layout = Layout(file.files[BANDS], file.groups)
    height, width = file.height, file.width
    bands = np.zeros((height, width, layout.count), np.int64)
    alpha = np.full((height, width), 255, np.uint8)
    for group, members in enumerate(layout.groups):
        y_hat = np.zeros((sum(model.config["slices"]), -(-height // 16), -(-width // 16)), int)
        valid = np.ones((height, width, len(members)), bool)
        filters = {}
        for index, tile in enumerate(file.tiles):
            col, row, w, h = file.box(index)
            streams = tile[group]
            place = np.s_[row : row + h, col : col + w]
            if layout.alpha and group == 0:
                alpha[place] = plane(streams[ALPHA], h, w)
            if MASK in streams:
                bits = plane(streams[MASK], h, w)
                valid[place] = np.stack([bits >> n & 1 for n in range(len(members))], 2) == 1
            rows, cols = -(-h // 16), -(-w // 16)
            if (streams[Z] or streams[Y]) or not (layout.alpha or MASK in streams):
                y, _, filters[col, row, w, h] = second_decoder.decode_tile(
                    model, streams[Z], streams[Y], file.quality, rows, cols, file.has_filters
                )
                y_hat[:, row // 16 : row // 16 + rows, col // 16 : col // 16 + cols] = y
            else:
                assert not (valid[place] & (alpha[place] > 0)[..., None]).any()
        plain = second_decoder.synthesise(model, y_hat, file.quality)[:, :height, :width]
        x = plain.copy()
        for box, values in filters.items():
            col, row, w, h = box
            x[:, row : row + h, col : col + w] = second_decoder.filtered(plain, box, values)
        channels = {1: [x.mean(0)], 2: [x[0], (x[1] + x[2]) / 2], 3: list(x)}[len(members)]
        for n, band in enumerate(members):
            good = valid[..., n] & (alpha > 0)
            bands[..., band] = samples(channels[n], good, layout, band)
    if layout.maps:
        every = [one.values(bands[..., n], layout.nodata[n]) for n, one in enumerate(layout.maps)]
        return np.stack(every, 2)
    if layout.alpha != 1:
        return bands
    return np.insert(bands, layout.place, alpha.astype(int) * (257 if layout.depth == 16 else 1), 2)


def samples(x: np.ndarray, valid: np.ndarray, layout: Layout, band: int) -> np.ndarray:
    low, high = layout.scale[band]
    nodata = layout.nodata[band]
    scaled = (low + (high - low) * x).clip(low, high)
    result = np.round(scaled).astype(np.int64)
    if nodata is not None:
        up = (scaled >= nodata) & (nodata < 2**layout.depth - 1) | (nodata == 0)
        result = np.where(result == nodata, np.where(up, nodata + 1, nodata - 1), result)
    return np.where(valid, result, nodata or 0)
