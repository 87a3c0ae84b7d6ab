"""rasterio, imported when it is needed, and GDAL as we want it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ..base.fork import Lock
from ..errors import DependencyError

INSTALL = 'pip install "dmecodec[geo]"'
CACHE_BYTES = 128 << 20
"""Blocks that GDAL may keep: enough for a row of tiles of a wide striped file. Its own default is 5 % of the memory."""


def is_installed() -> bool:
    """Whether rasterio can be imported, without doing so."""
    return find_spec("rasterio") is not None


PIXELS_ALONE = ", or add --no-geo for the pixels alone"
"""What may be done instead where nothing but the georeference would be lost."""

_DEFAULTS = {
    "ESRI_XML_PAM": "NO",
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    "GDAL_GEOREF_SOURCES": "PAM,INTERNAL,TABFILE,WORLDFILE,XML",
    "GDAL_IGNORE_AXIS_ORIENTATION": "NO",
    "GDAL_JP2K_ALT_OFFSETVECTOR_ORDER": "NO",
    "GDAL_JPEG_TO_RGB": "YES",
    "GDAL_PAM_ENABLED": "YES",
    "GDAL_READDIR_LIMIT_ON_OPEN": "1000",
    "GDAL_TIFF_INTERNAL_MASK_TO_8BIT": "YES",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GTIFF_REPORT_COMPD_CS": "YES",
    "TIFF_USE_OVR": "NO",
}
"""GDAL's own defaults of the settings that change what it reports of a file. A user's environment may say otherwise,
for example `GDAL_DISABLE_READDIR_ON_OPEN=EMPTY_DIR`, which hides every sidecar."""


def need_rasterio(what: str, *, otherwise: str = "") -> ModuleType:
    """rasterio, or one line that says how to get it.

    Raises:
        DependencyError: it is not installed; `what` says what needs it, `otherwise` what else may be done.
    """
    try:
        import rasterio
    except ImportError as error:
        raise DependencyError(f"{what} rasterio: {INSTALL}{otherwise}") from error
    return rasterio


def opened(path: str | os.PathLike[str], mode: str = "r", **options: object) -> Any:
    """`rasterio.open` without its warning that a file has no transform."""
    import rasterio

    with quiet():
        return rasterio.open(path, mode, **options)


def copied(source: Any, target: str | os.PathLike[str], driver: str, **options: str) -> None:
    """`rasterio.shutil.copy` of a path or an open dataset, without its warnings."""
    import rasterio.shutil

    with quiet():
        rasterio.shutil.copy(source, os.fspath(target), driver=driver, **options)


@contextmanager
def quiet() -> Iterator[None]:
    """No Python warnings, such as NotGeoreferencedWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def has_driver(name: str) -> bool:
    """Whether this GDAL has a driver; `GDAL_SKIP` in the environment takes drivers away."""
    import rasterio

    with rasterio.Env() as env:
        return name in env.drivers()


def without_driver(name: str) -> str:
    """What to say where there is no such driver."""
    skipped = "GDAL_SKIP" in os.environ
    return f"GDAL has no driver {name} here" + (" (GDAL_SKIP is set in the environment)" if skipped else "")


def one_line(error: BaseException) -> str:
    """What GDAL complains of."""
    return " ".join(str(error.__cause__ or error).split()) or type(error).__name__


def rasterio_errors() -> tuple[type[Exception], ...]:
    """What rasterio throws: its own errors, those of GDAL, which it lets through in places, and where these have no
    reason SystemError.

    The base of the latter stands in a private module, so it may be elsewhere one day.
    """
    from rasterio.errors import CRSError, DriverRegistrationError, RasterioError

    known = RasterioError, CRSError, DriverRegistrationError, SystemError
    try:
        return *known, import_module("rasterio._err").CPLE_BaseError
    except (ImportError, AttributeError):
        return known


@contextmanager
def gdal(**options: object) -> Iterator[None]:
    """GDAL with its defaults, whatever the environment says, a small cache of blocks, and nothing on standard error.

    It starts no threads of its own: an error in them would be printed, and never raised.
    """
    import rasterio

    with _settings, rasterio.Env(**(_overridden() | {"GDAL_NUM_THREADS": "1"} | options)):
        yield


def _overridden() -> dict[str, str]:
    """The defaults of those settings that are set, in the environment or by the program that called us."""
    from rasterio._env import get_gdal_config

    return {name: default for name, default in _DEFAULTS.items() if get_gdal_config(name) is not None}


class _Settings:
    """The cache of GDAL and the level of rasterio's logger, which all threads share.

    The first to enter changes them, the last to leave puts them back.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._level = logging.NOTSET
        self._cache: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._change()
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._put_back()

    def _change(self) -> None:
        from rasterio._env import get_gdal_config, set_gdal_config

        before = get_gdal_config("GDAL_CACHEMAX")
        large = isinstance(before, int) and before > CACHE_BYTES
        self._cache = before if large and "GDAL_CACHEMAX" not in os.environ else None
        if self._cache is not None:
            set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)
        logger = logging.getLogger("rasterio")
        self._level = logger.level
        logger.setLevel(logging.CRITICAL)

    def _put_back(self) -> None:
        from rasterio._env import set_gdal_config

        logging.getLogger("rasterio").setLevel(self._level)
        if self._cache is not None:
            set_gdal_config("GDAL_CACHEMAX", self._cache)


_settings = _Settings()
