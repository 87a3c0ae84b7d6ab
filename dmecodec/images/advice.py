"""The ways out that messages name for an image that is refused, each with its command."""

from __future__ import annotations

from ..errors import ImageError

SCALE = "scale it to 8 bits first, for example with 'gdal_translate -ot Byte -scale IN OUT.tif'"
AUTO_SCALE = (
    "code it as 16 bits with '--scale auto', in steps of a 65534th of its range, or with '--scale MIN,MAX' "
    "(from Python scale='auto' or scale=(MIN, MAX))"
)
KEEP_ALL = "make it a TIFF, of which all bands are kept, with 'gdal_translate IN OUT.tif'"
SPLIT_COMPLEX = (
    "make its real and imaginary parts bands with 'gdal_translate DERIVED_SUBDATASET:REAL:IN REAL.tif' and "
    "'gdal_translate DERIVED_SUBDATASET:IMAG:IN IMAG.tif', and code them with '--scale auto'"
)
MASK_INSTEAD = "make alpha a mask, with the other bands, by 'gdal_translate -b 1 -mask 2 IN OUT.tif'"
PASS_ARRAY = (
    "from Python encode numpy.asarray(image), of 32 bits with scale='auto'; or make it a TIFF first, for example with "
    "'gdal_translate IN OUT.tif'"
)
KEEP = "make it a TIFF, of which 16 bits are kept, with 'gdal_translate IN OUT.tif'"
CHOOSE = "choose bands first, for example with 'gdal_translate -b 1 -b 2 -b 3 IN OUT.tif'"
TO_RGB = "convert it to RGB first, for example with 'magick IN -colorspace sRGB OUT.png'"
EXPAND = "expand it first with 'gdal_translate -expand rgb IN OUT.tif'"
EXTRACT = "extract the one to encode first, for example with 'magick IN[0] OUT.png'"
INVERT = "turn it round first, for 8 bits with 'gdal_translate -scale 0 255 255 0 IN OUT.tif'"
KEEP_PNM = "keep the values with 'gdal_translate -ot Byte IN OUT.tif', or make 255 the largest with 'magick IN OUT.png'"
INTERLEAVE = "put them side by side first with 'gdal_translate -co INTERLEAVE=PIXEL IN OUT.tif'"
FILL = "write them out first with 'gdal_translate IN OUT.tif'"
STRAIGHTEN = "convert it first with 'magick IN -define tiff:alpha=unassociated OUT.tif'"


def refuse_shallow(bits: int) -> None:
    """Refuses samples of fewer than 8 bits, which Pillow would multiply."""
    largest = 2**bits - 1
    raise ImageError(
        f"has {bits} bits a sample, of 0 to {largest}; keep the values in 8 bits with 'gdal_translate -co NBITS=8 IN "
        f"OUT.tif', or make them 0 to 255 with 'gdal_translate -co NBITS=8 -scale 0 {largest} 0 255 IN OUT.tif'"
    )


def refuse_depth(bits: int, *, tiff: bool = False) -> None:
    """Refuses samples of more than 8 bits; `tiff` says that the file is a TIFF, read without rasterio."""
    if bits > 8:
        raise ImageError(f"has {bits} bits a sample; {SCALE if tiff or bits > 16 else KEEP}")
