"""What becomes of a folder of images: each file is coded and decoded, and compared with itself through other libraries.

    python tests/corpus.py FOLDER              # every file in it and below it; exit status 1 if any is wrong
    python tests/corpus.py FOLDER --model tiny # with another model than the default one

For each file it prints "passed", "refused by name" with the reason, or "wrong" with what differs. Pixels and alpha are
compared through Pillow where rasterio has read them, and the reverse, where both can; geodata through plain rasterio.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image

import dmecodec
from dmecodec.errors import DmecodecError
from dmecodec.images.metadata import Metadata

PASSED, REFUSED, WRONG = "passed", "refused by name", "wrong"
SIDECARS = (".msk", ".aux.xml", ".aux", ".ovr", ".tfw", ".wld", ".tab", ".txt", ".xml", ".rpc", ".rpb", ".imd")
LOSSY = ("jpeg", "webp", "jxl", "lerc")
OWN_NAMESPACES = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "COLOR_PROFILE", "xml:XMP", "EXIF"}
MIN_PSNR = 15.0
"""dB of valid pixels at quality 5 that any image reaches, with the small model of the tests as well, where it is not
noise: there it must be closer to the image than the mean of all its pixels is."""


@dataclass
class Verdict:
    """What became of one file."""

    path: Path
    state: str
    reasons: list[str] = field(default_factory=list)
    psnr: float | None = None

    def __str__(self) -> str:
        level = "" if self.psnr is None else f" ({self.psnr:.1f} dB)"
        return f"{self.state}{level}: {self.path}" + "".join(f"\n    {reason}" for reason in self.reasons)


def examine(path: Path, model: str | None = None) -> Verdict:
    """Codes one file without loss and with loss, decodes it, and compares."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", dmecodec.errors.LossWarning)
        try:
            coded = Path(folder) / "a.dmen"
            coded.write_bytes(dmecodec.encode(path, max_error=0, effort=0, model=model))
        except DmecodecError as error:
            return _refusal(path, str(error))
        except Exception:
            return Verdict(path, WRONG, [traceback.format_exc(limit=-3)])
        try:
            back = Path(folder) / "back.tif"
            with dmecodec.open(coded) as file:
                file.save(back)
                metadata, mode = file.metadata, file.header.mode
            left_out = [str(warning.message) for warning in caught]
            wrong = [*_pixels_differ(path, back), *_geodata_differ(path, back, left_out)]
            wrong += _metadata_differ(path, metadata)
            psnr, floor = _psnr(path, model, mode)
        except Exception:
            return Verdict(path, WRONG, [traceback.format_exc(limit=-3)])
    if psnr is not None and psnr < min(MIN_PSNR, floor):
        wrong.append(f"{psnr:.1f} dB at quality 5")
    return Verdict(path, WRONG if wrong else PASSED, wrong + left_out, psnr)


def _refusal(path: Path, message: str) -> Verdict:
    """A refusal is right where it is one line, names the file, and calls no whole file damaged."""
    faults = ["its message has several lines"] if "\n" in message else []
    faults += [] if str(path) in message else ["its message does not name the file"]
    if "damaged" in message and (_by_pillow(path) is not None or _by_rasterio(path) is not None):
        faults.append("called damaged, but another library reads it")
    return Verdict(path, WRONG if faults else REFUSED, [*faults, message])


# ---- pixels ----------------------------------------------------------------------------------------


