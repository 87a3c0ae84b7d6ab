"""`import dmecodec.pillow`: Pillow reads and writes `.dmen` files. See :mod:`dmecodec.plugins.pillow`."""

from .plugins.pillow import DmenImageFile

__all__ = ["DmenImageFile"]
