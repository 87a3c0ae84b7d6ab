"""A plugin for Pillow: once this is imported, `Image.open` and `Image.save` know `.dmen`.

    import dmecodec.pillow
    from PIL import Image

    image = Image.open("scene.dmen")  # reads the header; decodes when pixels are asked for
    image.save("copy.dmen", quality=4)

Pillow finds no plugins by itself (it has no entry points), so this import is needed. torch is
imported when pixels are first coded.
"""

from __future__ import annotations

import os
from functools import wraps
from typing import IO, Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..base.boxes import MAX_REDUCE
from ..base.fork import Lock
from ..errors import DmecodecError, FormatError, OptionError
from ..format.kinds import Kind
from ..format.limits import MAGIC
from ..format.reader import Reader
from ..images.exif import EXIF_PREFIX, exif_block
from ..images.open import open_source

FORMAT, SUFFIX, MIME = "DMEN", ".dmen", "image/x-dmen"
_MODES = ("L", "LA", "RGB", "RGBA")
_METADATA = {"icc_profile": Kind.ICC, "exif": Kind.EXIF, "xmp": Kind.XMP}
_OF_PIXELS = ("transparency",)
"""What `info` says of the pixels themselves."""
_CODED = "_dmecodec_coded"
"""Keyword with which `save` hands on the bytes of the file."""
_OPTIONS = ("quality", "bpp", "psnr", "max_error", "effort", "tile", "model", "device")


