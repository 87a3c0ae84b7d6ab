"""An open `.dmen` file: its header and metadata, its pixels, window by window."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from .base.boxes import Box, reduce_factor, window_box
from .base.cache import BoundedCache
from .base.device import pick_device
from .base.files import companions, writable_path
from .base.remote import full_name, open_binary
from .codec.compare import largest_error
from .codec.decoder import Decoder, KeptTiles
from .codec.reduced import ReducedDecoder
from .errors import FormatError, LossWarning, ModelError, OptionError
from .format.geo import Bounds, GeoRecord, parse_record
from .format.header import Header
from .format.kinds import Kind
from .format.layout import Alpha, Layout, layout_of
from .format.reader import Reader
from .images.formats import check_output, output_format, picture_mode
from .images.gdal import PIXELS_ALONE, need_rasterio
from .images.metadata import Metadata
from .images.open import open_source
from .images.options import ReadOptions
from .images.save import Sink
from .images.save_sidecars import write_sidecars
from .images.second_reading import second_reading
from .images.values import to_values
from .weights import model as weights
from .weights import registry
from .weights.model import Model

Window = tuple[int, int, int, int]
_kept_tiles: KeptTiles = BoundedCache(192 << 20)
ModelName = str | os.PathLike[str] | None
Device = str | torch.device


class File:
    """An open `.dmen` file; use as a context manager. Opening decodes nothing.

    Args:
        source: a path, a URL that fsspec opens, or a binary file that can seek, which is left open.
        device, model: as for :func:`dmecodec.decode`.

    Attributes:
        header: size, mode, quality, tiles.
        metadata: ICC profile, EXIF and XMP, where there are any.

    Raises:
        FormatError: the file cannot be read, or its header is damaged or of a newer version.
        OptionError: the source is neither a path nor a binary file.
        DependencyError: a URL needs fsspec, which is not installed.
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
        self._kept: KeptTiles | None = None
        self._closed = False
        self._path = full_name(source) if isinstance(source, (str, os.PathLike)) else None
        self._own = None if self._path is None else open_binary(cast(str, source))
        try:
            self._reader = Reader(self._own or _checked(source, "read"))
        except BaseException:
            self.close()
            raise

    def __reduce__(self) -> tuple[Callable[[str], File], tuple[str]]:
        """Pickled by its path: whoever loads it opens the file anew.

        Raises:
            OptionError: it has no path.
        """
        if self._path is None:
            raise OptionError("a file that was opened from an object has no path to be pickled by; open it by its path")
        return partial(File, device=self._device, model=self._named_model), (self._path,)

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
        streams = self._readable().metadata()
        return Metadata(streams.get(Kind.ICC), streams.get(Kind.EXIF), streams.get(Kind.XMP))

    @property
    def layout(self) -> Layout:
        """Depth, bands, nodata values and alpha."""
        return layout_of(self._readable())

    @property
    def geo(self) -> GeoRecord | None:
        """Georeference and tags, where the image had any."""
        if not self.has_geo:
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
        """Loads the model that the header names; decoding does it where nobody has.

        Raises:
            ModelError: it is not here, or the one that was named is another.
        """
        if self._model is None:
            self._model = weights.load(self._entry(), pick_device(self._device))
        return self._model

    def keep_tiles(self) -> None:
        """Keeps the tiles that reads decode for later reads nearby: up to 192 MiB, of all such files together."""
        self._kept = _kept_tiles

    def _decoder(self, reduce: int = 0) -> Decoder:
        factor = reduce_factor(reduce)
        if factor == 1:
            return Decoder(self._readable(), self.load_model(), kept=self._kept)
        return ReducedDecoder(self._readable(), self.load_model(), factor, kept=self._kept)

    def _readable(self) -> Reader:
        if self._closed:
            raise OptionError("this file has been closed; open it again to read from it")
        return self._reader

    def _entry(self) -> registry.Entry:
        if self._named_model is None:
            return registry.find_id(self.header.model)
        entry = registry.find(self._named_model)
        if not entry.has_id(self.header.model):
            raise ModelError(f"made with model {self.header.model.hex()}, but {entry.name} is {entry.id.hex()}")
        return entry

    def read(self, window: Window | None = None, *, reduce: int = 0) -> np.ndarray:
        """Pixels of the whole image or a window; as :func:`dmecodec.decode`.

        Raises:
            FormatError, ModelError: as :func:`dmecodec.decode`.
            OptionError: a window outside the image, no such `reduce`, or more pixels than there is memory for.
        """
        pixels, layout = self.planes(window, reduce=reduce)
        pixels = pixels[:, :, : layout.image_bands]
        return pixels[:, :, 0] if layout.image_bands == 1 else pixels

    def planes(self, window: Window | None = None, *, reduce: int = 0) -> tuple[np.ndarray, Layout]:
        """As :meth:`read`, always (height, width, planes), a mask as the last plane; and the layout."""
        box = window_box(window, self.header.width, self.header.height)
        decoder = self._decoder(reduce)
        layout, target = decoder.layout, decoder.target(box)
        try:
            decoder.begin(box)
            pixels = np.empty((target.height, target.width, layout.planes), layout.value_type)
        except MemoryError as error:
            raise OptionError(
                f"an image of {target.width} x {target.height} pixels does not fit the memory; decode a window"
            ) from error

        def write(col: int, row: int, block: np.ndarray) -> None:
            pixels[row : row + block.shape[0], col : col + block.shape[1]] = to_values(block, layout)

        decoder.blocks(box, write)
        return pixels, layout

    def blocks(
        self, write: Callable[[int, int, np.ndarray], None], window: Window | None = None, *, reduce: int = 0
    ) -> None:
        """Decodes block by block, from the top down, in memory that does not grow with the image.

        Calls `write(col, row, pixels)` for each block: (height, width, planes) of the raster's type, its corner
        counted from that of the window; a mask is the last plane. With `reduce`, they are reduced pixels.

        Raises:
            OptionError: a window outside the image, or no such `reduce`.
            FormatError, ModelError: as :meth:`read`.
        """
        box = window_box(window, self.header.width, self.header.height)
        decoder = self._decoder(reduce)
        decoder.blocks(box, lambda col, row, block: write(col, row, to_values(block, decoder.layout)))

    def save(
        self,
        target: BinaryIO | str | os.PathLike[str],
        *,
        format: str | None = None,
        window: Window | None = None,
        reduce: int = 0,
        profile: str | None = None,
        geo: bool = True,
    ) -> None:
        """Decodes into an image file, with the metadata, never holding the pixels twice.

        A TIFF with a georeference, or with bands that only a TIFF can hold, becomes a Cloud Optimized GeoTIFF. Beside
        PNG, JPEG and WebP a georeference stands in a world file and in `.aux.xml`.

        Args:
            target: a path, or a binary file with `format` named.
            format: "PNG", "TIFF", "JPEG" or "WEBP"; by the suffix of a path.
            window, reduce: as for :func:`dmecodec.decode`. The georeference is scaled.
            profile: how a GeoTIFF is compressed: deflate (the default), zstd, lzw, lzma, webp, raw,
                all without loss, or jpeg.
            geo: whether to write the georeference; False writes the pixels alone, where they allow it.

        Raises:
            OptionError: the window is not inside the image, there is no such format or `reduce`, or the profile
                does not suit it.
            FormatError, ModelError: as :meth:`read`.
            OutputError: the format cannot hold the image, or the file cannot be written.
            DependencyError: a GeoTIFF needs rasterio, which is not installed.

        Warns:
            LossWarning: something that is no pixel has no place in the output.
        """
        for loss in self.write(target, format=format, window=window, reduce=reduce, profile=profile, geo=geo):
            warnings.warn(f"left out: {loss}", LossWarning, stacklevel=2)

    def write(
        self,
        target: BinaryIO | str | os.PathLike[str],
        *,
        format: str | None = None,
        window: Window | None = None,
        reduce: int = 0,
        profile: str | None = None,
        geo: bool = True,
    ) -> list[str]:
        """As :meth:`save`, but returns what is left out, in words, instead of warning of it."""
        if not isinstance(target, (str, os.PathLike)):
            _checked(target, "write")
            if format is None:
                raise OptionError("name the format when writing to an open file")
        elif format is None:
            format = output_format(target)
        box = window_box(window, self.header.width, self.header.height)
        factor = reduce_factor(reduce)
        if format == "TIFF" and geo and self.needs_geotiff:
            return self._write_geotiff(target, box, reduce, profile)
        if profile is not None:
            raise OptionError("a profile is for GeoTIFF; this output is none")
        mode = picture_mode(self.layout)
        size = box.scaled_down(factor)
        check_output(format, size.width, size.height, mode)
        decoder = self._decoder(reduce)
        decoder.begin(box)
        sink = Sink(size.width, size.height, mode, self.metadata)
        decoder.blocks(box, sink.write)
        try:
            record = self.geo if geo else None
        except FormatError as error:  # damaged: the pixels can still be had
            sink.save(target, format)
            return [f"the georeference ({error})"]
        if record is None:
            sink.save(target, format)
            return []
        with writable_path(target) as path:
            sink.save(path, format)
            left_out = write_sidecars(path, format, self.layout, record.reduced(factor), size)
            return left_out + _without_place(target, path)

    @property
    def needs_geotiff(self) -> bool:
        """Whether only a GeoTIFF can hold all that is in the file."""
        return self.header.mode == "BANDS" or self.has_geo

    def writes_sidecars(self, format: str, *, geo: bool = True) -> bool:
        """Whether :meth:`save` may write files beside the image, and so needs a path."""
        return geo and (self.has_geo or (format == "TIFF" and self.needs_geotiff))

    @property
    def has_geo(self) -> bool:
        """Whether the file has a georeference, or tags."""
        return Kind.GEO in self.header.kinds

    def _write_geotiff(
        self, target: BinaryIO | str | os.PathLike[str], box: Box, reduce: int, profile: str | None
    ) -> list[str]:
        otherwise = "" if self.header.mode == "BANDS" else PIXELS_ALONE
        need_rasterio("writing this file as a GeoTIFF needs", otherwise=otherwise)
        from .images.cog import check_profile, write_geotiff

        layout, metadata = self.layout, self.metadata
        record = (self.geo or GeoRecord()).reduced(reduce_factor(reduce))
        profile = check_profile(profile, layout)
        decoder = self._decoder(reduce)
        decoder.begin(box)
        with writable_path(target) as path:
            blocks = partial(decoder.blocks, box)
            left_out = write_geotiff(blocks, layout, decoder.target(box), record, metadata, path, profile)
            return left_out + _without_place(target, path)

    def latents(self) -> tuple[np.ndarray, np.ndarray]:
        """As :func:`dmecodec.latents`.

        Raises:
            FormatError, ModelError: as :func:`dmecodec.decode`.
            OptionError: there is too little memory for them.
        """
        try:
            return self._decoder().latents()
        except MemoryError as error:
            raise OptionError("the latents of the whole image do not fit the memory") from error

    @property
    def max_error(self) -> int | None:
        """Levels that no valid sample is farther off than, 0 for lossless; None: no bound."""
        return self._readable().header.bound

    def verify(self, *, deep: bool = False, original: object = None) -> int | None:
        """Checks every checksum; `deep` decodes everything as well, down to the pixels.

        Args:
            deep: whether to decode.
            original: the image that the file was made of, as for :func:`dmecodec.encode`, to compare with.

        Returns:
            With an original, the largest difference of a valid sample from it, in levels.

        Raises:
            FormatError: what is damaged.
            ModelError: it is to be decoded, and its model is not here.
            BoundError: a valid sample is farther from the original than the file says.
            ImageError: the original cannot be read, or is not of this size and mode.
        """
        self._readable().verify()
        if original is not None:
            # What was encoded with geo=False is compared with the pixels alone.
            of_array = _of_array(self.layout, original) if isinstance(original, np.ndarray) else {}
            mapped = self.layout.bands if self.layout.has_values else ()
            options = ReadOptions(geo=self.needs_geotiff, bands_of_file=mapped, **of_array)
            with (
                closing(open_source(original, options)) as source,
                closing(second_reading(original, source) or source) as reading,
            ):
                return largest_error(self._decoder(), reading)
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


