"""`dmecodec.zarr.Dmecodec`: the codec for zarr's format 3. See :mod:`dmecodec.plugins.zarr`."""

from .plugins.zarr import NAME, Dmecodec

__all__ = ["NAME", "Dmecodec"]
