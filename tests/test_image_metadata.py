"""ICC, EXIF and XMP on the way in and out."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from image_files import (
    ICC,
    METADATA,
    XMP,
    exif,
    filled,
    noise,
    picture,
    saved,
    whole,
    written,
)
from PIL import Image

from dmecodec.base.boxes import Box
from dmecodec.errors import ImageError, OutputError
from dmecodec.format.limits import PLAIN_MODES
from dmecodec.images.metadata import Metadata
from dmecodec.images.open import open_source


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_metadata_goes_out_and_comes_back(format: str) -> None:
    pixels = noise(9, 13, 3)
    file = written(pixels, format, METADATA)
    source = open_source(file)
    assert source.metadata.icc == ICC
    assert source.metadata.xmp == XMP
    assert source.metadata.exif
    if format != "TIFF":  # which has the tags, not the block
        assert source.metadata.exif == METADATA.exif
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + source.metadata.exif)
    assert tags[274] == 6
    assert tags[271] == "Maker"
    assert tags.get_ifd(34665)[36867] == "2024:05:06 07:08:09"
    assert [float(value) for value in tags.get_ifd(34853)[2]] == [52.0, 31.0, 0.5]
    # Pixels as stored: neither turned on the way out nor on the way in.
    assert (source.width, source.height) == (13, 9)
    if format != "JPEG":
        assert np.array_equal(source.pixels(Box(0, 0, 13, 9)), pixels)
    other = Image.open(file)
    assert other.info["icc_profile"] == ICC
    assert other.getexif().get(274) == 6


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_no_metadata_stays_none(format: str) -> None:
    assert open_source(written(noise(9, 13, 3), format)).metadata == Metadata()


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_with_orientation_is_read_as_stored(compression: str, orientation: int) -> None:
    image = Image.fromarray(np.kron(noise(2, 3, 3), np.ones((16, 16, 1), np.uint8)))
    plain = whole(saved(image, "TIFF", compression=compression))
    source = open_source(saved(image, "TIFF", compression=compression, tiffinfo={274: orientation}))
    assert (source.width, source.height) == image.size
    assert np.array_equal(source.pixels(Box(0, 0, *image.size)), plain)
    if orientation == 1:
        assert source.metadata.exif is None
    else:
        tags = Image.Exif()
        tags.load(source.metadata.exif or b"")
        assert dict(tags) == {274: orientation}


def test_the_exif_of_another_file_does_not_spoil_a_tiff() -> None:
    pixels = noise(9, 13, 3)
    odd = Image.Exif()
    for tag, value in ((256, 4000), (257, 3000), (258, 16), (259, 6), (262, 6), (273, 1), (277, 9)):
        odd[tag] = value
    file = written(pixels, "TIFF", Metadata(exif=odd.tobytes()[6:]))
    assert np.array_equal(whole(file), pixels)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_damaged_metadata_does_not_cost_the_pixels(format: str) -> None:
    pixels = noise(9, 13, 3)
    got = whole(written(pixels, format, Metadata(icc=b"x", exif=b"nonsense", xmp=b"\xff\xfe")))
    assert got.shape == pixels.shape
    assert format == "JPEG" or np.array_equal(got, pixels)


def test_metadata_after_the_pixels_of_a_png_is_found() -> None:
    data = saved(picture("RGB"), "PNG").getvalue()
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
    late = struct.pack(">I", len(body)) + b"iTXt" + body
    late += struct.pack(">I", zlib.crc32(b"iTXt" + body))
    assert open_source(io.BytesIO(data[:-12] + late + data[-12:])).metadata.xmp == XMP


def test_metadata_of_a_pillow_image_in_memory() -> None:
    image = Image.open(written(noise(9, 13, 3), "PNG", METADATA))
    assert open_source(image).metadata == METADATA


def test_metadata_too_large_for_jpeg_is_an_error() -> None:
    sink = filled(noise(9, 13, 3), Metadata(exif=exif() + bytes(70000)))
    with pytest.raises(OutputError, match="cannot write JPEG: EXIF"):
        sink.save(io.BytesIO(), "JPEG")
    sink.save(io.BytesIO(), "PNG")


@pytest.mark.parametrize("mode", PLAIN_MODES)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_lossless_formats_are(mode: str, format: str) -> None:
    pixels = noise(33, 47, len(mode))
    pixels[:10, ..., -1] = 0  # colours under an alpha of 0 count as well
    got = whole(written(pixels, format))
    if format == "WEBP" and mode in ("L", "LA"):  # WebP has no grey
        assert all(np.array_equal(got[..., band], pixels[..., 0]) for band in range(3))
        got = got[..., [0, 3]] if mode == "LA" else got[..., :1]
    assert np.array_equal(got, pixels)


@pytest.mark.parametrize(("name", "value"), [("icc_profile", "sRGB"), ("exif", 7), ("xmp", {})])
def test_metadata_of_an_image_in_memory_must_be_bytes(name: str, value: Any) -> None:
    image = Image.new("RGB", (8, 8))
    image.info[name] = value or {"rdf": 1}
    with pytest.raises(ImageError, match=f"{name} is .*: expected bytes"):
        open_source(image)


# ---- EXIF that a caller has changed ------------------------------------------------------------------------------


def exif_after(change: Any, format: str = "PNG", **options: Any) -> dict[int, Any]:
    """The tags that a `.dmen` source gets of an image with two tags and a camera's part, after a change to it."""
    made = Image.Exif()
    made[274], made[270] = 6, "old"
    made[34665] = {36867: "2024:05:06 07:08:09"}
    image = Image.open(saved(picture("RGB"), format, exif=made.tobytes(), **options))
    image = change(image) or image
    tags = Image.Exif()
    tags.load(open_source(image).metadata.exif or b"")
    return dict(tags) | dict(tags.get_ifd(34665)) if tags else {}


