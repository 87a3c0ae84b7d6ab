"""The library: images to bytes and back. The command line does nothing that is not here."""

from __future__ import annotations

import io
import math
import operator
import os
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
import torch

from .bands import Layout, layout_of
from .bands.array import check_array
from .bands.samples import sample_type
from .coding.bound import check_bound, default_quality, largest_error
from .coding.decoder import Decoder
from .coding.encoder import DEFAULT_EFFORT, MAX_EFFORT, Encoder
from .coding.target import search_bpp, search_psnr
from .container import (
    DEFAULT_QUALITY,
    DEFAULT_TILE,
    MAX_QUALITY,
    MAX_TILE,
    QUALITY_STEPS,
    TILE_UNIT,
    Header,
    Kind,
    Reader,
)
from .device import pick_device
from .errors import FormatError, ModelError, OptionError
from .files import path_for
from .frozen import registry, weights
from .frozen.weights import Model
from .geo.backend import need_rasterio
from .geo.record import Bounds, GeoRecord, parse_record
from .images import (
    Metadata,
    Sink,
    check_output,
    close_source,
    open_source,
    output_format,
    picture_mode,
)
from .tiling import Box, window_box

Window = tuple[int, int, int, int]
ModelName = str | os.PathLike[str] | None
Device = str | torch.device


def prepare(
    quality: float = DEFAULT_QUALITY,
    *,
    model: ModelName = None,
    device: Device = "auto",
    tile: int = DEFAULT_TILE,
) -> Model:
    """Checks the options of :func:`encode` and loads the model, before any image is read.

    Raises:
        OptionError, ModelError: as :func:`encode`.
    """
    quality_steps(quality)
    _tile_side(tile)
    return weights.load(registry.find(model), pick_device(device))


def check_aims(
    quality: float | None, bpp: float | None, psnr: float | None, max_error: int | None
) -> None:
    """Refuses aims that exclude one another, or that no image can meet.

    Raises:
        OptionError: more than one of quality, bpp and psnr; a target beside max_error; one out of its range.
    """
    if bpp is not None and psnr is not None:
        raise OptionError("give bpp or psnr, not both")
    if max_error is not None:
        check_bound(max_error)
    for name, target in (("bpp", bpp), ("psnr", psnr)):
        if target is None:
            continue
        if max_error is not None:
            raise OptionError(f"give a bound on the error or {name}, not both")
        if quality is not None:
            raise OptionError(f"give a quality or {name}, not both")
        if not 0 < _number(target, name) < math.inf:
            raise OptionError(f"a target of {target:g} cannot be met")


def encode(
    image: object,
    quality: float | None = None,
    *,
    bpp: float | None = None,
    psnr: float | None = None,
    max_error: int | None = None,
    model: ModelName = None,
    device: Device = "auto",
    tile: int = DEFAULT_TILE,
    effort: int = DEFAULT_EFFORT,
    nodata: int | None = None,
    scale: tuple[int, int] | None = None,
    alpha: bool | None = None,
    geo: bool = True,
) -> bytes:
    """Compresses an image.

    Args:
        image: a path, a binary file, a Pillow image, or an array (h, w) or (h, w, bands) of uint8 or
            uint16, with at most 64 bands and alpha.
        quality: 0 (smallest) to 7 (best), in steps of 1/32. None is 4, or what suits `max_error`.
        bpp: bits per pixel of the whole file to aim at, instead of a quality: within 2 %, or as near as
            qualities allow.
        psnr: dB over all colour samples to aim at, instead of a quality: within 0.1 dB, or as near.
        max_error: levels that no valid sample is farther off than, 0 for lossless; the file then
            decodes to the same pixels on every device. In files of mode BANDS what lies under alpha
            0, a mask or nodata is not valid, and not kept.
        model: name or path of a model; None is the default one.
        device: "auto", "cpu", "cuda", "cuda:N", "mps" or a torch.device.
        tile: side of a tile in pixels, a multiple of 64 up to 4096.
        effort: 0 rounds latents plainly; 1 rounds them for rate and distortion, and fits a restoration
            filter to each tile (of 192 pixels at least, if there are others); 2 first improves the
            latents by gradient descent, minutes a megapixel on a CPU. With `max_error` there is
            rounding alone.
        nodata: of an array, the value of samples that are not valid; they come back exactly. A
            GeoTIFF has its own.
        scale: of samples of 16 bits, the two that stand for black and white to the network; None
            takes each band's own range. What lies beyond is cut off.
        alpha: of an array, whether its last band is alpha, which is kept without loss; None says so
            of 2 or 4 bands of uint8.
        geo: whether a TIFF is read with georeference, nodata and tags; False takes its pixels alone.

    Returns:
        The bytes of a `.dmen` file.

    Raises:
        ImageError: the image cannot be read or would lose something silently.
        OptionError: an option is out of its range, or the target is.
        ModelError: no such model.
        DependencyError: a GeoTIFF needs rasterio, which is not installed.
    """
    check_aims(quality, bpp, psnr, max_error)
    bpp, psnr = (None if target is None else float(target) for target in (bpp, psnr))
    quality = chosen_quality(quality, max_error)
    tile = _tile_side(tile)
    if effort not in range(MAX_EFFORT + 1):
        raise OptionError(f"effort must be 0 to {MAX_EFFORT}, not {effort}")
    loaded = prepare(quality, model=model, device=device, tile=tile)
    nodata = _sample(nodata)
    if isinstance(image, np.ndarray):
        check_array(image, nodata)
    source = open_source(image, nodata=nodata, scale=_scale(scale), alpha=alpha, geo=geo)
    keep = bpp is not None or psnr is not None
    try:
        encoder = Encoder(source, loaded, tile, keep=keep, max_error=max_error, effort=effort)
        if bpp is not None:
            return search_bpp(encoder, bpp)
        if psnr is not None:
            return search_psnr(encoder, psnr)
        return encoder.encode(quality_steps(quality))
    finally:
        close_source(source)


