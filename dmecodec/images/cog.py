"""Decoded pixels into a GeoTIFF, block by block, and from there into a Cloud Optimized one."""

from __future__ import annotations

import base64
import mmap
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..base.boxes import Box
from ..base.files import hidden_name
from ..base.stderr import kept_back
from ..errors import FormatError, OptionError, OutputError
from ..format.geo import GeoRecord, Tags
from ..format.layout import Alpha, Layout
from .gdal import gdal, opened, rasterio_errors
from .metadata import Metadata
from .values import to_values

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
) -> None:
    """Decodes a window into a Cloud Optimized GeoTIFF, which takes the place of `target` when it is complete.

    Args:
        blocks: decodes the window: calls a function with column, row (from the window's corner) and the planes of each
            block.
        layout: of the bands.
        window: the part to decode, in pixels.
        record: what the file as a whole says of the ground.
        metadata: ICC profile and XMP.
        target: a name in a folder that has room for the raw pixels as well.
        profile: one of `PROFILES`.

    Raises:
        OutputError: GDAL cannot write it.
        FormatError: the `.dmen` file is damaged.
    """
    _check_room(target.parent, window.width * window.height * layout.raw_bytes)
    record = record.cut(window.col, window.row)
    with (
        kept_back(),
        _scratch(target.parent) as folder,
        gdal(GDAL_PAM_ENABLED="NO", GDAL_TIFF_INTERNAL_MASK="YES"),
    ):
        plain, cloud = folder / "plain.tif", folder / "cloud.tif"
        with _told():
            _write_plain(blocks, layout, window, record, metadata, plain)
            _copy_cloud(plain, cloud, profile, record)
            if _lodges(record):
                _dislodge(cloud)
            _read_back(cloud)
        cloud.replace(target)


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
def _told() -> Iterator[None]:
    """What GDAL complains of, as one line."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise OutputError("GDAL cannot write where a folder's name is no UTF-8") from error
    except rasterio_errors() as error:
        reason = " ".join(str(error.__cause__ or error).split())
        full = " (is the disk full?)" if "rite error" in reason else ""
        raise OutputError(f"cannot write the GeoTIFF: {reason}{full}") from error


def _write_plain(
    blocks: Blocks, layout: Layout, window: Box, record: GeoRecord, metadata: Metadata, path: Path
) -> None:
    """The pixels, uncompressed, and all that is said of them."""
    from rasterio.windows import Window

    bands = [n for n in range(layout.planes) if layout.alpha is not Alpha.MASK or n != layout.alpha_plane]
    with opened(path, "w", **_creation(layout, window, record, metadata)) as file:
        _write_record(file, layout, record, metadata)

        def write(col: int, row: int, planes: np.ndarray) -> None:
            place = Window(col, row, planes.shape[1], planes.shape[0])
            file.write(to_values(planes, layout)[..., bands].transpose(2, 0, 1), window=place)
            if layout.alpha is Alpha.MASK:
                file.write_mask(planes[..., layout.alpha_plane] > 0, window=place)

        blocks(write)
    if record.gcps:
        _settle_gcps(path, record)


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
        "photometric": "RGB" if _colours(layout, record)[:3] == ["red", "green", "blue"] else "MINISBLACK",
    }
    nodata, *others = layout.declared_nodata
    if any(repr(other) != repr(nodata) for other in others):  # NaN is unlike itself
        raise OutputError("its bands have different nodata values, of which a GeoTIFF holds one")
    if nodata is not None:
        options["nodata"] = nodata
    if layout.alpha is Alpha.BAND:
        options["alpha"] = "yes"
    if metadata.icc:
        options["source_icc_profile"] = base64.b64encode(metadata.icc).decode()
    return options


def _colours(layout: Layout, record: GeoRecord) -> list[str]:
    """Colour interpretation of each band: as it was, else what the mode says."""
    kept = [band.color or "undefined" for band in record.bands]
    if len(kept) == layout.image_bands:
        return kept
    usual = {1: ["gray"], 3: ["red", "green", "blue"]}.get(len(layout.bands))
    colours = usual or ["gray", *["undefined"] * (len(layout.bands) - 1)]
    if layout.alpha is Alpha.BAND:
        colours.insert(layout.alpha_at, "alpha")
    return colours


def _write_record(file: Any, layout: Layout, record: GeoRecord, metadata: Metadata) -> None:
    from affine import Affine
    from rasterio.enums import ColorInterp

    try:
        _write_tags(file, record.tags)  # first: AREA_OR_POINT says what a transform means
        crs = _crs(record.crs)
        if crs is not None:
            file.crs = crs
        if record.transform is not None:
            file.transform = Affine(*record.transform)
        if record.gcps:
            file.gcps = _points(record), _gcp_crs(record)
        # One that only another version of rasterio knows says nothing to this one.
        known = ColorInterp.__members__
        file.colorinterp = [known.get(name, ColorInterp.undefined) for name in _colours(layout, record)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError("damaged: the georeference makes no sense") from error
    if metadata.xmp:
        # rasterio writes "key=value", GDAL takes all of it for the packet.
        key, _, value = metadata.xmp.decode("utf-8", "replace").partition("=")
        file.update_tags(ns="xml:XMP", **{key: value})
    if len(record.bands) != layout.image_bands:
        return
    for n, band in enumerate(record.bands, 1):
        if band.description:
            file.set_band_description(n, band.description)
        lodged = {_LODGING: band.tags.get("", {})} if _lodges(record) else {}
        _write_tags(file, band.tags | lodged, n)
    file.units = [band.unit for band in record.bands]
    if any((band.scale, band.offset) != (1, 0) for band in record.bands):
        file.scales = [band.scale for band in record.bands]
        file.offsets = [band.offset for band in record.bands]


_NOT_FOR_RASTERIO = {"ns", "bidx"}
"""Keys of tags that its `update_tags` takes for arguments of its own: they cannot be written."""


def _write_tags(file: Any, tags: Tags, band: int = 0) -> None:
    for name, values in tags.items():
        kept = {key: value for key, value in values.items() if key not in _NOT_FOR_RASTERIO}
        file.update_tags(band, ns=name or None, **kept)


def _crs(wkt: str | None) -> Any:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return CRS.from_wkt(wkt) if wkt else None
    except CRSError as error:
        raise FormatError("damaged: the coordinate reference system makes no sense") from error


def _gcp_crs(record: GeoRecord) -> Any:
    """CRS of the control points; rasterio takes an empty one, but not None, for points without."""
    from rasterio.crs import CRS

    return _crs(record.gcp_crs) or CRS()


def _points(record: GeoRecord, shift: tuple[float, float] = (0.0, 0.0)) -> list[Any]:
    from rasterio.control import GroundControlPoint

    down, right = shift
    return [GroundControlPoint(row - down, col - right, x, y, z) for row, col, x, y, z in record.gcps]


def _settle_gcps(path: Path, record: GeoRecord) -> None:
    """Moves control points back where GDAL has moved them: with AREA_OR_POINT=Point it does, by a pixel."""

    with opened(path, "r+") as file:
        found = file.gcps[0][0]
        row, col, *_ = record.gcps[0]
        shift = round(2 * (found.row - row)) / 2, round(2 * (found.col - col)) / 2
        if any(shift):
            file.gcps = _points(record, shift), _gcp_crs(record)


def _has_namespaces(record: GeoRecord) -> bool:
    """Whether there are tags in namespaces that GDAL does not know, and copies only when asked for."""
    of_bands = {name for band in record.bands for name in band.tags}
    return bool((set(record.tags) | of_bands) - {"", "RPC"})


_LODGING = "dmecodec-5f0a9d6c41e27b38"
"""A namespace for the tags of bands that have none, on the way: asked for namespaces, GDAL leaves out these."""


def _lodges(record: GeoRecord) -> bool:
    return _has_namespaces(record) and any("" in band.tags for band in record.bands)


def _dislodge(path: Path) -> None:
    """Takes that namespace out of the tags, where they stand: blanks in its place leave the layout as it is."""
    attribute = f' domain="{_LODGING}"'.encode()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        start = data.find(attribute)
        end = data.find(b"</GDALMetadata>", start)
        while -1 < start < end:
            data[start : start + len(attribute)] = b" " * len(attribute)
            start = data.find(attribute, start, end)


def _copy_cloud(plain: Path, cloud: Path, profile: str, record: GeoRecord) -> None:
    import rasterio.shutil

    rasterio.shutil.copy(
        str(plain),
        str(cloud),
        driver="COG",
        BLOCKSIZE=str(BLOCK),
        OVERVIEW_RESAMPLING="AVERAGE",
        BIGTIFF="IF_SAFER",
        COPY_SRC_MDD="YES" if _has_namespaces(record) else "AUTO",
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
