"""Images in and out through Pillow, window by window.

Pillow opens many files that it cannot hold: a 16-bit RGB PNG or TIFF, or four bands of which the
last is near infrared, arrive as plain 8-bit "RGB". Hence every file's own header is read first, and
what would lose bits, bands or frames is refused with a word on what to do instead.

An image is held once, as Pillow holds it (RGB takes 4 bytes a pixel); :meth:`Source.read` cuts
windows out of it and :meth:`Sink.write` pastes them in.
"""

from __future__ import annotations

import io
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, cast

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from dmecodec.errors import DmecodecError, ImageError, OptionError, OutputError
from dmecodec.files import replace_file

MODES = ("L", "LA", "RGB", "RGBA")
"""What the codec codes; alpha, if any, is the last band."""

MAX_SIDE = 2**24 - 1
MAX_PIXELS = 2**36

_SCALE = "scale it to 8 bits first, for example with 'gdal_translate -ot Byte -scale IN OUT.tif'"
_CHOOSE = "choose bands first, for example with 'gdal_translate -b 1 -b 2 -b 3 IN OUT.tif'"
_TO_RGB = "convert it to RGB first, for example with 'magick IN -colorspace sRGB OUT.png'"
_EXTRACT = "extract the one to encode first, for example with 'magick IN[0] OUT.png'"
_STRAIGHTEN = "convert it first with 'magick IN -define tiff:alpha=unassociated OUT.tif'"


@dataclass(frozen=True)
class Metadata:
    """What a file carries beside its pixels, each as bytes, or None where it has none.

    Attributes:
        icc: the ICC colour profile.
        exif: the EXIF block, from its TIFF header on (without the leading ``Exif\\0\\0``).
        xmp: the XMP packet.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


class Source(Protocol):
    """An image that the encoder reads window by window."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def mode(self) -> str:
        """One of :data:`MODES`."""

    @property
    def metadata(self) -> Metadata:
        """What shall be kept beside the pixels."""

    def read(self, col: int, row: int, width: int, height: int) -> np.ndarray:
        """The window as uint8 (height, width, bands); it must lie inside the image."""


