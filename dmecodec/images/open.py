"""Opens whatever a caller calls an image: a path, a file object, a Pillow image, an array."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from ..errors import ImageError, OptionError, UnreadableError
from .array import ArraySource, without_mask
from .gdal import PIXELS_ALONE, is_installed, need_rasterio
from .georeference import Georeference, find_georeference
from .guard import named
from .headers import format_of
from .options import ReadOptions
from .raster import from_file, from_pillow, size_of_file
from .scaling import with_nodata
from .sidecars import sidecars
from .source import Source
from .tiff import tiff_facts


def open_source(image: object, options: ReadOptions = ReadOptions()) -> Source:  # noqa: B008  (frozen)
    """Opens an image for the encoder, which closes it.

    Args:
        image: a path, a binary file object (left open; read from its start where it can seek), a
            `PIL.Image.Image`, or an array (height, width) or (height, width, bands): numpy's, or what `np.asarray`
            makes one of, such as those of Dask, xarray and torch.
        options: what is said of the image beside it.

    Raises:
        ImageError: there is no such file, it is no image, it is damaged, or it is of a kind that
            would lose something: floating point, another colour model, several frames.
        OptionError: an option does not go with the image.
        DependencyError: a TIFF says where it lies on the ground or has 16 bits or further bands, and rasterio is
            not installed.
    """
    if _is_array_like(image):
        image = _as_array(image)
    if isinstance(image, np.ma.MaskedArray):
        image = without_mask(image, options.nodata)
    if isinstance(image, np.ndarray):
        return ArraySource(np.asarray(image), options)  # a matrix, too
    if options.is_of_array:
        raise OptionError("alpha and bands are for arrays; a file says by itself what it has")
    if isinstance(image, Image.Image):
        with named("image"):
            _refuse_scale(options)
            return _with_nodata(from_pillow(image), options)
    if isinstance(image, (str, os.PathLike)):
        path = Path(os.fsdecode(image))
        with named(str(path)), _open_path(path) as file:
            if not file.seekable():  # a named pipe
                return open_source(_seekable(file), options)
            return _open_file(file, path, options)
    if hasattr(image, "read"):
        with named(str(getattr(image, "name", "image"))):
            return _open_file(_seekable(cast(BinaryIO, image)), None, options)
    raise ImageError(
        f"cannot read an image from {type(image).__name__}: "
        "give a path, a binary file object, a Pillow image or an array"
    )


def _is_array_like(image: object) -> bool:
    """Whether numpy makes an array of an object, such as one of Dask, xarray or torch."""
    if isinstance(image, (np.ndarray, Image.Image, type)):
        return False
    return any(hasattr(image, name) for name in ("__array__", "__array_interface__"))


def _as_array(image: object) -> np.ndarray:
    try:
        return np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # a tensor on a GPU, or one whose gradient is asked for
        reason = " ".join(str(error).split())
        raise ImageError(f"numpy makes no array of this {type(image).__name__}: {reason}") from error


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image file; reads its header only.

    Raises:
        ImageError: as :func:`open_source`, as far as the header tells.
    """
    with named(str(path)), _open_path(Path(path)) as file:
        return size_of_file(file)


def _with_nodata(source: Source, options: ReadOptions) -> Source:
    """The source with the nodata value that a user gives."""
    if options.nodata is not None:
        source.layout = with_nodata(source.layout, options.nodata)
    return source


def _open_file(file: BinaryIO, path: Path | None, options: ReadOptions) -> Source:
    """Opens a file that can seek, which may stand at a path."""
    kind = format_of(file)
    if kind == "TIFF" and _is_for_rasterio(file, path, options.geo):
        return _open_with_rasterio(file, path, kind, options)
    if kind is None or kind == "TIFF" or not options.geo:
        return _open_picture(file, path, kind, options)
    georeference = find_georeference(file, kind, path)
    if georeference is Georeference.CERTAIN:
        need_rasterio(f"this {kind} file {_where_it_says(path)}, which needs", otherwise=PIXELS_ALONE)
    if georeference is Georeference.NONE or not is_installed():
        return _open_picture(file, path, kind, options)
    return _open_referenced(file, path, kind, options)


def _open_picture(file: BinaryIO, path: Path | None, kind: str | None, options: ReadOptions) -> Source:
    """Opens a file with Pillow, or with rasterio what Pillow cannot read."""
    try:
        source = from_file(file)
    except ImageError as error:
        if kind is None or not is_installed() or not _may_rasterio_read(file, kind, error):
            raise
        return _open_instead(file, path, kind, options, error)
    _refuse_scale(options)
    return _with_nodata(source, options)


