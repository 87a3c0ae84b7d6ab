"""The codecs of programs on the PATH: BPG, and HEVC and VVC through ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from ...errors import ImageError
from .codec import Codec, as_grey_or_rgb


class BPG(Codec):
    """bpgenc, the reference encoder of BPG: 4:4:4, 8 bits, its slowest mode."""

    name = "bpg"
    settings = (51, 47, 43, 39, 35, 31, 27, 22, 17)  # quantiser

    @classmethod
    def missing(cls) -> str | None:
        """See `Codec.missing`."""
        if shutil.which("bpgenc") and shutil.which("bpgdec"):
            return None
        return "it needs the programs bpgenc and bpgdec on the PATH: https://bellard.org/bpg/"

    def version(self) -> str:
        """See `Codec.version`."""
        return _bpgenc_version()

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        with tempfile.TemporaryDirectory(prefix="dmecodec-") as folder:
            source, target = Path(folder) / "a.png", Path(folder) / "a.bpg"
            Image.fromarray(as_grey_or_rgb(image)).save(source, compress_level=0)
            options = ["-m", "9", "-f", "444", "-q", str(int(setting))]
            _run(["bpgenc", *options, "-o", str(target), str(source)])
            return target.read_bytes()

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        with tempfile.TemporaryDirectory(prefix="dmecodec-") as folder:
            source, target = Path(folder) / "a.bpg", Path(folder) / "a.ppm"
            source.write_bytes(data)
            _run(["bpgdec", "-o", str(target), str(source)])
            with Image.open(target) as image:
                return np.asarray(image.convert("RGB"))


class VideoCodec(Codec):
    """A video codec of ffmpeg that codes one frame, as a bare stream. Grey images are coded as RGB."""

    encoder: ClassVar[str]
    stream: ClassVar[str]  # ffmpeg's name of the bare stream
    package: ClassVar[str]
    pixels: ClassVar[str]
    even_sides: ClassVar[bool] = False

    @classmethod
    def missing(cls) -> str | None:
        """See `Codec.missing`."""
        if shutil.which("ffmpeg") is None:
            return f"it needs the program ffmpeg with {cls.package} on the PATH: https://ffmpeg.org/"
        if f" {cls.encoder} " not in _ffmpeg("-encoders"):
            return f"{shutil.which('ffmpeg')} was built without {cls.package}; install one that has it"
        return None

    def version(self) -> str:
        """See `Codec.version`."""
        return _ffmpeg("-version").partition(" Copyright")[0]

    def options(self, setting: float) -> list[str]:
        """The options of ffmpeg's encoder."""
        raise NotImplementedError

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        if self.even_sides:
            image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), "edge")
        height, width = image.shape[:2]
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-i", "-"]
        coded = ["-vf", f"{_SCALE}:out_color_matrix=bt709", "-pix_fmt", self.pixels, "-c:v", self.encoder]
        target = [*self.options(setting), "-frames:v", "1", "-f", self.stream, "-"]
        raw = np.ascontiguousarray(np.broadcast_to(image, (height, width, 3))).tobytes()
        return _run([*_FFMPEG, *source, *coded, *target], raw)

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        target = ["-vf", f"{_SCALE}:in_color_matrix=bt709", "-frames:v", "1", "-pix_fmt", "rgb24"]
        ppm = _run([*_FFMPEG, "-f", self.stream, "-i", "-", *target, "-c:v", "ppm", "-f", "image2pipe", "-"], data)
        with Image.open(BytesIO(ppm)) as image:
            return np.asarray(image)


class HEVC(VideoCodec):
    """x265: 4:4:4, 8 bits, preset slower."""

    name = "hevc"
    settings = (51, 47, 43, 39, 35, 31, 27, 22, 17)  # quantiser
    encoder, stream, package, pixels = "libx265", "hevc", "libx265", "yuv444p"

    def options(self, setting: float) -> list[str]:
        """By quantiser."""
        own = f"qp={int(setting)}:keyint=1:range=full:colormatrix=bt709:info=0:log-level=error"
        return ["-preset", "slower", "-x265-params", own]


class VVC(VideoCodec):
    """vvenc: 4:2:0, 10 bits, the one format that it codes; preset medium."""

    name = "vvc"
    settings = (60, 53, 47, 41, 35, 30, 25, 20, 15)  # quantiser
    encoder, stream, package, pixels = "libvvenc", "vvc", "libvvenc", "yuv420p10le"
    even_sides = True

    def options(self, setting: float) -> list[str]:
        """By quantiser."""
        return ["-preset", "medium", "-qp", str(int(setting))]


_FFMPEG = ["ffmpeg", "-v", "error"]
_SCALE = "scale=in_range=full:out_range=full:flags=lanczos+accurate_rnd+full_chroma_int"


@lru_cache
def _bpgenc_version() -> str:
    """bpgenc prints its version with its usage text, and fails."""
    done = subprocess.run(["bpgenc", "-h"], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace").partition("\n")[0] or "bpgenc"


@lru_cache
def _ffmpeg(option: str) -> str:
    return _run(["ffmpeg", "-hide_banner", option]).decode(errors="replace")


def _run(command: Sequence[str], data: bytes = b"") -> bytes:
    """The standard output of a program.

    Raises:
        ImageError: it failed, with the last line that it wrote to standard error.
    """
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ImageError(f"{command[0]} failed: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return done.stdout
