"""Images in and out through Pillow, window by window.

Pillow opens many files that it cannot hold: a 16-bit RGB PNG or TIFF, or four bands of which the
last is near infrared, arrive as plain 8-bit "RGB". Hence every file's own header is read first, and
what would lose bits, bands or frames is refused with a word on what to do instead.

An image is held once, as Pillow holds it (RGB takes 4 bytes a pixel); :meth:`Source.read` cuts
windows out of it and :meth:`Sink.write` pastes them in. Its mode and size are what the container
can hold: one of `MODES`, alpha as the last band, up to `MAX_SIDE` and `MAX_PIXELS`.
"""

from ..container import MAX_PIXELS, MAX_SIDE
from ..container import PLAIN_MODES as MODES
from .headers import IMAGE_SUFFIXES
from .metadata import Metadata
from .opening import close_source, image_size, open_source, sidecars
from .output import check_output, output_format, picture_mode
from .sink import Sink
from .source import Source

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MODES",
    "Metadata",
    "Sink",
    "Source",
    "check_output",
    "close_source",
    "image_size",
    "open_source",
    "output_format",
    "picture_mode",
    "sidecars",
]
