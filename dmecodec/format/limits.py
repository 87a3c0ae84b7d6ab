"""What the format fixes: its first bytes, its versions, its modes and the limits of its fields."""

MAGIC = b"\x89DME"
VERSION = 4
"""What is written; versions 1 to 3 are read as well."""
PLAIN_MODES = ("L", "LA", "RGB", "RGBA")
"""Modes that say by themselves what the bands are: 8 bits a sample, alpha last."""
MODES = (*PLAIN_MODES, "BANDS")
MAX_GROUPS = 64

MODEL_BYTES = 8
MODEL_BYTES_2 = 4
"""In versions 2 and 3."""
MAX_SIDE = 2**24 - 1
MAX_PIXELS = 2**36
QUALITY_STEPS = 32
"""Of a quality: the file holds it as an integer of so many to one."""
MAX_QUALITY = 7 * QUALITY_STEPS
MAX_BOUND = 2**15 - 1
TILE_UNIT = 64
MAX_TILE = 64 * TILE_UNIT
MAX_TILES = 2**20
MAX_HEADER_LENGTH = 2**26
MAX_STREAM_LENGTH = 2**40
DEFAULT_QUALITY, DEFAULT_TILE = 4.0, 1024
"""What is written where nothing is asked for."""
MAX_INTEGER = 2**32 - 1