def _by_pillow(path: Path) -> np.ndarray | None:
    """(height, width, bands) of an image that Pillow reads as it is, its palette and colour key resolved."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.format == "TIFF" and image.mode in ("LA", "La") and image.tag_v2.get(284) == 2:  # type: ignore
                return None  # grey and alpha in separate planes: its alpha is 0
            if image.format == "TIFF" and 0 in (*image.tag_v2.get(273, ()), *image.tag_v2.get(324, ())):  # type: ignore
                return None  # a sparse file, whose absent parts Pillow fills from the header
            if image.mode in ("P", "PA") or "transparency" in image.info:
                keyed = image.has_transparency_data
                image = image.convert(
                    ("LA" if keyed else "L") if image.mode in ("L", "1") else "RGBA" if keyed else "RGB"
                )
            if image.mode == "1":
                image = image.convert("L")
            if image.mode not in ("L", "LA", "RGB", "RGBA"):
                return None
            pixels = np.asarray(image)
    except Exception:
        return None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _by_rasterio(path: Path) -> np.ndarray | None:
    """(height, width, bands), a palette resolved; None where its samples are a matter of the library."""
    try:
        with rasterio.open(path) as file:
            structure = file.tags(ns="IMAGE_STRUCTURE")
            if "MINISWHITE" in structure or file.driver in ("JPEG", "WEBP"):
                return None
            pixels = file.read().transpose(1, 2, 0)
            if file.colorinterp[0].name == "palette":
                try:
                    table = np.zeros((256, 4), np.uint8)
                    for index, colour in file.colormap(1).items():
                        table[index] = colour
                except ValueError:
                    return pixels
                if file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1":
                    return None
                return table[pixels[..., 0]]
            if "NBITS" in file.tags(1, ns="IMAGE_STRUCTURE") and pixels.dtype == np.uint8:
                return None
            return pixels
    except Exception:
        return None


def _pixels_differ(path: Path, back: Path) -> Iterator[str]:
    """Compares valid pixels with both libraries' reading of the original, as far as the shapes agree."""
    with rasterio.open(back) as file:
        decoded = file.read().transpose(1, 2, 0)
        valid = file.dataset_mask() > 0
    compared = 0
    for name, original in (("Pillow", _by_pillow(path)), ("rasterio", _by_rasterio(path))):
        if original is None or original.shape[:2] != decoded.shape[:2]:
            continue
        if original.shape[2] == 4 and decoded.shape[2] == 3 and _is_palette(path):
            original = original[..., :3]
        if original.shape != decoded.shape or original.dtype != decoded.dtype:
            continue
        compared += 1
        if name == "Pillow" and _is_lossy(path):
            continue
        if not np.array_equal(original[valid], decoded[valid]):
            yield f"pixels differ from those that {name} reads"
        elif original.shape[2] in (2, 4) and not np.array_equal(original[..., -1], decoded[..., -1]):
            yield f"alpha differs from that which {name} reads"
    if not compared:
        yield "no library reads an image of this shape out of the original"


def _is_palette(path: Path) -> bool:
    with rasterio.open(path) as file:
        return file.colorinterp[0].name == "palette"


def _is_lossy(path: Path) -> bool:
    """Whether two decoders may differ by a level."""
    try:
        with rasterio.open(path) as file:
            return file.compression is not None and file.compression.name in LOSSY
    except rasterio.errors.RasterioError:
        return False


def _psnr(path: Path, model: str | None, mode: str) -> tuple[float | None, float]:
    """dB of valid samples at quality 5, over the range of the type or of the samples; and those of their mean."""
    exact = dmecodec.decode(dmecodec.encode(path, max_error=0, effort=0, model=model))
    data = dmecodec.encode(path, 5, effort=0, model=model)
    lossy = dmecodec.decode(data)
    valid = np.ones(exact.shape, bool)
    if mode in ("LA", "RGBA"):
        valid &= exact[..., -1:] > 0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.dmen").write_bytes(data)
        with dmecodec.open(Path(folder) / "a.dmen") as file:
            values = [band.nodata for band in file.layout.bands]
    if values[0] is not None:
        valid &= exact != values[0]
    if not valid.any():
        return None, 0.0
    peak = 255 if exact.dtype == np.uint8 else max(1, int(np.ptp(exact[valid])))
    error = np.square(exact[valid].astype(float) - lossy[valid]).mean()
    levels = [float(10 * np.log10(peak**2 / max(value, 1e-9))) for value in (error, exact[valid].astype(float).var())]
    return levels[0], levels[1]


# ---- what is said of the pixels ----------------------------------------------------------------------


def _geodata_differ(path: Path, back: Path, left_out: list[str]) -> list[str]:
    """Compares through plain rasterio, its settings at their defaults."""
    try:
        original = rasterio.open(path)
    except rasterio.errors.RasterioError:
        return []
    with original as a, rasterio.open(back) as b:
        is_plain = not (a.crs or a.gcps[0] or a.tags(ns="RPC") or not a.transform.is_identity)
        if a.driver == "PNM" or (is_plain and a.driver != "GTiff"):
            return []
        wrong = [name for name in ("width", "height") if getattr(a, name) != getattr(b, name)]
        wrong += _place_differs(a, b, " ".join(left_out))
        wrong += _tags_differ(a.tags, a.tag_namespaces, b.tags, "")
        wrong += _validity_differs(a, b)
        return [*wrong, *(_bands_differ(a, b) if a.count == b.count else _count_differs(a, b))]