def _without_place(target: object, path: Path) -> list[str]:
    """What an open file has no place for: the files that would stand beside a path."""
    if isinstance(target, (str, os.PathLike)):
        return []
    endings = sorted(beside.name.removeprefix(path.name) for beside in companions(path))
    return [f"what would stand beside a file with a name ({', '.join(endings)})"] if endings else []


def _of_array(layout: Layout, array: np.ndarray) -> dict[str, Any]:
    """What an array itself leaves open, as the file says it."""
    values = set() if layout.has_values else {band.nodata for band in layout.bands}
    first = array.ndim == 3 and array.shape[0] == layout.image_bands != array.shape[2]
    return {
        "bands": "first" if first else "last",
        "nodata": values.pop() if len(values) == 1 else None,
        "alpha": layout.alpha is Alpha.BAND,
    }


def _checked(file: object, method: str) -> BinaryIO:
    """What a caller gave as a binary file to read or write."""
    if isinstance(file, io.TextIOBase) or not hasattr(file, method):
        raise OptionError(f"cannot {method} {type(file).__name__}: give a path or a binary file")
    return cast(BinaryIO, file)


def open(path: str | os.PathLike[str], *, device: Device = "auto", model: ModelName = None) -> File:
    """Opens a `.dmen` file: `.header`, `.metadata`, `.read(window=...)`, `.save(...)`."""
    return File(path, device=device, model=model)
