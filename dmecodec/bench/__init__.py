"""Rate and distortion of dmecodec and of everyday codecs, from real files on one's own images."""

from dmecodec.bench.codecs import PEERS
from dmecodec.bench.report import Report
from dmecodec.bench.runner import run

__all__ = ["PEERS", "Report", "run"]
