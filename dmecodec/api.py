"""The library: images to bytes and back. The command line does nothing that is not here."""

from __future__ import annotations

import io
import os
from contextlib import closing
from typing import BinaryIO

import numpy as np

from .base.device import pick_device
from .base.threads import set_threads
from .codec.encoder import Encoded, Encoder
from .codec.flat import keep_flat
from .codec.options import DEFAULT_EFFORT, EncodeOptions
from .codec.search import search
from .errors import OptionError
from .file import Device, File, ModelName, Window, open
from .format.limits import DEFAULT_TILE
from .images.open import open_source
from .images.options import ReadOptions
from .weights import model as weights
from .weights import registry
from .weights.model import Model


def encode(
    image: object,
    quality: float | None = None,
    *,
    bpp: float | None = None,
    psnr: float | None = None,
    max_error: int | None = None,
    model: ModelName = None,
    device: Device = "auto",
    tile: int = DEFAULT_TILE,
    effort: int = DEFAULT_EFFORT,
    nodata: float | None = None,
    scale: tuple[float, float] | str | None = None,
    alpha: bool | None = None,
    bands: str | None = None,
    geo: bool = True,
) -> bytes:
    """Compresses an image.

    Args:
        image: a path, a binary file, a Pillow image, or an array (h, w) or (h, w, bands) of numbers, with at most
            64 bands and alpha: numpy's, or what `np.asarray` makes one of (Dask, xarray, torch).
        quality: 0 (smallest) to 7 (best), in steps of 1/32. None is 4, or what suits `max_error`.
        bpp: bits per pixel of the whole file to aim at, instead of a quality: within 2 %, if some quality gives
            less and some more.
        psnr: dB over all colour samples to aim at, instead of a quality: within 0.1 dB, likewise.
        max_error: levels that no valid sample is farther off than, 0 for lossless; the file then
            decodes to the same pixels on every device. In files of mode BANDS what lies under alpha
            0, a mask or nodata is not valid, and not kept.
        model: name or path of a model; None is the default one.
        device: "auto", "cpu", "cuda", "cuda:N", "mps" or a torch.device.
        tile: side of a tile in pixels, a multiple of 64 up to 2048.
        effort: 0 rounds latents plainly; 1 rounds them for rate and distortion, and fits a restoration
            filter to each tile (of 192 pixels at least, if there are others); 2 first improves the
            latents by gradient descent, minutes a megapixel on a CPU. With `max_error` there is
            rounding alone.
        nodata: the value of samples that are not valid; they come back exactly. None is what a file says of itself.
        scale: of uint16, the two samples that stand for black and white to the network; None takes each band's own
            range. What lies beyond is cut off. Of float and of integers of other types, which are coded as 16 bits:
            the lowest and the highest value, or "auto" for each band's own; what lies beyond is refused. int8 and
            int16 need none. `max_error` counts steps of a 65534th of that range; NaN, an infinity and nodata come
            back exactly, if a band has one of them.
        alpha: of an array, whether its last band is alpha, which is kept without loss; None says so
            of 2 or 4 bands of uint8.
        bands: of an array, the axis that holds the bands: "last", or "first" for (bands, h, w). None is "last", and
            refuses an array whose first axis is at most 64 and smaller than both others.
        geo: whether a file is read with georeference, nodata and tags; False takes its pixels alone.

    Returns:
        The bytes of a `.dmen` file.

    Raises:
        ImageError: the image cannot be read or would lose something silently.
        OptionError: an option is out of its range, or the target is.
        ModelError: no such model.
        DependencyError: a GeoTIFF needs rasterio, which is not installed.
    """
    options = EncodeOptions.checked(quality, bpp=bpp, psnr=psnr, max_error=max_error, effort=effort, tile=tile)
    reading = ReadOptions.checked(nodata=nodata, scale=scale, alpha=alpha, bands=bands, geo=geo)
    return encode_image(image, load_model(model, device), options, reading).data


def load_model(model: ModelName = None, device: Device = "auto") -> Model:
    """The model that :func:`encode` uses; loaded once a process.

    Raises:
        OptionError: no such device, or `model` is neither a name nor a path.
        ModelError: no such model.
    """
    return weights.load(registry.find(model), pick_device(device))


def encode_image(image: object, model: Model, options: EncodeOptions, reading: ReadOptions) -> Encoded:
    """As :func:`encode`, from options that are checked and a model that is loaded; tells what the file holds.

    Raises:
        ImageError, OptionError, DependencyError: as :func:`encode`.
    """
    with closing(open_source(image, reading)) as source:
        encoder = Encoder(source, model, options)
        return search(encoder) if options.has_target else keep_flat(encoder, encoder.encode(options.quality))


def decode(
    data: bytes,
    *,
    window: Window | None = None,
    reduce: int = 0,
    device: Device = "auto",
    model: ModelName = None,
) -> np.ndarray:
    """Decompresses an image, or one window of it.

    Args:
        data: the bytes of a `.dmen` file.
        window: (col, row, width, height) in pixels of the whole image; None is all of it.
        reduce: 0 to 5. The result has one pixel in 2^reduce along each axis: those that the window touches,
            `ceil((col + width) / 2^reduce) - floor(col / 2^reduce)` columns. Each is the mean of the valid pixels
            that it covers, of the linear path of the network; masks by majority. `max_error` holds at 0 alone.
        device: as for :func:`encode`; the latents are the same on every one.
        model: path of the model where it is not in a known folder.

    Returns:
        An array of the image's type, (height, width, bands), or (height, width) for a single band. Samples that are
        not valid have the image's nodata value.

    Raises:
        FormatError: the data is damaged, truncated, or of a newer version.
        ModelError: the model that it was made with is not here.
        OptionError: the window is not inside the image, there is no such `reduce`, or `data` is no bytes.
    """
    with File(_in_memory(data), device=device, model=model) as file:
        return file.read(window, reduce=reduce)


def latents(data: bytes, *, device: Device = "auto", model: ModelName = None) -> tuple[np.ndarray, np.ndarray]:
    """What the decoder gets bit for bit on every device.

    Returns:
        y-hat, int32 (M, ceil(height / 16), ceil(width / 16)), in counts of 1/16 of a step, and
        z-hat, int32 (N, ceil(height / 64), ceil(width / 64)); of an image of several band groups,
        the channels of group after group.

    Raises:
        FormatError, ModelError: as :func:`decode`.
    """
    with File(_in_memory(data), device=device, model=model) as file:
        return file.latents()


def _in_memory(data: bytes) -> BinaryIO:
    if isinstance(data, (str, os.PathLike)):
        raise OptionError("give the bytes of the file, or open it by its path with dmecodec.open")
    if data is None:  # which BytesIO takes for no bytes
        raise OptionError("give the bytes of a .dmen file, not NoneType")
    try:
        return io.BytesIO(data)
    except (TypeError, BufferError):
        raise OptionError(f"give the bytes of a .dmen file, not {type(data).__name__}") from None
    except ValueError:
        raise OptionError("the bytes of the .dmen file are not contiguous in memory") from None


__all__ = ["File", "decode", "encode", "latents", "open", "set_threads"]