def _sample(nodata: object) -> int | None:
    try:
        return None if nodata is None else operator.index(nodata)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"nodata {nodata!r}: must be an integer") from None


def _scale(scale: object) -> tuple[int, int] | None:
    try:
        if scale is None:
            return None
        low, high = map(operator.index, scale)  # type: ignore[call-overload]
        return low, high
    except (TypeError, ValueError):
        raise OptionError(f"scale {scale!r}: must be two integers") from None


def chosen_quality(quality: float | None, max_error: int | None) -> float:
    """The quality of :func:`encode` where none is given: 4, or that of the base that suits a bound."""
    if quality is not None:
        return quality
    return DEFAULT_QUALITY if max_error is None else default_quality(max_error)


def quality_steps(quality: float) -> int:
    """A quality 0..7 as the integer that the file holds, in 1/32 steps (the nearest).

    Raises:
        OptionError: outside 0..7, or not a number.
    """
    quality = _number(quality, "quality")
    if not 0 <= quality <= MAX_QUALITY / QUALITY_STEPS:  # false for NaN, too
        raise OptionError(
            f"quality {quality:g}: must be between 0 and {MAX_QUALITY // QUALITY_STEPS}"
        )
    return round(quality * QUALITY_STEPS)


def _number(value: object, name: str) -> float:
    if not isinstance(value, Real):
        raise OptionError(f"{name} {value!r}: must be a number")
    try:
        return float(value)
    except OverflowError:  # out of every range
        return math.inf


def _tile_side(tile: object) -> int:
    try:
        tile = operator.index(tile)  # type: ignore[arg-type]
    except TypeError:
        raise OptionError(f"tile {tile!r}: must be an integer") from None
    if tile % TILE_UNIT or not TILE_UNIT <= tile <= MAX_TILE:
        raise OptionError(
            f"tile {tile}: must be a multiple of {TILE_UNIT} between {TILE_UNIT} and {MAX_TILE}"
        )
    return tile


def decode(
    data: bytes,
    *,
    window: Window | None = None,
    device: Device = "auto",
    model: ModelName = None,
) -> np.ndarray:
    """Decompresses an image, or one window of it.

    Args:
        data: the bytes of a `.dmen` file.
        window: (col, row, width, height) in pixels; None is the whole image.
        device: as for :func:`encode`; the latents are the same on every one.
        model: path of the model where it is not in a known folder.

    Returns:
        uint8, or uint16 where the image was, (height, width, bands), or (height, width) for a
        single band. Samples that are not valid have the image's nodata value.

    Raises:
        FormatError: the data is damaged, truncated, or of a newer version.
        ModelError: the model that it was made with is not here.
        OptionError: the window is not inside the image, or `data` is no bytes.
    """
    with File(_in_memory(data), device=device, model=model) as file:
        return file.read(window)