def open_source(image: object) -> Source:
    """Opens an image for the encoder.

    Args:
        image: a path, a binary file object (left open; read from its start where it can seek), a
            `PIL.Image.Image`, or a uint8 array (height, width) or (height, width, 1 to 4 bands) of
            grey, grey and alpha, RGB, or RGBA.

    Raises:
        ImageError: there is no such file, it is no image, it is damaged, or it is of a kind that
            would lose something: over 8 bits a sample, more bands than colour and alpha, another
            colour model, several frames.
    """
    if isinstance(image, np.ndarray):
        return _ArraySource(image)
    if isinstance(image, Image.Image):
        with _named("image"):
            return _from_pillow(image)
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        with _named(str(path)), _open_path(path) as file:
            return _from_file(file)
    if hasattr(image, "read"):
        with _named(str(getattr(image, "name", "image"))):
            return _from_file(_seekable(cast(BinaryIO, image)))
    raise ImageError(
        f"cannot read an image from {type(image).__name__}: "
        "give a path, a binary file object, a Pillow image or a uint8 array"
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Puts the name of the image in front of what is wrong with it, as one line."""
    try:
        yield
    except ImageError as error:
        raise ImageError(" ".join(f"{name}: {error}".split())) from error.__cause__
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to hold this image") from None


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


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} is too large: a side may have {MAX_SIDE} pixels, "
            f"the whole image {MAX_PIXELS}"
        )


def _check_window(image: Source, col: int, row: int, width: int, height: int) -> None:
    inside = 0 <= col < col + width <= image.width and 0 <= row < row + height <= image.height
    if not inside:
        raise OptionError(
            f"window {col},{row},{width},{height} is not inside the image "
            f"of {image.width} x {image.height}"
        )


# ---------------------------------------------------------------------------------------------
# Sources


class _ArraySource:
    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8:
            raise ImageError(
                f"array of {array.dtype}: only uint8 is supported; scale the values to 0..255 "
                "and use .astype('uint8')"
            )
        pixels = array[..., None] if array.ndim == 2 else array
        if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
            raise ImageError(
                f"array of shape {array.shape}: expected (height, width) or "
                "(height, width, bands) with 1 to 4 bands (L, LA, RGB, RGBA), bands last"
            )
        self.height, self.width, bands = pixels.shape
        self.mode = MODES[bands - 1]
        self.metadata = Metadata()
        self._pixels = pixels
        with _named("array"):
            _check_size(self.width, self.height)

    def read(self, col: int, row: int, width: int, height: int) -> np.ndarray:
        _check_window(self, col, row, width, height)
        return self._pixels[row : row + height, col : col + width].copy()


class _PillowSource:
    """A loaded Pillow image, of a mode in :data:`MODES` or one that converts to it exactly."""

    def __init__(self, image: Image.Image, metadata: Metadata) -> None:
        self.width, self.height = image.size
        self.mode = _coded_mode(image)
        self.metadata = metadata
        self._image = image

    def read(self, col: int, row: int, width: int, height: int) -> np.ndarray:
        _check_window(self, col, row, width, height)
        pixels = np.empty((height, width, len(self.mode)), np.uint8)
        # Pillow's window, its conversion and its bytes are three copies more: keep each small.
        step = max(1, 2**22 // width)
        for top in range(0, height, step):
            part = pixels[top : top + step]
            box = (col, row + top, col + width, row + top + len(part))
            # Image.crop would check the window against Pillow's own limit on pixels.
            window = self._image._new(self._image.im.crop(box))
            if window.mode not in (self.mode, "La"):
                window = window.convert(self.mode)
            part[:] = np.asarray(window).reshape(part.shape)
        return pixels


def _coded_mode(image: Image.Image) -> str:
    """The mode in which an image is coded; palettes, bilevel and colour keys are resolved."""
    mode = image.mode
    keyed = image.has_transparency_data
    if mode in ("LA", "RGBA"):
        return mode
    if mode in ("1", "L"):
        return "LA" if keyed else "L"
    if mode in ("P", "PA", "RGB"):
        return "RGBA" if keyed else "RGB"
    if mode == "La" and isinstance(image, _Tiff):
        return "LA"  # opaque or empty everywhere, as _load_tiff made sure: the same bytes
    what = {
        "I": "32-bit integers",
        "F": "32-bit floating point",
        "La": "grey multiplied by alpha",
        "RGBa": "colours multiplied by alpha",
        "RGBX": "RGB with a fourth band that is not alpha",
    }.get(mode, "16-bit grey" if mode.startswith("I;16") else f"{mode} colours")
    todo = _SCALE if mode[0] in "IF" else _CHOOSE if mode == "RGBX" else _TO_RGB
    raise ImageError(f"mode {mode} ({what}) is not supported; {todo}")


def _from_pillow(image: Image.Image) -> Source:
    """A source over a Pillow image in memory, or one opened from a file and not yet loaded."""
    if isinstance(image, ImageFile.ImageFile):
        _check_origin(image)
    _check_size(*image.size)
    _coded_mode(image)  # before a large image is decoded for nothing
    _guarded(image.load, "image")
    return _checked(_PillowSource(image, _metadata(image)), "image")


def _check_origin(image: ImageFile.ImageFile) -> None:
    """Looks at the header of the file that a Pillow image came from, where it is still at hand."""
    if image.format != "TIFF" and getattr(image, "is_animated", False):
        raise ImageError(
            "is one frame of several: pass a copy of the frame to encode (image.copy())"
        )
    if image.format not in ("PNG", "TIFF", "PPM", "JPEG2000", "AVIF"):
        return
    file = image.fp or getattr(image, "_fp", None)
    if isinstance(file, io.IOBase) and not file.closed and file.seekable():
        position = file.tell()
        try:
            _check_header(cast(BinaryIO, file))
        finally:
            file.seek(position)
    elif image.filename and (path := Path(os.fsdecode(image.filename))).is_file():
        with path.open("rb") as reopened:
            _check_header(reopened)


def _from_file(file: BinaryIO) -> Source:
    """Loads an image file that can seek."""
    kind = _check_header(file)
    image: ImageFile.ImageFile = _guarded(lambda: _OPENERS[kind](_rewound(file)), kind)
    _check_size(*image.size)
    _check_frames(image)
    _coded_mode(image)
    _guarded(lambda: _load(image), kind)
    return _checked(_PillowSource(image, _metadata(image)), kind)


def _checked(source: Source, kind: str) -> Source:
    """Reads one pixel, so that a palette or colour key that is no good is found at once."""
    _guarded(lambda: source.read(0, 0, 1, 1), kind)
    return source


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _load(image: ImageFile.ImageFile) -> None:
    if isinstance(image, _Tiff):
        _load_tiff(image)
    else:
        image.load()
    image.fp = None


def _guarded(action: Callable[[], Any], kind: str) -> Any:
    """Runs a step of Pillow's; whatever it throws at a damaged file becomes an ImageError.

    The plugins' own classes are used, not `Image.open`, so that Pillow's limit on pixels does not
    apply. Where a plugin looks at it by itself, the limit is lifted for that one call.
    """
    try:
        try:
            return action()
        except Image.DecompressionBombError:
            with _without_pixel_limit():
                return action()
    except (DmecodecError, MemoryError):
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error, ...: Pillow promises nothing
        raise ImageError(
            f"the {kind} data is truncated, damaged or of an unsupported kind ({error})"
        ) from error


_limit_lock = threading.Lock()
_limit_users = 0
_limit: int | None = None


@contextmanager
def _without_pixel_limit() -> Iterator[None]:
    """Lifts Pillow's limit on pixels; the last thread to leave puts it back."""
    global _limit_users, _limit
    with _limit_lock:
        if _limit_users == 0:
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _limit_users += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_users -= 1
            if _limit_users == 0:
                Image.MAX_IMAGE_PIXELS = _limit


def _check_frames(image: ImageFile.ImageFile) -> None:
    """Refuses animations, and MPO files whose further pictures are more than previews."""
    if image.format == "TIFF":
        return  # its pages are looked at in the header
    if image.format == "MPO":
        entries = getattr(image, "mpinfo", {}).get(0xB002) or []
        several = any("Multi-Frame" in str(entry["Attribute"]["MPType"]) for entry in entries)
    else:
        several = bool(getattr(image, "is_animated", False))
    if several:
        raise ImageError(f"holds several frames, of which one image can keep one; {_EXTRACT}")


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF as stored: Pillow's own class turns the pixels by the orientation tag."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._size = self._tile_size
        self.tile = [_undivided(tile) if self.mode == "RGBA" else tile for tile in self.tile]

    def load_prepare(self) -> None:
        if self._im is None:  # before Pillow checks its limit on pixels
            self.im = Image.core.new(self.mode, self._tile_size)
        super().load_prepare()

    def load_end(self) -> None:
        """Leaves the pixels as they are."""


def _undivided(tile: Any) -> Any:
    """Keeps Pillow from dividing the colours by an "associated" alpha, which is lossy."""
    layout, *rest = tile.args
    return tile._replace(args=({"RGBa": "RGBA", "a": "A"}.get(layout, layout), *rest))


def _load_tiff(image: _Tiff) -> None:
    """Loads a TIFF, its EXIF too, and sees that an alpha multiplied in changes no colour."""
    image.getexif()
    exif = _exif_of_tiff(image)
    image.load()
    image.info.pop("exif", None)
    if exif:
        image.info["exif"] = exif
    associated = 1 in image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES, ())
    if associated and any(
        image.getchannel("A" if "A" in image.getbands() else "a").histogram()[1:255]
    ):
        raise ImageError(
            f"has its colours multiplied by a partial alpha (ExtraSamples 1); {_STRAIGHTEN}"
        )


