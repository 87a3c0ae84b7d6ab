"""Rate and distortion of dmecodec and of everyday codecs, from real files on one's own images."""

from .codecs import PEERS
from .report import Report
from .runner import run

__all__ = ["PEERS", "Report", "run"]