def latents(
    data: bytes, *, device: Device = "auto", model: ModelName = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the decoder gets bit for bit on every device.

    Returns:
        y-hat, int32 (M, ceil(height / 16), ceil(width / 16)), in counts of 1/16 of a step, and
        z-hat, int32 (N, ceil(height / 64), ceil(width / 64)); of an image of several band groups,
        the channels of group after group.

    Raises:
        FormatError, ModelError: as :func:`decode`.
    """
    with File(_in_memory(data), device=device, model=model) as file:
        return file.latents()


def _in_memory(data: bytes) -> BinaryIO:
    if isinstance(data, (str, os.PathLike)):
        raise OptionError("give the bytes of the file, or open it by its path with dmecodec.open")
    try:
        return io.BytesIO(data)
    except (TypeError, BufferError):
        raise OptionError(f"give the bytes of a .dmen file, not {type(data).__name__}") from None
    except ValueError:
        raise OptionError("the bytes of the .dmen file are not contiguous in memory") from None


class File:
    """An open `.dmen` file; use as a context manager. Opening reads the header alone.

    Args:
        source: a path, or a binary file that can seek, which is left open.
        device, model: as for :func:`decode`.

    Attributes:
        header: size, mode, quality, tiles.
        metadata: ICC profile, EXIF and XMP, where there are any.
    """

    def __init__(
        self,
        source: BinaryIO | str | os.PathLike[str],
        *,
        device: Device = "auto",
        model: ModelName = None,
    ) -> None:
        self._device, self._named_model = device, model
        self._model: Model | None = None
        self._closed = False
        self._own = _open_binary(source) if isinstance(source, (str, os.PathLike)) else None
        try:
            self._reader = Reader(self._own or _checked(source, "read"))
        except BaseException:
            self.close()
            raise

    @property
    def header(self) -> Header:
        """Size, mode, quality, tiles."""
        return self._reader.header

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._reader.size

    @property
    def metadata(self) -> Metadata:
        """ICC profile, EXIF and XMP, as they were."""
        found = self._readable().metadata()
        return Metadata(found.get(Kind.ICC), found.get(Kind.EXIF), found.get(Kind.XMP))

    @property
    def layout(self) -> Layout:
        """Depth, bands, nodata values and alpha."""
        return layout_of(self._readable())

    @property
    def geo(self) -> GeoRecord | None:
        """Georeference and tags of a file that was a GeoTIFF."""
        if Kind.GEO not in self.header.kinds:
            return None
        return parse_record(self._readable().file_stream(Kind.GEO))

    def bounds_window(self, bounds: Bounds) -> Window:
        """The window (col, row, width, height) under west, south, east, north in the file's CRS.

        Raises:
            OptionError: the file has no transform, or the bounds lie outside the image.
        """
        record = self.geo or GeoRecord()
        return record.window(bounds, self.header.width, self.header.height)

    def load_model(self) -> Model:
        """Loads the model that the header names; decoding does it where nobody has."""
        if self._model is None:
            self._model = weights.load(self._entry(), pick_device(self._device))
        return self._model

    def _decoder(self) -> Decoder:
        return Decoder(self._readable(), self.load_model())

    def _readable(self) -> Reader:
        if self._closed:
            raise OptionError("this file has been closed; open it again to read from it")
        return self._reader

    def _entry(self) -> registry.Entry:
        if self._named_model is None:
            return registry.find_id(self.header.model)
        entry = registry.find(self._named_model)
        if entry.id != self.header.model:
            raise ModelError(
                f"made with model {self.header.model.hex()}, but {entry.name} is {entry.id.hex()}"
            )
        return entry

    def read(self, window: Window | None = None) -> np.ndarray:
        """Pixels of the whole image or a window; as :func:`decode`."""
        box = window_box(window, self.header.width, self.header.height)
        decoder = self._decoder()
        layout = decoder.layout
        try:
            decoder.begin(box)
            pixels = np.empty((box.height, box.width, layout.planes), sample_type(layout))
        except MemoryError as error:
            raise OptionError(
                f"an image of {box.width} x {box.height} pixels does not fit the memory; decode a window"
            ) from error

        def write(col: int, row: int, block: np.ndarray) -> None:
            pixels[row : row + block.shape[0], col : col + block.shape[1]] = block

        decoder.blocks(box, write)
        pixels = pixels[:, :, : layout.image_bands]
        return pixels[:, :, 0] if layout.image_bands == 1 else pixels

    def blocks(
        self, write: Callable[[int, int, np.ndarray], None], window: Window | None = None
    ) -> None:
        """Decodes block by block, from the top down, in memory that does not grow with the image.

        Calls `write(col, row, pixels)` for each block: uint8 or uint16 (height, width, planes), its
        corner counted from that of the window; a mask is the last plane.

        Raises:
            OptionError: a window outside the image.
            FormatError, ModelError: as :meth:`read`.
        """
        box = window_box(window, self.header.width, self.header.height)
        self._decoder().blocks(box, write)

    def save(
        self,
        target: BinaryIO | str | os.PathLike[str],
        *,
        format: str | None = None,
        window: Window | None = None,
        profile: str | None = None,
        geo: bool = True,
    ) -> None:
        """Decodes into an image file, with the metadata, never holding the pixels twice.

        What was a GeoTIFF, or has bands that only a TIFF can hold, becomes a Cloud Optimized GeoTIFF.

        Args:
            target: a path, or a binary file with `format` named.
            format: "PNG", "TIFF", "JPEG" or "WEBP"; by the suffix of a path.
            window: as for :func:`decode`.
            profile: how a GeoTIFF is compressed: deflate (the default), zstd, lzw, lzma, webp, raw,
                all without loss, or jpeg.
            geo: whether to write a GeoTIFF; False writes the pixels alone, where they allow it.

        Raises:
            OutputError: the format cannot hold the image, or the file cannot be written.
            DependencyError: a GeoTIFF needs rasterio, which is not installed.
        """
        if not isinstance(target, (str, os.PathLike)):
            _checked(target, "write")
            if format is None:
                raise OptionError("name the format when writing to an open file")
        elif format is None:
            format = output_format(target)
        box = window_box(window, self.header.width, self.header.height)
        if format == "TIFF" and geo and self.needs_geotiff:
            self._save_geotiff(target, box, profile)
            return
        if profile is not None:
            raise OptionError("a profile is for GeoTIFF; this output is none")
        mode = picture_mode(self.layout)
        check_output(format, box.width, box.height, mode)
        decoder = self._decoder()
        decoder.begin(box)
        sink = Sink(box.width, box.height, mode, self.metadata)
        decoder.blocks(box, sink.write)
        sink.save(target, format)

    @property
    def needs_geotiff(self) -> bool:
        """Whether only a GeoTIFF can hold all that is in the file."""
        return self.header.mode == "BANDS" or Kind.GEO in self.header.kinds

    def _save_geotiff(
        self, target: BinaryIO | str | os.PathLike[str], box: Box, profile: str | None
    ) -> None:
        need_rasterio("writing this file as a GeoTIFF needs")
        from .geo.writer import check_profile, write_geotiff

        layout, record, metadata = self.layout, self.geo or GeoRecord(), self.metadata
        profile = check_profile(profile, layout)
        decoder = self._decoder()
        decoder.begin(box)
        with path_for(target) as path:
            write_geotiff(decoder, box, record, metadata, path, profile)

    def latents(self) -> tuple[np.ndarray, np.ndarray]:
        """As :func:`dmecodec.latents`."""
        try:
            return self._decoder().latents()
        except MemoryError as error:
            raise OptionError("the latents of the whole image do not fit the memory") from error

    @property
    def max_error(self) -> int | None:
        """Levels that no valid sample is farther off than, 0 for lossless; None: no bound."""
        return self._readable().bound()

    def verify(self, *, deep: bool = False, original: object = None) -> int | None:
        """Checks every checksum; `deep` decodes everything as well, down to the pixels.

        Args:
            deep: whether to decode.
            original: the image that the file was made of, as for :func:`encode`, to compare with.

        Returns:
            With an original, the largest difference of a valid sample from it, in levels.

        Raises:
            FormatError: what is damaged.
            BoundError: a valid sample is farther from the original than the file says.
            ImageError: the original cannot be read, or is not of this size and mode.
        """
        self._readable().verify()
        if original is not None:
            # What was encoded with geo=False is compared with the pixels alone.
            source = open_source(original, geo=self.needs_geotiff)
            try:
                return largest_error(self._decoder(), source)
            finally:
                close_source(source)
        if deep:
            whole = window_box(None, self.header.width, self.header.height)
            self._decoder().blocks(whole, lambda col, row, block: None)
        return None

    def close(self) -> None:
        """Ends the use of the file; closes it where it was opened by its path."""
        self._closed = True
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> File:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_binary(path: str | os.PathLike[str]) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{path}: cannot be read ({reason})") from error


def _checked(file: object, method: str) -> BinaryIO:
    """What a caller gave as a binary file to read or write."""
    if isinstance(file, io.TextIOBase) or not hasattr(file, method):
        raise OptionError(f"cannot {method} {type(file).__name__}: give a path or a binary file")
    return cast(BinaryIO, file)


def open(path: str | os.PathLike[str], *, device: Device = "auto", model: ModelName = None) -> File:
    """Opens a `.dmen` file: `.header`, `.metadata`, `.read(window=...)`, `.save(...)`."""
    return File(path, device=device, model=model)


__all__ = ["File", "decode", "encode", "latents", "open"]