_OPENERS: dict[str, Callable[[Any], Any]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": _Tiff,
    "JPEG": JpegImagePlugin.jpeg_factory,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}


# ---------------------------------------------------------------------------------------------
# Headers: what Pillow does not tell


def _check_header(file: BinaryIO) -> str:
    """Names the format of a file by its first bytes and refuses what Pillow would narrow.

    Returns:
        A key of `_OPENERS`.
    """
    try:
        file.seek(0)
        head = file.read(64)
        if not head:
            raise ImageError("is empty")
        kind = _format_of(head)
        if kind is None:
            raise ImageError(
                f"is not an image of a format that is read here ({', '.join(_OPENERS)})"
            )
        check = _CHECKS.get(kind)
        if check:
            check(file)
        return kind
    except (struct.error, IndexError):
        raise ImageError(f"the {kind} header is truncated or damaged") from None
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from None


def _format_of(head: bytes) -> str | None:
    for kind, pattern in (
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]"),
        ("JPEG", rb"\xff\xd8\xff"),
        ("WebP", rb"RIFF....WEBP"),
        ("GIF", rb"GIF8[79]a"),
        ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("PNM", rb"P[1-6][\s#]"),
        ("JPEG 2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
        ("AVIF", rb"....ftyp.{0,48}?avi[fs]"),
    ):
        if re.match(pattern, head, re.DOTALL):
            return kind
    return None