class DmenImageFile(ImageFile.ImageFile):
    """A `.dmen` file as Pillow shows it; ICC profile, EXIF and XMP are in `info`.

    Opening raises `PIL.UnidentifiedImageError` for a damaged header, and for any damage to a file that has but one
    checksum, as small ones do; loading an `OSError` for damaged pixels or where the model is not here.
    Pillow decodes an image whole: `crop` before `load` saves nothing. Use `dmecodec.open(path).read(window)` for
    a part. `draft` and `thumbnail` decode at a reduced resolution.
    """

    format = FORMAT
    format_description = "dmecodec aerial and satellite image"

    def _open(self) -> None:
        self._loading = Lock()
        try:
            reader = Reader(self._file())
            metadata = reader.metadata()
        except FormatError as error:
            # With our own words; a SyntaxError would become a mere "cannot identify".
            raise UnidentifiedImageError(f"{self._name()}: {error}") from error
        header = reader.header
        if header.mode not in _MODES:
            raise UnidentifiedImageError(f"{self._name()}: Pillow has no mode {header.mode}")
        self._mode, self._size = header.mode, (header.width, header.height)
        self.info.update({key: metadata[kind] for key, kind in _METADATA.items() if kind in metadata})
        if "exif" in self.info:
            self.info["exif"] = EXIF_PREFIX + self.info["exif"]  # as save of Pillow's JPEG wants it
        self._reduce = 0
        self.tile = [ImageFile._Tile("dmen", (0, 0, *self._size))]

    def _name(self) -> str:
        return os.fsdecode(self.filename) or "image"

    def _file(self) -> BinaryIO:
        if self.fp is None or getattr(self.fp, "closed", False):
            raise ValueError("Operation on closed image")
        return cast(BinaryIO, self.fp)

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Reduces the resolution to be decoded, as far as both sides stay at least as long as those of `size`.

        Returns:
            The mode, and the image within the reduced one; None once it is decoded, or where nothing is asked for.
        """
        if not self.tile or self._reduce or not size:
            return None
        whole, scale = self.size, min(side // max(1, wanted) for side, wanted in zip(self.size, size, strict=True))
        self._reduce = min(MAX_REDUCE, max(1, scale).bit_length() - 1)
        factor = 1 << self._reduce
        self._size = (-(-whole[0] // factor), -(-whole[1] // factor))
        return self.mode, (0, 0, whole[0] / factor, whole[1] / factor)

    def load(self) -> Any:
        """Decodes at the first call, then closes a file that Pillow has opened itself."""
        if self.tile:
            with self._loading:  # of several threads that ask for pixels, one decodes
                if self.tile:
                    self._decode()
        return super().load()

    def load_seek(self, position: int) -> None:
        """Tells `ImageFile.Parser` that none of Pillow's own decoders reads this file."""

    def _decode(self) -> None:
        from .. import api

        image: Any = None

        def write(col: int, row: int, block: np.ndarray) -> None:
            nonlocal image
            if image is None:  # only now, so that a file that claims to be huge fails before
                image = Image.core.new(self.mode, self.size)
            pixels = block[:, :, 0] if block.shape[2] == 1 else block
            height, width = pixels.shape[:2]
            image.paste(Image.fromarray(pixels).im, (col, row, col + width, row + height))

        try:
            api.File(self._file()).blocks(write, reduce=self._reduce)
        except DmecodecError as error:
            raise OSError(f"{self._name()}: {error}") from error
        self.im, self.readonly, self.tile = image, 0, []
        if self._exclusive_fp and self._close_exclusive_fp_after_loading:
            self._file().close()
        self.fp = None

    def verify(self) -> None:
        """Compares every checksum; the file must then be opened anew, as always in Pillow.

        Raises:
            OSError: which part of the file is damaged.
        """
        try:
            Reader(self._file()).verify()
        except FormatError as error:
            raise OSError(f"{self._name()}: {error}") from error
        finally:
            super().verify()


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Writes an image; `quality`, `bpp`, `psnr`, `max_error`, `effort`, `tile`, `model` and
    `device` as in dmecodec.encode. As in Pillow's WebP, `lossless=True` is a `max_error` of 0.

    The image's ICC profile, EXIF and XMP are kept; `icc_profile`, `exif` and `xmp` replace them,
    or leave them out where they are None.

    Raises:
        ValueError: an option is out of its range, or contradicts another.
        OSError: the image is of a mode that would lose something, or the model is not here.
    """
    given: dict[str, Any] = getattr(image, "encoderinfo", {})
    data = given.get(_CODED)
    file.write(_encode(image, given) if data is None else data)


def _encode(image: Image.Image, given: dict[str, Any]) -> bytes:
    """The bytes of a file, from the keywords that `save` was given; raises as :func:`_save`."""
    from .. import api

    options = {name: given[name] for name in _OPTIONS if name in given}
    if given.get("lossless"):
        if options.get("max_error") not in (None, 0):
            raise ValueError(f"lossless contradicts max_error={options['max_error']}")
        options["max_error"] = 0
    try:
        return api.encode(_with_metadata(image, given), **options)
    except OptionError as error:
        raise ValueError(str(error)) from error
    except DmecodecError as error:
        raise OSError(f"cannot write {FORMAT}: {error}") from error


_pillow_save = Image.Image.save


@wraps(_pillow_save)
def _save_whole(self: Image.Image, fp: Any, format: str | None = None, **params: Any) -> None:
    """As Pillow's `save`, which empties a file before it asks for its new content: `.dmen` files are coded before."""
    if _is_ours(fp, format) and _CODED not in params:
        params[_CODED] = _encode(self, {**params, **getattr(self, "encoderinfo", {})})
    _pillow_save(self, fp, format, **params)


def _is_ours(target: object, format: str | None) -> bool:
    """Whether an image is to be written as `.dmen` to a path."""
    if not isinstance(target, (str, bytes, os.PathLike)):
        return False
    return (format or "").upper() == FORMAT or (not format and os.fsdecode(target).lower().endswith(SUFFIX))


def _with_metadata(image: Image.Image, given: dict[str, Any]) -> Image.Image:
    """The image with the metadata that the caller of `save` names in place of its own."""
    if not any(key in given for key in _METADATA):
        return image
    kept = open_source(image).metadata  # refuses what a copy would hide, such as 16 bits a sample
    copy = image._new(image.im)  # shares the pixels
    copy.info = {key: image.info[key] for key in _OF_PIXELS if key in image.info}
    copy.info.update(icc_profile=kept.icc, exif=kept.exif, xmp=kept.xmp)
    for key in _METADATA:
        if key in given:
            value = given[key]
            copy.info[key] = exif_block(value) if isinstance(value, Image.Exif) else value or b""
    return copy


Image.register_open(FORMAT, DmenImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.Image.save = _save_whole  # type: ignore[method-assign]
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, MIME)