def edit(image: Image.Image) -> None:
    image.getexif()[274], image.getexif()[270] = 1, "Gelände"


def turn_upright(image: Image.Image) -> Image.Image:
    turned = image.transpose(Image.Transpose.ROTATE_270)
    del turned.getexif()[274]
    return turned


def edit_in_camera_part(image: Image.Image) -> None:
    image.getexif().get_ifd(34665)[36867] = "2025:01:01 00:00:00"


def set_camera_part(image: Image.Image) -> None:
    image.getexif()[34665] = {36867: "2025:01:01 00:00:00"}


def remove_all(image: Image.Image) -> None:
    image.getexif().clear()
    image.getexif().get_ifd(34665).clear()


def replace_block(image: Image.Image) -> None:
    image.getexif()[270] = "forgotten"
    other = Image.Exif()
    other[270] = "replaced"
    image.info["exif"] = other.tobytes()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_edited_exif_is_what_counts(format: str) -> None:
    assert exif_after(lambda image: None, format)[270] == "old"
    edited = exif_after(edit, format)
    assert edited[270] == "Gelände" and edited.get(274, 1) == 1
    for change in (edit_in_camera_part, set_camera_part):
        assert exif_after(change, format)[36867] == "2025:01:01 00:00:00"
    if format != "TIFF":  # whose tags Pillow does not hand on to other images
        assert 274 not in exif_after(turn_upright, format)
        assert exif_after(turn_upright, format)[36867] == "2024:05:06 07:08:09"
        assert exif_after(remove_all, format) == {}
        assert exif_after(replace_block, format)[270] == "replaced"


def test_looking_at_exif_changes_no_byte() -> None:
    image = Image.open(written(noise(9, 13, 3), "JPEG", METADATA))
    assert image.getexif() and image.getexif().get_ifd(34665) and image.getexif().get_ifd(34853)
    assert open_source(image).metadata.exif == METADATA.exif


def test_exif_set_on_a_new_image() -> None:
    image = picture("RGB")
    image.getexif()[270] = "Büro 東京"
    tags = Image.Exif()
    tags.load(open_source(image).metadata.exif or b"")
    assert tags[270].encode("latin-1").decode() == "Büro 東京"


def test_exif_that_cannot_be_written_is_refused() -> None:
    image = Image.open(written(noise(9, 13, 3), "JPEG", METADATA))
    image.getexif()[282] = object()
    with pytest.raises(ImageError, match="its EXIF cannot be written"):
        open_source(image)


# ---- bytes of tags, resolution ------------------------------------------------------------------------------------


def plain_tiff(**tags: Any) -> bytes:
    return saved(
        picture("RGB", 40, 50), "TIFF", tiffinfo={int(tag[1:]): value for tag, value in tags.items()}
    ).getvalue()


@pytest.mark.parametrize("format", ["TIFF", "PNG", "WEBP", "JPEG"])
def test_tags_that_are_not_ascii_keep_their_bytes(format: str) -> None:
    text = {270: "Gel@nde 5 @m", 269: "@rtlich", 315: "@", 305: "x@"}
    data = plain_tiff(**{f"t{tag}": value for tag, value in text.items()})
    data = data.replace(b"Gel@nde 5 @m", "Gelände 5 µm".encode("latin-1")).replace(b"@rtlich", b"\xf6rtlich")
    source = open_source(io.BytesIO(data))
    out = written(source.pixels(), format, source.metadata).getvalue()
    assert "Gelände 5 µm".encode("latin-1") in out
    assert b"\xf6rtlich" in out


