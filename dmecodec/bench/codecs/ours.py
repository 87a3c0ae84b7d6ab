"""dmecodec itself, called as a user calls it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from .codec import Codec


class Dmecodec(Codec):
    """Whole `.dmen` files through `dmecodec.encode` and `dmecodec.decode`.

    Args:
        qualities: its settings, 0 to 7.
        model: name or path of the model; None is the default one.
        device: where the transforms run.
    """

    name = "dmecodec"
    step = 1 / 32
    codes_all_bands = True

    def __init__(self, qualities: Sequence[float], model: str | Path | None, device: str) -> None:
        self.settings = tuple(sorted(qualities))
        self._model = model
        self._device = device

    def version(self) -> str:
        """See `Codec.version`."""
        from ... import __version__
        from ...weights import registry

        model = registry.find(self._model)
        return f"dmecodec {__version__}, code {_digest_of_code()}, model {model.id.hex()} on {self._device}"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        import dmecodec

        return dmecodec.encode(image, setting, alpha=False, bands="last", model=self._model, device=self._device)

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        import dmecodec

        return dmecodec.decode(data, model=self._model, device=self._device)


@cache
def _digest_of_code() -> str:
    """Changes with every line of the package but the bench: figures of other code must not be reused."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if "bench" not in path.relative_to(package).parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
