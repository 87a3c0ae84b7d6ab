"""Rate, distortion and speed of dmecodec and of other codecs, from real files on one's own images."""

from .codecs import CODECS, DEFAULT_CODECS
from .report import Report
from .runner import run

__all__ = ["CODECS", "DEFAULT_CODECS", "Report", "run"]
