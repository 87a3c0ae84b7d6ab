"""Peak memory of a codec: that of a fresh process, which codes one image and decodes it."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

from ..errors import ImageError
from .codecs import Codec
from .coding import decode, encode
from .scene import Scene

_STATUS = Path("/proc/self/status")


def peak_memory(codec: Codec, scene: Scene) -> int:
    """Bytes of the process at its largest, Python, the libraries and the image included.

    Raises:
        ImageError: the process failed.
    """
    command = [sys.executable, "-c", f"import {__name__} as memory; memory.serve()"]
    done = subprocess.run(command, input=pickle.dumps((codec, scene)), capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ImageError(f"its process ended: {lines[-1] if lines else f'status {done.returncode}'}")
    return int(done.stdout.split()[-1])


def serve() -> None:
    """In the fresh process: reads codec and scene from standard input, codes, and prints the bytes."""
    codec, scene = pickle.load(sys.stdin.buffer)
    decode(codec, encode(codec, scene, codec.settings[len(codec.settings) // 2]), scene)
    print(_peak())


def _peak() -> int:
    """The largest resident size of this process, or of the programs that it ran."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    programs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    # Linux counts the process that started this one in ru_maxrss, but not in VmHWM.
    line = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    own = int(line[1]) * 1024 if line else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(own, programs)
