"""One image of each kind and layout that rasterio and Pillow can write: what CI runs the corpus test on."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from conftest import aerial, in_mode
from geotiff_files import PLACE, RPC, UTM, write
from PIL import Image, ImageCms, PngImagePlugin, features
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

HEIGHT, WIDTH = 40, 56
WORLD = "10\n0\n0\n-10\n500005\n3999995\n"
RGB: dict[str, Any] = {"photometric": "RGB"}
PLAIN: dict[str, Any] = {"crs": None, "transform": None}
ROTATED_POLE = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39 +lon_0=18 +R=6371229"


def write_corpus(folder: Path) -> list[Path]:
    """Writes them all; returns their paths."""
    before = set(folder.iterdir())
    for make in (_plain_pictures, _plain_tiffs, _geotiffs, _said_of_pixels, _beside, _refused):
        make(folder)
    made = set(folder.iterdir()) - before
    return sorted(
        path for path in made if not path.name.endswith((".xml", ".msk", "w", ".wld", ".rpc", ".txt", ".XML"))
    )


def picture(mode: str = "RGB") -> Image.Image:
    """A picture of the size of all of them."""
    return Image.fromarray(in_mode(aerial(5, HEIGHT, WIDTH), mode))


def samples(count: int, dtype: str = "uint8") -> np.ndarray:
    """(height, width, count) of 8 or 16 bits; never 0."""
    pixels = np.concatenate([aerial(n, HEIGHT, WIDTH) for n in range(-(-count // 3))], 2)[..., :count]
    pixels = np.maximum(pixels, 1).astype(dtype)
    return pixels * 200 if dtype == "uint16" else pixels


def _plain_pictures(folder: Path) -> None:
    for mode in ("L", "LA", "RGB", "RGBA"):
        picture(mode).save(folder / f"plain-{mode}.png")
        picture(mode).save(folder / f"plain-{mode}.tif")
        picture(mode).save(folder / f"plain-{mode}.jp2")
    for suffix in ("bmp", "jpg", "webp", "ppm"):
        picture().save(folder / f"plain.{suffix}")
    picture("RGBA").save(folder / "alpha.webp", lossless=True)
    if features.check("avif"):
        picture().save(folder / "plain.avif")
    paletted = picture().quantize(16)
    paletted.save(folder / "palette.png")
    paletted.save(folder / "palette.gif")
    paletted.save(folder / "palette.bmp")
    paletted.save(folder / "key.png", transparency=3)
    picture("L").save(folder / "grey-key.png", transparency=90)
    exif = Image.Exif()
    exif[270], exif[274] = "a field", 6
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in ("jpg", "png", "webp"):
        picture().save(folder / f"metadata.{suffix}", exif=exif, icc_profile=icc)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a field")
    picture().save(folder / "text.png", pnginfo=text)


def _plain_tiffs(folder: Path) -> None:
    for compress in ("lzw", "deflate", "zstd", "webp", "packbits", "lzma", "jpeg"):
        write(folder / f"plain-{compress}.tif", samples(3), **RGB, **PLAIN, compress=compress)
    write(folder / "plain-big-endian.tif", samples(3), **RGB, **PLAIN, bigtiff="YES", endianness="BIG")
    write(folder / "plain-planar.tif", samples(3), **RGB, **PLAIN, interleave="band")
    for compress in ("none", "lzw"):
        pixels = np.array(picture("LA"))
        write(
            folder / f"plain-planar-LA-{compress}.tif",
            pixels,
            **PLAIN,
            interleave="band",
            alpha="YES",
            compress=compress,
        )
    write(folder / "plain-16-bit.tif", samples(1, "uint16"), **PLAIN)
    pixels = samples(1)
    pixels[:16, :32] = 0
    for name, place in (("plain", PLAIN), ("geo", {})):
        write(folder / f"{name}-sparse.tif", pixels, **place, tiled=True, blockxsize=16, blockysize=16, sparse_ok=True)
    write(folder / "signed-16-bit.tif", samples(1, "uint16").astype("int16") - 300)


def _geotiffs(folder: Path) -> None:
    for count, dtype in ((1, "uint8"), (3, "uint8"), (5, "uint8"), (1, "uint16"), (4, "uint16")):
        write(folder / f"geo-{count}-{dtype}.tif", samples(count, dtype), **(RGB if count == 3 else {}))
    write(folder / "geo-tiled.tif", samples(3), **RGB, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    write(folder / "geo-rgba.tif", np.array(picture("RGBA")), **RGB, colors=["red", "green", "blue", "alpha"])
    gone = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) > 50
    for dtype in ("uint8", "uint16"):
        pixels = samples(3, dtype)
        pixels[gone] = 0
        write(folder / f"geo-nodata-{dtype}.tif", pixels, **RGB, nodata=0)
    write(folder / "geo-nodata-fraction.tif", samples(1), nodata=0.5)
    write(folder / "geo-mask.tif", samples(3), **RGB, mask=np.where(gone, 0, 255).astype(np.uint8))
    table = {n: (n * 30, 255 - n * 30, n * 7, 255) for n in range(8)}
    for name, options in (("plain", {}), ("nodata", {"nodata": 2})):
        path = write(folder / f"geo-palette-{name}.tif", samples(1) // 32, photometric="PALETTE", **options)
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, table)
            file.update_tags(1, crop="wheat")


def _said_of_pixels(folder: Path) -> None:
    path = write(folder / "said-all.tif", samples(3), **RGB, tags={"": {"AREA_OR_POINT": "Point"}, "own": {"a": "b"}})
    with rasterio.open(path, "r+") as file:
        file.set_band_description(2, "vert")
        file.units, file.scales, file.offsets = ("m", None, None), (0.5, 1, 1), (3, 0, 0)
        file.update_tags(3, wavelength="480")
    path = write(folder / "said-latin-1.tif", samples(3), **RGB, tags={"": {"place": "Gel@nde"}})
    with rasterio.open(path, "r+") as file:
        file.set_band_description(1, "caf@")
    path.write_bytes(path.read_bytes().replace(b"Gel@nde", b"Gel\xe4nde").replace(b"caf@", b"caf\xe9"))
    write(
        folder / "said-undefined.tif", samples(3), photometric="MINISBLACK", colors=["gray", "undefined", "undefined"]
    )
    write(folder / "said-rpc.tif", samples(3), **RGB, **PLAIN, tags={"RPC": RPC})
    corners = [(0, 0), (0, WIDTH), (HEIGHT, 0), (HEIGHT, WIDTH)]
    gcps = [GroundControlPoint(row, col, 10 + col / 100, 50 - row / 100, 5) for row, col in corners]
    write(folder / "said-gcps.tif", samples(2), **PLAIN, gcps=gcps)
    for name, crs in (("pole", ROTATED_POLE), ("compound", "EPSG:32651+4326"), ("geographic", "EPSG:4326"),
                      ("height", "EPSG:4979"), ("local", 'LOCAL_CS["x",UNIT["m",1]]')):  # fmt: skip
        write(folder / f"said-crs-{name}.tif", samples(1), crs=CRS.from_user_input(crs))


def _beside(folder: Path) -> None:
    for suffix, world in (
        ("png", "pgw"),
        ("jpg", "jgw"),
        ("bmp", "wld"),
        ("gif", "gfw"),
        ("jp2", "j2w"),
        ("tif", "tfw"),
    ):
        picture().save(folder / f"world-{suffix}.{suffix}")
        (folder / f"world-{suffix}.{world}").write_text(WORLD)
    source = write(folder / "copied.tif", samples(3), **RGB, tags={"": {"season": "spring"}})
    for driver, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("JP2OpenJPEG", "jp2")):
        rasterio.shutil.copy(str(source), str(folder / f"copied-{suffix}.{suffix}"), driver=driver)
    mask = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    for name in ("partial.tif", "partial.png"):
        path = folder / name
        picture().save(path)
        options = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 1, "dtype": "uint8"}
        with rasterio.open(f"{path}.msk", "w", **options) as file:
            file.write(mask, 1)
            file.update_tags(**{f"INTERNAL_MASK_FLAGS_{n}": "2" for n in (1, 2, 3)})
    picture().save(folder / "rational.tif")
    (folder / "rational.rpc").write_text(rpc_text())
    (folder / "rational.txt").write_text("AUX_SATELLITE_NAME\tKX\n")
    picture("L").save(folder / "nodata-beside.png")
    (folder / "nodata-beside.png.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>90</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    with rasterio.open(folder / "grey-3.jp2", "w", driver="JP2OpenJPEG", width=WIDTH, height=HEIGHT, count=3,
                       dtype="uint8", QUALITY="100", REVERSIBLE="YES") as file:  # fmt: skip
        file.write(samples(3).transpose(2, 0, 1))
    with rasterio.open(folder / "deep.jp2", "w", driver="JP2OpenJPEG", width=WIDTH, height=HEIGHT, count=1, crs=UTM,
                       transform=PLACE, dtype="uint16", QUALITY="100", REVERSIBLE="YES") as file:  # fmt: skip
        file.write(samples(1, "uint16").transpose(2, 0, 1))
    (folder / "fields.bmp").write_bytes(bit_fields())


def rpc_text(unit: str = " pixels") -> str:
    """Rational polynomials as vendors write them."""
    lines = [f"{axis}_{part}: 20.0{unit}" for part in ("OFF", "SCALE") for axis in ("LINE", "SAMP")]
    lines += [f"{axis}_{part}: 1.0" for part in ("OFF", "SCALE") for axis in ("LAT", "LONG", "HEIGHT")]
    for key in ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN"):
        lines += [f"{key}_COEFF_{n + 1}: {1 if n == 0 else 0.001}" for n in range(20)]
    return "\n".join(lines) + "\n"


def bit_fields() -> bytes:
    """A BMP of 16 bits a pixel whose masks are those of no usual layout: 4 bits of blue, 6 of green, 6 of red."""
    pixels = np.arange(16 * 16, dtype="<u2").tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xFC00, 0x03F0, 0x000F)
    start = 14 + len(header) + len(masks)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + masks + pixels


def _refused(folder: Path) -> None:
    for dtype in ("float32", "int32", "uint32", "complex64"):
        write(folder / f"refused-{dtype}.tif", np.ones((HEIGHT, WIDTH, 1), dtype))
    for bits in (1, 3, 7):
        write(folder / f"refused-{bits}-bit.tif", np.ones((HEIGHT, WIDTH, 1), np.uint8), nbits=bits)
    write(folder / "refused-cmyk.tif", samples(4), photometric="CMYK", **PLAIN)
    write(folder / "refused-white-is-0.tif", samples(1), photometric="MINISWHITE")
    frames: list[Image.Image] = [picture("L"), picture("L").rotate(180)]
    frames[0].save(folder / "refused-frames.gif", save_all=True, append_images=frames[1:])
    data = io.BytesIO()
    picture().save(data, "JPEG")
    (folder / "refused-cut.jpg").write_bytes(data.getvalue()[:300])