def _refuse_depth(bits: int) -> None:
    if bits > 8:
        raise ImageError(f"has {bits} bits a sample; {_SCALE}")


def _check_png(file: BinaryIO) -> None:
    file.seek(24)
    _refuse_depth(file.read(1)[0])


def _check_jpeg(file: BinaryIO) -> None:
    """Walks to the start of frame, which has the precision."""
    file.seek(2)
    while True:
        (marker,) = struct.unpack(">H", file.read(2))
        while marker == 0xFFFF:  # fill bytes
            marker = 0xFF00 | file.read(1)[0]
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            return _refuse_depth(file.read(3)[2])
        if marker < 0xFFC0 or marker == 0xFFDA:
            return None  # no frame header where one must be: for Pillow to complain about
        (length,) = struct.unpack(">H", file.read(2))
        file.seek(length - 2, os.SEEK_CUR)


def _check_pnm(file: BinaryIO) -> None:
    file.seek(0)
    fields = re.sub(rb"#[^\r\n]*", b"", file.read(4096)).split(maxsplit=4)
    if fields[0] in (b"P2", b"P3", b"P5", b"P6") and fields[3].isdigit():
        _refuse_depth(int(fields[3]).bit_length())


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The outer boxes of a file of ISO boxes: kind, and where its content starts and ends."""
    end = file.seek(0, os.SEEK_END)
    start = 0
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        content = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            content += 8
        stop = start + size if size else end
        if stop < content:
            return
        yield kind, content, min(stop, end)
        start = stop


def _check_avif(file: BinaryIO) -> None:
    """Looks for every AV1 configuration; Pillow decodes 10 and 12 bits to 8."""
    for kind, start, stop in _boxes(file):
        if kind in (b"meta", b"moov"):
            file.seek(start)
            content = file.read(min(stop - start, 2**20))
            for found in re.finditer(rb"av1C..(.)", content, re.DOTALL):
                flags = found[1][0]
                if flags & 0x40:
                    _refuse_depth(12 if flags & 0x20 else 10)


def _check_jpeg2000(file: BinaryIO) -> None:
    """Reads the depth of each component out of the SIZ marker."""
    file.seek(0)
    start = 0
    if file.read(4) != b"\xff\x4f\xff\x51":
        for kind, content, stop in _boxes(file):
            file.seek(content)
            if kind == b"jp2h":
                header = file.read(min(stop - content, 2**20))
                palette = re.search(rb"pclr..(.)", header, re.DOTALL)
                if palette:
                    depths = header[palette.end() : palette.end() + palette[1][0]]
                    _refuse_depth(max((depth & 0x7F) + 1 for depth in depths))
            if kind == b"jp2c":
                start = content
                break
    file.seek(start + 40)
    (components,) = struct.unpack(">H", file.read(2))
    if components > 4:
        raise ImageError(f"has {components} bands; {_CHOOSE}")
    for depth, _, _ in struct.iter_unpack("3B", file.read(3 * components)):
        _refuse_depth((depth & 0x7F) + 1)
        if depth & 0x80:
            raise ImageError(f"has signed samples; {_SCALE}")


# TIFF tags
_SUBFILE, _OLD_SUBFILE = 254, 255
_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _SAMPLE_FORMAT = 258, 262, 277, 338, 339
_WANTED = (_SUBFILE, _OLD_SUBFILE, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _SAMPLE_FORMAT)
_TIFF_VALUES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_MAX_PAGES = 4096
_COLOUR_BANDS = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}
_COLOUR_MODELS = {4: "mask", 5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "raw sensor"}


def _check_tiff(file: BinaryIO) -> None:
    """Looks at samples, bands and pages of a TIFF or BigTIFF."""
    pages = _tiff_pages(file)
    first = pages[0]
    samples = first.get(_SAMPLES, (1,))[0]
    bits = first.get(_BITS, (1,))
    formats = first.get(_SAMPLE_FORMAT, (1,))
    extra = first.get(_EXTRA, ())
    photometric = first.get(_PHOTOMETRIC, (1,))[0]

    if any(code in (3, 6) for code in formats):
        raise ImageError(f"has {max(bits)}-bit floating-point samples; {_SCALE}")
    _refuse_depth(max(bits))
    if any(code not in (1, 4) for code in formats):
        raise ImageError(f"has signed samples; {_SCALE}")
    if photometric not in _COLOUR_BANDS:
        name = _COLOUR_MODELS.get(photometric, f"unknown (PhotometricInterpretation {photometric})")
        raise ImageError(f"its colour model is {name}; {_TO_RGB}")
    beside = samples - _COLOUR_BANDS[photometric]
    grey_pair = beside == 1 and samples == 2 and not extra
    if beside > 1 or (beside == 1 and 0 in extra) or grey_pair:
        raise ImageError(
            f"has {samples} bands, of which {beside} {'is' if beside == 1 else 'are'} "
            f"neither colour nor alpha and would be lost; {_CHOOSE}"
        )
    if _is_part(first) == "reduced":
        raise ImageError("its first page is but a preview of another; convert it to plain TIFF")
    full = sum(not _is_part(page) for page in pages[1:])
    if full:
        raise ImageError(f"holds {full + 1} pages, of which one image can keep one; {_EXTRACT}")


def _is_part(page: dict[int, tuple[int, ...]]) -> str:
    """'reduced' for an overview, 'mask' for a mask of another page, '' for an image by itself."""
    kind = page.get(_SUBFILE, (0,))[0]
    if kind & 4 or page.get(_PHOTOMETRIC, (1,))[0] == 4:
        return "mask"
    return "reduced" if kind & 1 or page.get(_OLD_SUBFILE, (1,))[0] == 2 else ""


def _tiff_pages(file: BinaryIO) -> list[dict[int, tuple[int, ...]]]:
    """The whole-number tags that matter here, for each page; at least one page."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    offset_code, count_code, entry_size, inline = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    entry_layout = order + ("HHQ" if big else "HHI")

    def number(code: str, data: bytes) -> int:
        return struct.unpack_from(order + code, data)[0]

    pages: list[dict[int, tuple[int, ...]]] = []
    seen: set[int] = set()
    offset = number(offset_code, head[8:] if big else head[4:])
    while offset and offset not in seen and len(pages) < _TIFF_MAX_PAGES:
        seen.add(offset)
        file.seek(offset)
        count = number(count_code, file.read(struct.calcsize(order + count_code)))
        if count > 65535:
            raise IndexError
        table = file.read(count * entry_size)
        offset = number(offset_code, file.read(inline))
        page = {}
        for position in range(0, len(table), entry_size):
            tag, kind, length = struct.unpack_from(entry_layout, table, position)
            if tag in _WANTED and kind in _TIFF_VALUES and 0 < length <= 65535:
                layout = f"{order}{length}{_TIFF_VALUES[kind]}"
                data = table[position + entry_size - inline : position + entry_size]
                if struct.calcsize(layout) > inline:
                    file.seek(number(offset_code, data))
                    data = file.read(struct.calcsize(layout))
                page[tag] = struct.unpack_from(layout, data)
        pages.append(page)
    if not pages:
        raise IndexError
    return pages


