"""What the format fixes: its first bytes, its version, its modes and the limits of its fields."""

MAGIC = b"\x89DMN"
MAGIC_BEFORE_RELEASE = b"\x89DME"
"""How files of the versions before the first release begin; no reader of them is left."""
VERSION = 1
PLAIN_MODES = ("L", "LA", "RGB", "RGBA")
"""Modes that say by themselves what the bands are: 8 bits a sample, alpha last."""
MODES = (*PLAIN_MODES, "BANDS")
MAX_GROUPS = 64

MODEL_BYTES = 8
MAX_SIDE = 2**24 - 1
MAX_PIXELS = 2**36
QUALITY_STEPS = 32
"""A file holds the quality as an integer: so many steps make one."""
MAX_QUALITY = 7 * QUALITY_STEPS
MAX_BOUND = 2**15 - 1
TILE_UNIT = 64
MAX_TILE = 64 * TILE_UNIT
MAX_TILES = 2**20
MAX_HEADER_LENGTH = 2**26
MAX_STREAM_LENGTH = 2**40
MAX_INTEGER = 2**32 - 1
DEFAULT_QUALITY, DEFAULT_TILE = 4.0, 1024
"""What is written where nothing is asked for."""
