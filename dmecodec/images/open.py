"""Opens whatever a caller calls an image: a path, a file object, a Pillow image, an array."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from ..errors import ImageError, OptionError
from .array import ArraySource, without_mask
from .gdal import PIXELS_ALONE, is_installed, need_rasterio
from .guard import named
from .headers import is_tiff
from .options import ReadOptions
from .raster import from_file, from_pillow, size_of_file
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
        raise OptionError("nodata, alpha and bands are for arrays; a file says by itself what it has")
    if isinstance(image, Image.Image):
        with named("image"):
            return _without_scale(from_pillow(image), options)
    if isinstance(image, (str, os.PathLike)):
        path = Path(os.fsdecode(image))
        with named(str(path)), _open_path(path) as file:
            if not file.seekable():  # a named pipe
                return open_source(_seekable(file), options)
            if _is_for_rasterio(file, path, options.geo):
                return _from_geotiff(str(path.absolute()), options)
            return _without_scale(from_file(file), options)
    if hasattr(image, "read"):
        with named(str(getattr(image, "name", "image"))):
            file = _seekable(cast(BinaryIO, image))
            if _is_for_rasterio(file, None, options.geo):
                file.seek(0)
                return _from_geotiff(file.read(), options)
            return _without_scale(from_file(file), options)
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


def _without_scale(source: Source, options: ReadOptions) -> Source:
    if options.scale is not None:
        raise OptionError("a scale is for samples of 16 bits; these have 8")
    return source


_SIDECARS = (
    ".tfw",
    ".tifw",
    ".tiffw",
    ".wld",
    ".tab",
    ".rpb",
    "_rpc.txt",
    ".aux.xml",
    ".msk",
)
"""How files end that say of a TIFF beside them what its own tags do not; GDAL takes capitals too."""


def sidecars(path: Path) -> list[Path]:
    """Those that stand beside a TIFF, under its whole name or its name without `.tif`."""
    names = [name + end for name in (path.name, path.stem) for end in _SIDECARS]
    wanted = {name.casefold() for name in names}
    try:
        found = os.listdir(path.parent)  # noqa: PTH208
    except OSError:  # a folder that can be entered but not read
        return [beside for beside in map(path.with_name, names) if beside.is_file()]
    return [path.with_name(name) for name in found if name.casefold() in wanted]


def _is_for_rasterio(file: BinaryIO, path: Path | None, geo: bool) -> bool:
    """Whether a file says something that Pillow would lose, of the ground only with `geo`. Leaves it at its start.

    Raises:
        DependencyError: it does, and rasterio is not installed. (A mask alone is passed over then.)
    """
    try:
        if not is_tiff(file):
            return False
        facts = tiff_facts(file, geo=geo)
    except (struct.error, IndexError, OSError):
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


def _from_geotiff(file: str | bytes, options: ReadOptions) -> Source:
    from .geotiff import GeoSource

    return GeoSource(file, options)


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