_CHECKS: dict[str, Callable[[BinaryIO], None]] = {
    "PNG": _check_png,
    "TIFF": _check_tiff,
    "JPEG": _check_jpeg,
    "PNM": _check_pnm,
    "JPEG 2000": _check_jpeg2000,
    "AVIF": _check_avif,
}


# ---------------------------------------------------------------------------------------------
# Metadata

_EXIF_PREFIX = b"Exif\0\0"
# The tags of a TIFF that describe the picture, not how this one file stores it. Only these may
# cross over: the width and compression in a camera's EXIF would overrule those of a new TIFF.
_ORIENTATION = 274
_DESCRIPTIVE_TAGS = (270, 271, 272, _ORIENTATION, 305, 306, 315, 33432)
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 34665, 34853, 40965
_STRIP_OFFSETS, _ROWS_PER_STRIP, _XMP = 273, 278, 700


def _metadata(image: Image.Image) -> Metadata:
    """ICC, EXIF and XMP of a loaded image."""
    info = image.info
    exif = info.get("exif")
    if exif is None and image.format == "TIFF":
        exif = _exif_of_tiff(image)
    elif exif is None:  # in the text of an old PNG, or set on an image in memory
        with suppress(Exception):
            exif = image.getexif().tobytes() if image.getexif() else None
    xmp = info.get("xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if exif:
        exif = bytes(exif).removeprefix(_EXIF_PREFIX)
    return Metadata(icc=info.get("icc_profile") or None, exif=exif or None, xmp=xmp or None)


def _exif_of_tiff(image: Image.Image) -> bytes | None:
    """The descriptive tags of a TIFF as an EXIF block; None where there are none."""
    with suppress(Exception):  # damaged EXIF is no reason to refuse the pixels
        kept = Image.Exif()
        _copy_descriptive(image.getexif(), kept)
        if kept.get(_ORIENTATION) == 1:
            del kept[_ORIENTATION]
        if kept:
            return kept.tobytes()
    return None


def _copy_descriptive(exif: Image.Exif, kept: Image.Exif) -> None:
    for tag in _DESCRIPTIVE_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        part = dict(exif.get_ifd(tag))
        part.pop(_INTEROP_IFD, None)  # an offset into the other file
        if part:
            kept[tag] = part


# ---------------------------------------------------------------------------------------------
# Output

_SUFFIXES = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
}
_MAX_TIFF_BYTES = 2**32 - 2**26  # of pixels, which leaves room for the tags
_STRIP_BYTES = 2**20
_MAX_OUTPUT_SIDE = {"PNG": 2**31 - 1, "TIFF": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}


