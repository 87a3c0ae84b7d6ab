"""dmecodec: a learned image codec for aerial and satellite imagery.

    import dmecodec
    data = dmecodec.encode("scene.png", quality=4)
    pixels = dmecodec.decode(data, window=(0, 0, 256, 256))

torch is imported when one of these is first used, not before.

From pixels to a file, folder by folder:

    images        files, arrays and GeoTIFFs as one kind of source; decoded pixels into files
    codec         tiles of pixels to latents and back: the encoder and the decoder
    network       the transforms, the hyperprior, means and scales
    restoration   the filter that is fitted to each tile
    bounded       what a bound on the error adds
    entropy       symbols to bytes
    format        the bytes of a .dmen file

Beside them: weights (models and where they are found), train, bench, batch (many files), cli, plugins.
docs/architecture.md has the picture.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import errors

if TYPE_CHECKING:
    from .api import File, decode, encode, latents, open, set_threads

__version__ = "0.1.0"
__all__ = ["File", "__version__", "decode", "encode", "errors", "latents", "open", "set_threads"]

_LAZY = {"File", "decode", "encode", "latents", "open", "set_threads"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(".api", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
