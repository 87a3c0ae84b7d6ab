"""The `.dmen` container: a header with an index of every stream, then chunks with checksums.

`docs/format.md` is the normative description; this package follows it field by field. It knows
nothing of images or networks and imports the standard library alone, so that looking at a file
costs nothing. Everything that can be wrong with a file raises :class:`FormatError`.
"""

from .checksum import CRC_BYTES
from .header import Header
from .kinds import (
    ANCILLARY,
    FILE_SCOPED,
    KNOWN_KINDS,
    Kind,
    is_ancillary,
    is_file_scoped,
    kind_name,
)
from .limits import (
    DEFAULT_QUALITY,
    DEFAULT_TILE,
    MAGIC,
    MAX_BOUND,
    MAX_GROUPS,
    MAX_HEADER_LENGTH,
    MAX_INTEGER,
    MAX_PIXELS,
    MAX_QUALITY,
    MAX_SIDE,
    MAX_STREAM_LENGTH,
    MAX_TILE,
    MAX_TILES,
    MODEL_BYTES,
    MODES,
    PLAIN_MODES,
    QUALITY_STEPS,
    TILE_UNIT,
    VERSION,
)
from .reader import Reader
from .writer import write

__all__ = [
    "ANCILLARY",
    "CRC_BYTES",
    "DEFAULT_QUALITY",
    "DEFAULT_TILE",
    "FILE_SCOPED",
    "KNOWN_KINDS",
    "MAGIC",
    "MAX_BOUND",
    "MAX_GROUPS",
    "MAX_HEADER_LENGTH",
    "MAX_INTEGER",
    "MAX_PIXELS",
    "MAX_QUALITY",
    "MAX_SIDE",
    "MAX_STREAM_LENGTH",
    "MAX_TILE",
    "MAX_TILES",
    "MODEL_BYTES",
    "MODES",
    "PLAIN_MODES",
    "QUALITY_STEPS",
    "TILE_UNIT",
    "VERSION",
    "Header",
    "Kind",
    "Reader",
    "is_ancillary",
    "is_file_scoped",
    "kind_name",
    "write",
]