def output_format(path: str | os.PathLike[str]) -> str:
    """The format that a file name asks for: PNG, TIFF, JPEG or WEBP.

    Raises:
        OptionError: the suffix is none of the known ones.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in _SUFFIXES:
        found = f"the suffix {suffix}" if suffix else "a name without suffix"
        raise OptionError(
            f"{path}: cannot tell an image format from {found}; use one of {', '.join(_SUFFIXES)}"
        )
    return _SUFFIXES[suffix.lower()]


def check_output(format: str, width: int, height: int, mode: str) -> None:
    """Sees that a format can hold an image, before any work is done for it.

    Raises:
        OutputError: alpha in JPEG, a side too long, or a format that this Pillow cannot write.
        OptionError: no such format.
    """
    if format not in _MAX_OUTPUT_SIDE:
        raise OptionError(
            f"unknown output format {format}: use one of {', '.join(_MAX_OUTPUT_SIDE)}"
        )
    limit = _MAX_OUTPUT_SIDE[format]
    if format == "JPEG" and mode not in ("L", "RGB"):
        raise OutputError(
            f"JPEG cannot hold the alpha of a {mode} image; write PNG, TIFF or WebP instead"
        )
    if max(width, height) > limit:
        raise OutputError(
            f"{format} cannot hold {width} x {height}: its sides end at {limit} pixels; "
            "write PNG or TIFF instead"
        )
    if format == "WEBP" and not features.check("webp"):
        raise OutputError("this Pillow was built without WebP; write PNG or TIFF instead")


class Sink:
    """An image that the decoder fills window by window and then saves.

    PNG, TIFF and WebP are written without loss, JPEG at quality 95 without chroma subsampling.
    """

    def __init__(self, width: int, height: int, mode: str, metadata: Metadata) -> None:
        """Makes a black (and transparent) image of `mode`, one of :data:`MODES`."""
        self.width, self.height, self.mode, self.metadata = width, height, mode, metadata
        try:
            self._image = Image.new(mode, (width, height))
        except MemoryError:
            raise OutputError(f"not enough memory to hold {width} x {height} {mode}") from None

    def write(self, col: int, row: int, pixels: np.ndarray) -> None:
        """Puts a window of uint8 (height, width, bands) or, for L, (height, width), at (col, row).

        Raises:
            ValueError: its type or shape is not that of the image, or it reaches beyond it.
        """
        bands = len(self.mode)
        if pixels.dtype != np.uint8 or pixels.size != pixels.shape[0] * pixels.shape[1] * bands:
            raise ValueError(f"{pixels.dtype} {pixels.shape} is no window of a {self.mode} image")
        height, width = pixels.shape[:2]
        if min(col, row) < 0 or col + width > self.width or row + height > self.height:
            raise ValueError(f"window {col},{row},{width},{height} reaches beyond the image")
        flat = (height, width) if bands == 1 else (height, width, bands)
        window = Image.fromarray(np.ascontiguousarray(pixels.reshape(flat)))
        self._image.paste(window, (col, row))

    def save(self, target: str | os.PathLike[str] | BinaryIO, format: str) -> None:
        """Writes the image, its ICC profile, EXIF and XMP.

        Args:
            target: a path, replaced once the file is complete; or a binary file object, which may
                be a pipe and is left open.
            format: PNG, TIFF, JPEG or WEBP.

        Raises:
            OutputError: the format cannot hold the image or its metadata, or a path cannot be
                written. An OSError of a file object given by the caller passes as it is.
        """
        check_output(format, self.width, self.height, self.mode)
        if isinstance(target, (str, os.PathLike)):
            with replace_file(target, overwrite=True) as file:
                self._save(file, format)
        else:
            self._save(target, format)

    def _save(self, file: BinaryIO, format: str) -> None:
        options = _save_options(self._image, self.metadata, format)
        try:
            self._image.save(cast(BinaryIO, _Stream(file)), format, **options)
        except (ValueError, SystemError, struct.error, MemoryError) as error:
            raise OutputError(f"cannot write {format}: {str(error) or 'out of memory'}") from error


class _Stream:
    """A file that is written from front to back, and has no descriptor.

    Given a descriptor, Pillow's encoders write to it by themselves: the JPEG encoder takes no
    notice of a full disk then, and libtiff reports it on stderr.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written = 0

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:  # a pipe may take less than all
            taken = self._file.write(rest)
            rest = rest[len(rest) if taken is None else taken :]
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def seek(self, position: int) -> int:
        if position != self._written:
            raise OutputError("this format cannot be written from front to back")
        return position

    def flush(self) -> None:
        self._file.flush()


