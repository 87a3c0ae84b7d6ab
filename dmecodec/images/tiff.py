"""TIFF: the tags that Pillow does not report, and the pixels as they are stored."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin

from ..base.stderr import suppressed_stderr
from ..errors import ImageError
from .advice import CHOOSE, EXTRACT, FILL, INTERLEAVE, INVERT, SCALE, STRAIGHTEN, TO_RGB, refuse_depth, refuse_shallow
from .exif import exif_of_tiff

# Tags
_SUBFILE, _OLD_SUBFILE = 254, 255
_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _SAMPLE_FORMAT = 258, 262, 277, 338, 339
_COMPRESSION, _YCBCR, _JPEG = 259, 6, (6, 7)
_PLANAR, _SEPARATE = 284, 2
_OFFSETS = (273, 324)  # of strips, of tiles
_PALETTE = 3
_WANTED = (
    _SUBFILE, _OLD_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA, _SAMPLE_FORMAT
)  # fmt: skip
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GDAL_METADATA, GDAL_NODATA, RPCCoefficient
_GEOGRAPHIC = frozenset({33550, 33922, 34264, 34735, 42112, 42113, 50844})
Page = dict[int, tuple[int, ...]]
"""The tags of one page that matter here."""
_VALUES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_PAGES = 4096
_MAX_VALUES, _MAX_OFFSETS = 65535, 2**24
_COLOUR_BANDS = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}
_COLOUR_MODELS = {4: "mask", 5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "raw sensor"}


@dataclass(frozen=True)
class TiffFacts:
    """What decides who reads a TIFF.

    Attributes:
        geographic: whether it says where it lies on the ground, or has GDAL's tags or a nodata value.
        beyond: whether it has 16 bits a sample, samples of another type, or more bands than colour and alpha.
        masked: whether it has a mask.
        misread: whether Pillow reads its samples wrongly: alpha in a plane of its own, or absent strips or tiles.
    """

    geographic: bool
    beyond: bool
    masked: bool
    misread: bool = False


def tiff_facts(file: BinaryIO, *, geo: bool = True) -> TiffFacts:
    """Reads the tags of a TIFF, which must hold one image; overviews and a mask do not count.

    Args:
        file: a TIFF.
        geo: whether rasterio reads it for what it says of the ground, or for its samples alone.

    Raises:
        ImageError: it holds several, or is for rasterio and of a colour model that this would change.
    """
    pages = _pages(file)
    first = pages[0]
    photometric = first.get(_PHOTOMETRIC, (1,))[0]
    beside = first.get(_SAMPLES, (1,))[0] - _COLOUR_BANDS.get(photometric, 99)
    odd = beside > 1 or (beside == 1 and first.get(_EXTRA, (0,))[0] not in (1, 2))
    bits = max(first.get(_BITS, (1,)))
    unsigned = all(code in (1, 4) for code in first.get(_SAMPLE_FORMAT, (1,)))
    is_of_other_type = bits > 16 or not unsigned  # 32 bits, signed, float, complex
    facts = TiffFacts(
        geographic=not _GEOGRAPHIC.isdisjoint(first),
        beyond=is_of_other_type or bits == 16 or (bits == 8 and odd),
        masked=any(_is_part(page) == "mask" for page in pages),
        misread=(_has_planar_alpha(first) or _is_sparse(first)) and bits == 8,
    )
    if facts.beyond or facts.misread or (geo and (facts.geographic or facts.masked)):
        _check_pages(pages)
        _check_colours(first)
    return facts


def check_tiff(file: BinaryIO) -> None:
    """Refuses samples, bands and pages of a TIFF or BigTIFF that Pillow would change or leave out."""
    pages = _pages(file)
    first = pages[0]
    samples = first.get(_SAMPLES, (1,))[0]
    bits = first.get(_BITS, (1,))
    formats = first.get(_SAMPLE_FORMAT, (1,))
    extra = first.get(_EXTRA, ())
    photometric = first.get(_PHOTOMETRIC, (1,))[0]

    if any(code in (3, 6) for code in formats):
        raise ImageError(f"has {max(bits)}-bit floating-point samples; {SCALE}")
    if any(code not in (1, 4) for code in formats):
        raise ImageError(f"has {max(bits)}-bit signed samples; {SCALE}")
    refuse_depth(max(bits), tiff=True)
    # A palette stands for colours, whatever its depth. One bit has two values, which become 0 and 255.
    if min(bits) < 8 and photometric != _PALETTE and (max(bits) > 1 or samples > 1):
        refuse_shallow(max(bits))
    _check_model(first)
    beside = samples - _COLOUR_BANDS[photometric]
    grey_pair = beside == 1 and samples == 2 and not extra
    if beside > 1 or (beside == 1 and 0 in extra) or grey_pair:
        raise ImageError(
            f"has {samples} bands, of which {beside} {'is' if beside == 1 else 'are'} "
            f"neither colour nor alpha and would be lost; {CHOOSE}"
        )
    if _has_planar_alpha(first):
        raise ImageError(f"has alpha in a plane of its own, which Pillow misreads; {INTERLEAVE}")
    if _is_sparse(first):
        raise ImageError(f"has absent strips or tiles, which Pillow misreads; {FILL}")
    if _is_part(first) == "reduced":
        raise ImageError("its first page is but a preview of another; convert it to plain TIFF")
    _check_pages(pages)


def _has_planar_alpha(first: Page) -> bool:
    """Whether grey and alpha stand in planes of their own: Pillow leaves the alpha at 0. It reads planar RGBA well."""
    return first.get(_PLANAR, (1,))[0] == _SEPARATE and first.get(_SAMPLES, (1,))[0] == 2


def _is_sparse(first: Page) -> bool:
    """Whether strips or tiles are absent, which means zeros: Pillow decodes the start of the file instead."""
    return any(0 in first.get(tag, ()) for tag in _OFFSETS)


def _check_colours(first: Page) -> None:
    """Refuses what rasterio reads as something else without a word.

    These are 0 for white as 0 for black, colours multiplied by alpha as plain ones, and CMYK as RGB.
    """
    if first.get(_PHOTOMETRIC, (1,))[0] == 0:
        raise ImageError(f"has 0 for white; {INVERT}")
    _check_model(first)
    if 1 in first.get(_EXTRA, ()):
        raise ImageError(f"has its colours multiplied by alpha; {STRAIGHTEN}")


def _check_model(first: Page) -> None:
    photometric = first.get(_PHOTOMETRIC, (1,))[0]
    if photometric not in _COLOUR_BANDS:
        name = _COLOUR_MODELS.get(photometric, f"unknown (PhotometricInterpretation {photometric})")
        raise ImageError(f"its colour model is {name}; {TO_RGB}")
    if photometric == _YCBCR and first.get(_COMPRESSION, (1,))[0] not in _JPEG:
        raise ImageError(f"its colour model is YCbCr; {TO_RGB}")  # JPEG's own YCbCr becomes RGB


def _check_pages(pages: list[Page]) -> None:
    full = sum(not _is_part(page) for page in pages[1:])
    if full:
        raise ImageError(f"holds {full + 1} pages, of which one image can keep one; {EXTRACT}")


def _is_part(page: Page) -> str:
    """'reduced' for an overview, 'mask' for a mask of another page, '' for an image by itself."""
    kind = page.get(_SUBFILE, (0,))[0]
    if kind & 4 or page.get(_PHOTOMETRIC, (1,))[0] == 4:
        return "mask"
    return "reduced" if kind & 1 or page.get(_OLD_SUBFILE, (1,))[0] == 2 else ""


def _pages(file: BinaryIO) -> list[Page]:
    """The whole-number tags that matter here, for each page; at least one page."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    offset_code, count_code, entry_size, inline = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    entry_layout = order + ("HHQ" if big else "HHI")

    def number(code: str, data: bytes) -> int:
        return struct.unpack_from(order + code, data)[0]

    pages: list[Page] = []
    seen: set[int] = set()
    offset = number(offset_code, head[8:] if big else head[4:])
    while offset and offset not in seen and len(pages) < _MAX_PAGES:
        seen.add(offset)
        file.seek(offset)
        count = number(count_code, file.read(struct.calcsize(order + count_code)))
        if count > 65535:
            raise IndexError
        table = file.read(count * entry_size)
        offset = number(offset_code, file.read(inline))
        page: Page = {}
        for position in range(0, len(table), entry_size):
            tag, kind, length = struct.unpack_from(entry_layout, table, position)
            if tag in _GEOGRAPHIC:
                page[tag] = ()
            if kind not in _VALUES or not length:
                continue
            if (tag in _WANTED and length <= _MAX_VALUES) or (tag in _OFFSETS and length <= _MAX_OFFSETS):
                layout = f"{order}{length}{_VALUES[kind]}"
                data = table[position + entry_size - inline : position + entry_size]
                if struct.calcsize(layout) > inline:
                    file.seek(number(offset_code, data))
                    data = file.read(struct.calcsize(layout))
                values = struct.unpack_from(layout, data)
                page[tag] = values if tag in _WANTED else (min(values),)
        pages.append(page)
    if not pages:
        raise IndexError
    return pages


class Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF as stored: Pillow's own class turns the pixels by the orientation tag."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._size = self._tile_size
        self.tile = [_undivided(tile) if self.mode == "RGBA" else tile for tile in self.tile]

    def load_prepare(self) -> None:
        """As Pillow's, without its limit on pixels."""
        if self._im is None:  # or it would check that limit
            self.im = Image.core.new(self.mode, self._tile_size)
        super().load_prepare()

    def load_end(self) -> None:
        """Leaves the pixels as they are."""


def _undivided(tile: Any) -> Any:
    """Keeps Pillow from dividing the colours by an "associated" alpha, which is lossy."""
    layout, *rest = tile.args
    return tile._replace(args=({"RGBa": "RGBA", "a": "A"}.get(layout, layout), *rest))


def load_tiff(image: Tiff) -> None:
    """Loads a TIFF, its EXIF too, and sees that an alpha multiplied in changes no colour."""
    image.getexif()
    exif = exif_of_tiff(image)
    with suppressed_stderr():
        image.load()
    image.info.pop("exif", None)
    if exif:
        image.info["exif"] = exif
    associated = 1 in image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES, ())
    if associated and any(image.getchannel("A" if "A" in image.getbands() else "a").histogram()[1:255]):
        raise ImageError(f"has its colours multiplied by a partial alpha (ExtraSamples 1); {STRAIGHTEN}")
