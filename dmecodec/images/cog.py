"""Decoded pixels into a GeoTIFF, block by block, and from there into a Cloud Optimized one."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..base.boxes import Box
from ..base.files import companion, hidden_name
from ..base.stderr import suppressed_stderr
from ..errors import OptionError, OutputError
from ..format.geo import GeoRecord
from ..format.layout import Alpha, Layout
from .check_record import in_words, missing
from .gdal import PIXELS_ALONE, copied, gdal, has_driver, one_line, opened, rasterio_errors, without_driver
from .metadata import Metadata
from .pam import AUX_XML, aux_xml
from .read_record import read_record
from .stand_ins import has_namespaces, put_right
from .values import to_values
from .write_record import color_names, settle_gcps, storable, write_record

DEFAULT_PROFILE = "deflate"
PROFILES: dict[str, dict[str, str]] = {
    "deflate": {"COMPRESS": "DEFLATE", "PREDICTOR": "YES"},
    "zstd": {"COMPRESS": "ZSTD", "PREDICTOR": "YES"},
    "lzw": {"COMPRESS": "LZW", "PREDICTOR": "YES"},
    "lzma": {"COMPRESS": "LZMA"},
    "webp": {"COMPRESS": "WEBP", "QUALITY": "100"},  # 100 is lossless
    "jpeg": {"COMPRESS": "JPEG", "QUALITY": "90"},
    "raw": {"COMPRESS": "NONE"},
}
"""How the pixels of a GeoTIFF are compressed: options of GDAL's COG driver. All but jpeg are lossless."""
BLOCK = 512
_MASK = ".msk"
_OPAQUE = 255
Blocks = Callable[[Callable[[int, int, np.ndarray], None]], None]


def check_profile(profile: str | None, layout: Layout) -> str:
    """The profile, the default one for None.

    Raises:
        OptionError: there is no such profile.
        OutputError: it cannot hold these bands.
    """
    profile = profile or DEFAULT_PROFILE
    if profile not in PROFILES:
        raise OptionError(f"profile {profile!r}: must be one of {', '.join(PROFILES)}")
    bands = layout.image_bands
    possible = {"jpeg": (1, 3, 4) if layout.alpha is Alpha.BAND else (1, 3), "webp": (3, 4)}
    if profile in possible and (layout.depth != 8 or bands not in possible[profile]):
        raise OutputError(f"profile {profile} cannot hold {bands} bands of {layout.sample_words}; use deflate")
    if profile == "jpeg" and any(band.nodata is not None for band in layout.bands):
        raise OutputError("profile jpeg would change which samples are nodata, for it is lossy; use deflate or webp")
    return profile


def write_geotiff(
    blocks: Blocks,
    layout: Layout,
    window: Box,
    record: GeoRecord,
    metadata: Metadata,
    target: Path,
    profile: str,
) -> list[str]:
    """Decodes a window into a Cloud Optimized GeoTIFF, which takes the place of `target` when it is complete.

    What a GeoTIFF cannot hold goes into `.aux.xml` beside it, and a mask with partial values into `.msk`: both are
    companions of the target (see :func:`dmecodec.base.files.companion`).

    Args:
        blocks: decodes the window: calls a function with column, row (from the window's corner) and the planes of each
            block.
        layout: of the bands.
        window: the part to decode, in pixels.
        record: what the file as a whole says of the ground.
        metadata: ICC profile and XMP.
        target: a name in a folder that has room for the raw pixels as well.
        profile: one of `PROFILES`.

    Returns:
        What is left out, in words.

    Raises:
        OutputError: GDAL cannot write it.
        FormatError: the `.dmen` file is damaged.
    """
    pixel = layout.raw_bytes + (layout.alpha is Alpha.MASK)
    _check_room(target.parent, window.width * window.height * pixel)
    record, left_out = storable(record.cut(window.col, window.row))
    with (
        suppressed_stderr(),
        _scratch(target.parent) as folder,
        gdal(GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK="YES"),
        _gdal_errors(),
    ):
        _check_drivers()
        plain, cloud = folder / "plain.tif", folder / "cloud.tif"
        mask = _write_plain(blocks, layout, window, record, metadata, plain)
        _copy_cloud(plain, cloud, profile, record)
        put_right(cloud, record)
        if mask is not None:
            _copy_mask(mask, companion(cloud, _MASK))
        _read_back(cloud)
        left_out += _write_rest(cloud, record)
        for ending in (AUX_XML, _MASK):
            beside = companion(cloud, ending)
            if beside.is_file():
                beside.replace(companion(target, ending))
        cloud.replace(target)
    return left_out


def write_empty(layout: Layout, window: Box, record: GeoRecord, metadata: Metadata, path: Path) -> None:
    """Writes a BigTIFF with all that is said of the pixels, and none of them.

    Raises:
        OutputError: GDAL cannot write it.
        FormatError: the record makes no sense.
    """
    record, _ = storable(record)
    options = _creation(layout, window, record, metadata) | {"bigtiff": "YES", "endianness": "LITTLE"}
    with suppressed_stderr(), gdal(GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK="YES"), _gdal_errors():
        _check_drivers()
        with opened(path, "w", **options, sparse_ok=True) as file:
            write_record(file, layout, record, metadata)
        if record.gcps and not record.transform:
            settle_gcps(path, record)
        put_right(path, record)


def _check_drivers() -> None:
    for name in ("GTiff", "COG"):
        if not has_driver(name):
            raise OutputError(f"{without_driver(name)}, which writes GeoTIFFs{PIXELS_ALONE}")