def test_latin1_in_the_part_of_the_camera() -> None:
    made = Image.Exif()
    made[34665] = {42036: "Obj@ktiv", 36867: "2024:05:06 07:08:09"}
    data = saved(picture("RGB"), "TIFF", exif=made.tobytes()).getvalue().replace(b"Obj@ktiv", b"Obj\xe4ktiv")
    source = open_source(io.BytesIO(data))
    for format in ("TIFF", "PNG", "WEBP", "JPEG"):
        assert b"Obj\xe4ktiv" in written(source.pixels(), format, source.metadata).getvalue()


DESCRIPTIVE = {
    269: "sheet 7",
    270: "a", 271: "b", 272: "c", 280: 3, 281: 200, 282: 300.5, 283: 150.25, 285: "page", 286: 1.5, 287: 2.5,
    296: 3, 297: (2, 9), 301: tuple(range(256)) * 3, 305: "soft", 306: "2024:05:06 07:08:09", 315: "e", 316: "f",
    318: (0.3127, 0.329), 319: (0.64, 0.33, 0.3, 0.6, 0.15, 0.06), 33432: "g",
}  # fmt: skip


def test_descriptive_tags_of_a_plain_tiff_come_back() -> None:
    source = open_source(io.BytesIO(plain_tiff(**{f"t{tag}": value for tag, value in DESCRIPTIVE.items()})))
    out = Image.open(written(source.pixels(), "TIFF", source.metadata))
    for tag, value in DESCRIPTIVE.items():
        found = out.tag_v2[tag]
        if isinstance(value, str):
            assert found == value
        else:
            assert np.allclose(np.array(found, float).ravel(), np.array(value, float).ravel()), tag


@pytest.mark.parametrize("made_by", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("written_as", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("exif_too", [False, True])
def test_resolution_goes_from_format_to_format(made_by: str, written_as: str, exif_too: bool) -> None:
    options: dict[str, Any] = {"exif": b"Exif\0\0" + exif()} if exif_too and made_by != "BMP" else {}
    if made_by == "TIFF" and exif_too:
        options = {}
    source = open_source(saved(picture("RGB"), made_by, dpi=(300, 150), **options))
    out = Image.open(written(source.pixels(), written_as, source.metadata))
    if written_as == "WEBP":
        tags = out.getexif()
        factor = {2: 1, 3: 2.54}[tags[296]]
        dpi = float(tags[282]) * factor, float(tags[283]) * factor
    else:
        dpi = tuple(map(float, out.info["dpi"]))
    assert dpi == pytest.approx((300, 150), rel=1e-3)
    if options:
        assert out.getexif()[271] == "Maker"


def test_the_numbers_of_a_png_stay() -> None:
    data = saved(picture("RGB"), "PNG", dpi=(299.99, 150.01)).getvalue()
    source = open_source(io.BytesIO(data))
    place = data.index(b"pHYs")
    assert data[place : place + 13] in written(source.pixels(), "PNG", source.metadata).getvalue()


def test_without_resolution_none_is_made_up() -> None:
    for format in ("PNG", "JPEG", "TIFF", "WEBP"):
        source = open_source(saved(picture("RGB"), format))
        assert source.metadata.exif is None
    assert open_source(Image.open(saved(picture("RGB"), "TIFF")).copy()).metadata.exif is None
    assert open_source(saved(picture("RGB"), "JPEG", exif=b"Exif\0\0" + exif())).metadata.exif == exif()


def test_a_resolution_moves_no_offset_of_a_block() -> None:
    """A thumbnail and the maker's notes stand behind absolute offsets."""
    from fractions import Fraction

    from dmecodec.images.exif import Resolution, with_resolution

    for order in ("<", ">"):
        made = Image.Exif()
        made.endian = order
        made[271], made[34665] = "Maker", {37500: b"notes" * 9}
        block = made.tobytes().removeprefix(b"Exif\0\0")
        longer = with_resolution(block, Resolution(Fraction(300), Fraction(601, 2), 2))
        assert longer is not None and longer[8 : len(block)] == block[8:]
        tags = Image.Exif()
        tags.load(b"Exif\0\0" + longer)
        assert (tags[271], float(tags[282]), float(tags[283]), tags[296]) == ("Maker", 300, 300.5, 2)
        assert tags.get_ifd(34665)[37500] == b"notes" * 9
        assert with_resolution(longer, Resolution(Fraction(1), Fraction(1), 2)) == longer
    assert with_resolution(b"nonsense", Resolution(Fraction(1), Fraction(1), 2)) == b"nonsense"