def _save_options(image: Image.Image, metadata: Metadata, format: str) -> dict[str, Any]:
    """Pillow's options. The choices between speed and size are measured on aerial images."""
    options: dict[str, Any] = {}
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if format == "TIFF":
        # Uncompressed, as GDAL writes it by default: over 1000 MPix/s, against 14 MPix/s for LZW
        # and 5 MPix/s for deflate (with differences: 0.68 and 0.61 of the size).
        options["compression"] = "raw"
        options["big_tiff"] = _is_big(image)
        options["exif"] = _tiff_tags(image, metadata)
        return options
    if metadata.exif:
        options["exif"] = _EXIF_PREFIX + metadata.exif
    if format == "PNG":
        # Level 6 is 3 times slower and 3 % smaller.
        options["compress_level"] = 2
        if metadata.xmp:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    if format == "JPEG":
        options.update(quality=95, subsampling=0)
    if format == "WEBP":
        # Quality is effort here; exact keeps the colours where alpha is 0.
        options.update(lossless=True, exact=True, quality=0, method=0)
    return options


def _is_big(image: Image.Image) -> bool:
    return image.width * image.height * len(image.getbands()) > _MAX_TIFF_BYTES


class _TiffTags(Image.Exif):
    """Tags for Pillow's TIFF writer, with the types of those that it would choose too small."""

    tagtype: ClassVar[dict[int, int]] = {_STRIP_OFFSETS: 16}  # 64-bit integers

    def get_ifd(self, tag: int) -> dict[int, Any]:
        """The part under `tag`, which is held here, not at an offset into a file."""
        return self[tag]


def _tiff_tags(image: Image.Image, metadata: Metadata) -> Image.Exif:
    """The tags of a new TIFF beside those that Pillow sets."""
    tags = _TiffTags()
    if metadata.exif:
        try:
            exif = Image.Exif()
            exif.load(_EXIF_PREFIX + metadata.exif)
            _copy_descriptive(exif, tags)
            tags.tobytes()
        except Exception:  # damaged EXIF is no reason to lose the pixels
            tags = _TiffTags()
    if _is_big(image):
        tags[_STRIP_OFFSETS] = 0  # replaced by Pillow, in this type
    tags[_ROWS_PER_STRIP] = max(1, _STRIP_BYTES // (image.width * len(image.getbands())))
    if metadata.xmp:
        tags[_XMP] = metadata.xmp
    return tags
