"""`dmecodec.numcodecs.Dmecodec`: the codec for numcodecs and zarr's format 2. See :mod:`dmecodec.plugins.numcodecs`."""

from .plugins.numcodecs import Dmecodec

__all__ = ["Dmecodec"]