def _place_differs(a: Any, b: Any, left_out: str) -> Iterator[str]:
    if a.crs != b.crs and "CRS" not in left_out:
        yield f"CRS {a.crs} became {b.crs}"
    if not a.transform.almost_equals(b.transform, 1e-9 * max(1.0, *map(abs, a.transform))):
        yield f"transform {tuple(a.transform)[:6]} became {tuple(b.transform)[:6]}"
    points = [[(p.row, p.col, p.x, p.y, p.z or 0) for p in file.gcps[0]] for file in (a, b)]
    if not (len(points[0]) == len(points[1]) and np.allclose(*points)) and "control points" not in left_out:
        yield f"{len(points[0])} control points became {len(points[1])}"


def _tags_differ(tags: Any, namespaces: Any, found: Any, of: str, *arguments: int) -> Iterator[str]:
    for name in {"", *namespaces(*arguments)} - OWN_NAMESPACES:
        if name.startswith("xml:gml."):
            continue
        after = found(*arguments, ns=name or None)
        for key, value in tags(*arguments, ns=name or None).items():
            if key.startswith("STATISTICS_") or key == "METADATATYPE" or after.get(key) == value:
                continue
            if name == "RPC" and key in after and _numbers(value) == _numbers(after[key]):
                continue
            if name.startswith("xml:") and key in after:
                continue
            yield f"tag {name}:{key}{of} {value[:40]!r} became {str(after.get(key))[:40]!r}"


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split() if word.replace("e", "").strip("+-.0123456789") == ""]


def _validity_differs(a: Any, b: Any) -> Iterator[str]:
    if a.count == b.count and a.nodatavals != b.nodatavals:
        yield f"nodata {a.nodatavals} became {b.nodatavals}"
    if not np.array_equal(a.dataset_mask(), b.dataset_mask()):
        yield "the mask differs"


def _bands_differ(a: Any, b: Any) -> Iterator[str]:
    for name in ("dtypes", "scales", "offsets", "units"):
        if getattr(a, name) != getattr(b, name):
            yield f"{name} {getattr(a, name)} became {getattr(b, name)}"
    if _descriptions(a) != _descriptions(b):
        yield f"descriptions {_descriptions(a)} became {_descriptions(b)}"
    before, after = ([color.name for color in file.colorinterp] for file in (a, b))
    if [name.replace("palette", "gray") for name in before] != after:
        yield f"colours {before} became {after}"
    for n in a.indexes:
        yield from _tags_differ(a.tags, a.tag_namespaces, b.tags, f" of band {n}", n)


def _descriptions(file: Any) -> tuple[str | None, ...] | str:
    try:
        return file.descriptions
    except UnicodeDecodeError as error:
        return repr(error.object)


def _count_differs(a: Any, b: Any) -> Iterator[str]:
    resolved = a.colorinterp[0].name == "palette" or a.nodata is not None
    if not resolved:
        yield f"{a.count} bands became {b.count}"
    elif a.colorinterp[0].name == "palette":
        for n in range(1, 4):
            lost = set(a.tags(1).items()) - set(b.tags(n).items())
            if {key for key, _ in lost if not key.startswith("STATISTICS_")}:
                yield f"tags of the palette {lost} are not in band {n}"


def _metadata_differ(path: Path, kept: Metadata) -> Iterator[str]:
    """ICC profile and EXIF, as Pillow reads them."""
    try:
        with Image.open(path) as image:
            image.load()
            icc, exif, format = image.info.get("icc_profile"), image.info.get("exif"), image.format
    except Exception:
        return
    if icc and icc != kept.icc:
        yield "the ICC profile differs"
    if exif and format != "TIFF" and exif.removeprefix(b"Exif\0\0") != kept.exif:
        yield "EXIF differs"


# ---- a folder ----------------------------------------------------------------------------------------


def images_in(folder: Path) -> Iterator[Path]:
    """Every file that is no sidecar."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.lower().endswith(SIDECARS) and not _is_world_file(path):
            yield path


def _is_world_file(path: Path) -> bool:
    return path.suffix.lower().endswith("w") and path.suffix.lower() not in (".raw",)


def main() -> int:
    """Prints a verdict for each file, and how many there are of each kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for path in images_in(options.folder):
        verdict = examine(path, options.model)
        counts[verdict.state] += 1
        print(verdict, flush=True)
    print(", ".join(f"{counts[state]} {state}" for state in (PASSED, REFUSED, WRONG)))
    return 1 if counts[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