def _check_room(folder: Path, raw: int) -> None:
    """Refuses what would fill the disk, before any work: the pixels stand there once without compression."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # writing will tell
    if free < raw:
        raise OutputError(f"{folder}: not enough room; the pixels take {raw} bytes on the way, {free} are free")


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A hidden folder for files on the way."""
    folder = hidden_name(parent)
    try:
        folder.mkdir(0o700)
    except OSError as error:
        raise OutputError(f"{parent}: cannot write in this folder ({error.strerror})") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _gdal_errors() -> Iterator[None]:
    """What GDAL complains of, as one line."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise OutputError("GDAL cannot write where a folder's name is no UTF-8") from error
    except rasterio_errors() as error:
        reason = one_line(error)
        full = " (is the disk full?)" if "rite error" in reason else ""
        raise OutputError(f"cannot write the GeoTIFF: {reason}{full}") from error


def _write_plain(
    blocks: Blocks, layout: Layout, window: Box, record: GeoRecord, metadata: Metadata, path: Path
) -> Path | None:
    """The pixels, uncompressed, and all that is said of them.

    Returns:
        The mask, where it has partial values, of which the mask inside a TIFF has none.
    """
    from rasterio.windows import Window

    bands = [n for n in range(layout.planes) if layout.alpha is not Alpha.MASK or n != layout.alpha_plane]
    is_partial = False
    with opened(path, "w", **_creation(layout, window, record, metadata)) as file, ExitStack() as stack:
        write_record(file, layout, record, metadata)
        mask = stack.enter_context(_new_mask(path, layout, window)) if layout.alpha is Alpha.MASK else None

        def write(col: int, row: int, planes: np.ndarray) -> None:
            nonlocal is_partial
            place = Window(col, row, planes.shape[1], planes.shape[0])
            file.write(to_values(planes, layout)[..., bands].transpose(2, 0, 1), window=place)
            if mask is not None:
                values = planes[..., layout.alpha_plane].astype(np.uint8)
                is_partial = is_partial or bool(((values > 0) & (values < _OPAQUE)).any())
                mask.write(values, 1, window=place)

        blocks(write)
    if record.gcps and not record.transform:
        settle_gcps(path, record)
    return companion(path, _MASK).rename(path.with_name("mask.tif")) if is_partial else None


def _new_mask(path: Path, layout: Layout, window: Box) -> Any:
    """A mask beside a TIFF, of bytes, for all its bands."""
    options = {"width": window.width, "height": window.height, "count": 1, "dtype": "uint8", "bigtiff": "IF_SAFER"}
    tiles = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    mask = opened(companion(path, _MASK), "w", driver="GTiff", **options, **tiles)
    mask.update_tags(**{f"INTERNAL_MASK_FLAGS_{n + 1}": "2" for n in range(layout.image_bands)})
    return mask


def _copy_mask(mask: Path, target: Path) -> None:
    copied(str(mask), target, "GTiff", COMPRESS="DEFLATE", TILED="YES", BIGTIFF="IF_SAFER")


def _write_rest(cloud: Path, record: GeoRecord) -> list[str]:
    """Writes what the TIFF does not say into `.aux.xml`; returns what that does not say either, in words."""
    lacking = _lacking(cloud, record)
    if not in_words(lacking):
        return []
    companion(cloud, AUX_XML).write_bytes(aux_xml(lacking))
    with gdal(GDAL_PAM_ENABLED="YES"):
        return in_words(_lacking(cloud, record))


def _lacking(path: Path, record: GeoRecord) -> GeoRecord:
    with opened(path) as file:
        return missing(record, read_record(file))


def _creation(layout: Layout, window: Box, record: GeoRecord, metadata: Metadata) -> dict[str, Any]:
    """Options of a new GeoTIFF, those of the format and those that GDAL must know from the start."""
    options: dict[str, Any] = {
        "driver": "GTiff",
        "width": window.width,
        "height": window.height,
        "count": layout.image_bands,
        "dtype": layout.value_type,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "pixel",
        "bigtiff": "IF_SAFER",
        "photometric": "RGB" if color_names(layout, record)[:3] == ["red", "green", "blue"] else "MINISBLACK",
    }
    nodata, *others = layout.declared_nodata
    if any(repr(other) != repr(nodata) for other in others):  # NaN is unlike itself
        raise OutputError("its bands have different nodata values, of which a GeoTIFF holds one")
    unusable = [band.nodata for band in record.bands if band.nodata is not None]
    if nodata is not None or unusable:
        options["nodata"] = float(unusable[0]) if nodata is None else nodata
    if layout.alpha is Alpha.BAND:
        options["alpha"] = "yes"
    if metadata.icc:
        options["source_icc_profile"] = base64.b64encode(metadata.icc).decode()
    return options


def _copy_cloud(plain: Path, cloud: Path, profile: str, record: GeoRecord) -> None:
    copied(
        str(plain),
        cloud,
        "COG",
        BLOCKSIZE=str(BLOCK),
        OVERVIEW_RESAMPLING="AVERAGE",
        BIGTIFF="IF_SAFER",
        COPY_SRC_MDD="YES" if has_namespaces(record) else "AUTO",
        **PROFILES[profile],
    )


def _read_back(path: Path) -> None:
    """Reads everything: GDAL does not tell of what it fails to write as it closes a file, on a full disk."""
    from rasterio.enums import MaskFlags

    with opened(path) as file:
        overviews = range(len(file.overviews(1)))
    for level in (None, *overviews):
        chosen = {} if level is None else {"overview_level": level}
        with opened(path, **chosen) as file:
            own_mask = any(flags == [MaskFlags.per_dataset] for flags in file.mask_flag_enums)
            for _, window in file.block_windows(1):
                file.read(window=window)
                if own_mask:
                    file.read_masks(1, window=window)
