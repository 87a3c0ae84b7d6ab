"""Code every image of a folder with every codec and measure what comes back."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL

from .. import __version__
from ..errors import DependencyError, DmecodecError, ImageError, ModelError, OptionError
from ..images.headers import IMAGE_SUFFIXES
from ..images.open import open_source
from ..images.options import ReadOptions
from . import metrics
from .codecs import PEERS, PILLOW_CODECS, Codec, Dmecodec
from .report import LeftOut, Report
from .results import Measurement

Progress = Callable[[int, int, str], None]  # steps done, steps in all, what comes next


def run(
    folder: str | Path,
    *,
    qualities: Sequence[float] = tuple(range(8)),
    codecs: Sequence[str] = PEERS,
    model: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Report:
    """Measure dmecodec and other codecs on the images of a folder (not of folders within it).

    Every file is really made and decoded again, in memory; its length is what counts. Times are of
    one call each, from pixels to file and back, after one call to warm up. Grey images are coded as
    RGB; images with alpha, and those that cannot be read, are named in the report and left out, and
    so is a codec on an image where it fails.

    Args:
        folder: the images, or one image.
        qualities: dmecodec's, 0 to 7.
        codecs: the others, of `PEERS`.
        model: name or path of dmecodec's model; None for the default.
        device: where dmecodec runs.
        progress: called before each step with the steps done, their number, and the next one's
            name, and once at the end.

    Raises:
        OptionError: an unknown codec or no quality; a quality or device that dmecodec refuses.
        ImageError: no such folder, or no image in it that can be measured.
        ModelError: dmecodec's model cannot be had.
    """
    files = find_images(folder)
    contestants, left_out = _contestants(qualities, codecs, model, device)
    steps = _Steps(len(files) * sum(len(codec.settings) for codec in contestants), progress)
    measurements: list[Measurement] = []
    warm: set[str] = set()
    for file in files:
        try:
            image = load_rgb(file)
        except (DmecodecError, OSError, ValueError) as error:
            left_out.append(LeftOut(file.name, _reason(error).removeprefix(f"{file}: ")))
            steps.advance(sum(len(codec.settings) for codec in contestants))
            continue
        for codec in contestants:
            before = steps.done
            try:
                if codec.name not in warm:
                    _warm_up(codec, image)
                    warm.add(codec.name)
                measurements += list(_measure(codec, image, file.name, steps))
            except (DependencyError, ModelError, OptionError):
                raise  # it would be the same with every image
            except (DmecodecError, OSError, ValueError, RuntimeError, MemoryError) as error:
                left_out.append(LeftOut(f"{file.name} with {codec.name}", _reason(error)))
                steps.advance(before + len(codec.settings) - steps.done)
    steps.finish()
    if not measurements:
        first = left_out[0]
        raise ImageError(f"{folder}: nothing could be measured ({first.what}: {first.reason})")
    return Report(measurements, left_out, _environment(model, device))


def find_images(folder: str | Path) -> list[Path]:
    """The image files of a folder, by name, or the one file that was named."""
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file())
    if not files:
        raise ImageError(f"{folder}: no images in this folder")
    return files


def load_rgb(file: Path) -> np.ndarray:
    """The pixels of an image as uint8 (h, w, 3); grey ones three times.

    Raises:
        ImageError: it cannot be read, or has alpha, which not every codec keeps.
    """
    source = open_source(file, ReadOptions(geo=False))
    if source.mode not in ("L", "RGB"):
        what = "further bands or 16 bits" if source.mode == "BANDS" else "alpha"
        raise ImageError(f"{file}: has {what}, which not all codecs keep; remove it to compare them")
    pixels = source.pixels()
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


class _Steps:
    """Counts steps and reports them."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done = 0
        self._total = total
        self._progress = progress or (lambda done, total, what: None)

    def begin(self, what: str) -> None:
        self._progress(self.done, self._total, what)

    def advance(self, count: int = 1) -> None:
        self.done += count

    def finish(self) -> None:
        self._progress(self._total, self._total, "")


def _contestants(
    qualities: Sequence[float], codecs: Sequence[str], model: str | Path | None, device: str
) -> tuple[list[Codec], list[LeftOut]]:
    if not qualities:
        raise OptionError("no quality to measure at")
    contestants: list[Codec] = [Dmecodec(qualities, model, device)]
    left_out = []
    for name in dict.fromkeys(codecs):
        if name not in PILLOW_CODECS:
            raise OptionError(f"unknown codec {name!r}; known are {', '.join(PEERS)}")
        if PILLOW_CODECS[name].available():
            contestants.append(PILLOW_CODECS[name]())
        else:
            left_out.append(LeftOut(name, f"Pillow {PIL.__version__} here was built without it"))
    return contestants, left_out


def _warm_up(codec: Codec, image: np.ndarray) -> None:
    """The first call loads models and libraries, which the others do not pay for."""
    codec.decode(codec.encode(image, codec.settings[len(codec.settings) // 2]))


def _measure(codec: Codec, image: np.ndarray, name: str, steps: _Steps) -> Iterator[Measurement]:
    for setting in codec.settings:
        steps.begin(f"{name} {codec.name} {setting:g}")
        start = time.perf_counter()
        data = codec.encode(image, setting)
        encoded = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
        yield Measurement(
            image=name,
            width=image.shape[1],
            height=image.shape[0],
            codec=codec.name,
            setting=setting,
            size=len(data),
            psnr=metrics.psnr(image, decoded),
            ms_ssim=metrics.ms_ssim(image, decoded),
            encode_seconds=encoded - start,
            decode_seconds=end - encoded,
        )
        steps.advance()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _environment(model: str | Path | None, device: str) -> dict[str, str]:
    """What the times depend on."""
    from importlib.metadata import version

    return {
        "date": time.strftime("%Y-%m-%d"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "dmecodec": __version__,
        "torch": version("torch"),
        "pillow": PIL.__version__,
        "model": str(model or "default"),
        "device": device,
    }