def _open_instead(file: BinaryIO, path: Path | None, kind: str, options: ReadOptions, error: ImageError) -> Source:
    """Opens with rasterio what Pillow refuses, and reads all of it; else raises what Pillow says, or GDAL's refusal."""
    source = None
    try:
        source = _open_with_rasterio(file, path, kind, replace(options, geo=options.geo and kind != "TIFF"))
        for block in source.box.blocks():
            source.read(block, range(source.layout.planes))
        return source
    except UnreadableError:
        if source is not None:
            source.close()
        raise error from None


def _open_referenced(file: BinaryIO, path: Path | None, kind: str, options: ReadOptions) -> Source:
    """Opens a file that has a georeference: its pixels with Pillow, the rest with rasterio."""
    from .referenced_source import ReferencedSource

    picture = _open_picture(file, path, kind, options)
    if picture.geo is not None:  # rasterio has read it all
        return picture
    try:
        source = ReferencedSource(picture, _name_or_bytes(file, path), kind, options)
    except UnreadableError as error:
        raise ImageError(f"{_where_it_says(path)}, which is lost here: {error}{PIXELS_ALONE}") from error
    if source.says_more:
        return source
    source.close()
    return picture


def _open_with_rasterio(file: BinaryIO, path: Path | None, kind: str, options: ReadOptions) -> Source:
    from .rasterio_source import RasterioSource

    return RasterioSource(_name_or_bytes(file, path), kind, options)


def _name_or_bytes(file: BinaryIO, path: Path | None) -> str | bytes:
    if path is not None:
        return str(path.absolute())
    file.seek(0)
    return file.read()


def _may_rasterio_read(file: BinaryIO, kind: str, error: ImageError) -> bool:
    """Whether rasterio may read a whole file that Pillow refuses.

    A JPEG 2000 file is refused for its depth, its bands or its colour space. Others are worth a try only where Pillow
    fails, and not where it refuses what would lose something. GDAL fills up files that are cut short: those whose
    end is missing are left alone.
    """
    try:
        if kind == "JPEG 2000":
            file.seek(-2, os.SEEK_END)
            return file.read(2) == b"\xff\xd9"
        if not isinstance(error, UnreadableError):
            return False
        if kind == "BMP":
            file.seek(2)
            (size,) = struct.unpack("<I", file.read(4))
            return size <= file.seek(0, os.SEEK_END)
        return kind == "TIFF"
    except (struct.error, OSError):
        return False


def _where_it_says(path: Path | None) -> str:
    """What of a georeference is there, for messages."""
    beside = sidecars(path) if path is not None else []
    return f"has {beside[0].name} beside it" if beside else "is georeferenced or has a mask"


def _refuse_scale(options: ReadOptions) -> None:
    if options.scale is not None:
        raise OptionError("a scale is for samples of 16 bits; these have 8")


def _is_for_rasterio(file: BinaryIO, path: Path | None, geo: bool) -> bool:
    """Whether a TIFF says something that Pillow would lose, of the ground only with `geo`. Leaves it at its start.

    Raises:
        DependencyError: it does, and rasterio is not installed. (A mask alone is passed over then.)
    """
    try:
        facts = tiff_facts(file, geo=geo)
    except (struct.error, IndexError, ValueError, OSError):  # ValueError: an offset beyond 2^63
        return False  # for Pillow to complain about
    finally:
        file.seek(0)
    if facts.beyond:
        need_rasterio("this TIFF has 16 bits a sample, another type or further bands, which needs")
    elif facts.misread and is_installed():
        return True
    elif not geo:
        return False
    elif facts.geographic or (path is not None and sidecars(path)):
        need_rasterio("this TIFF is georeferenced or has nodata, which needs", otherwise=PIXELS_ALONE)
    else:
        return facts.masked and is_installed()
    return True


def _open_path(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise ImageError("this is a folder, not an image file")
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except PermissionError:
        raise ImageError("no permission to read this file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _seekable(file: BinaryIO) -> BinaryIO:
    """The file at its start, or what a pipe holds, in memory."""
    try:
        if not isinstance(file.read(0), bytes):
            raise ImageError("is open as text; open it in binary mode ('rb')")
        if file.seekable():
            return file
        return io.BytesIO(file.read())
    except (OSError, ValueError, AttributeError) as error:
        raise ImageError(f"cannot be read ({error})") from None
