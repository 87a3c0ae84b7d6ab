"""The architectures of CompressAI, from checkpoints."""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DependencyError, ModelError, OptionError
from .codec import Codec

_MULTIPLE = 64
"""Sides of what the networks code are multiples of this."""


class CompressAI(Codec):
    """One architecture of CompressAI; each of its settings is the number of a checkpoint, from 1.

    A file holds height and width, the shape of the hyper latents, and each string with its length.

    Args:
        architecture: its name in CompressAI's zoo, such as "bmshj2018-hyperprior".
        checkpoints: files of weights, from few bits to many: a state dict, or a dict with one as "state_dict".
        device: where the network runs; "auto" is the CPU.

    Raises:
        DependencyError: compressai is not installed.
        OptionError: CompressAI has no such architecture.
        ModelError: a checkpoint cannot be read.
    """

    step = None

    def __init__(self, architecture: str, checkpoints: Sequence[str | Path], device: str = "auto") -> None:
        known = _architectures()
        if architecture not in known:
            raise OptionError(f"unknown architecture {architecture!r}; CompressAI has {', '.join(sorted(known))}")
        self.name = architecture
        self.settings = tuple(range(1, len(checkpoints) + 1))
        self._paths = [Path(path) for path in checkpoints]
        self._digests = [_digest(path) for path in self._paths]
        self._device = "cpu" if device == "auto" else device
        self._networks: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the networks, which a fresh process loads again."""
        return {**self.__dict__, "_networks": {}}

    def version(self) -> str:
        """See `Codec.version`."""
        return f"compressai {version('compressai')} on {self._device}, weights {', '.join(self._digests)}"

    def encode(self, image: np.ndarray, setting: float) -> bytes:
        """See `Codec.encode`."""
        import torch

        height, width = image.shape[:2]
        rgb = np.broadcast_to(image, (height, width, 3))
        padded = np.pad(rgb, ((0, -height % _MULTIPLE), (0, -width % _MULTIPLE), (0, 0)), "edge")
        batch = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1))).to(self._device)
        with torch.inference_mode():
            coded = self._network(int(setting)).compress(batch[None] / 255)
        strings = [string for (string,) in coded["strings"]]
        header = struct.pack("<B4IB", int(setting), height, width, *coded["shape"], len(strings))
        return header + b"".join(struct.pack("<I", len(string)) + string for string in strings)

    def decode(self, data: bytes) -> np.ndarray:
        """See `Codec.decode`."""
        import torch

        setting, height, width, rows, columns, count = struct.unpack_from("<B4IB", data)
        at, strings = struct.calcsize("<B4IB"), []
        for _ in range(count):
            (size,) = struct.unpack_from("<I", data, at)
            strings.append([data[at + 4 : at + 4 + size]])
            at += 4 + size
        with torch.inference_mode():
            pixels = self._network(setting).decompress(strings, (rows, columns))["x_hat"][0]
        levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        return levels.transpose(1, 2, 0)[:height, :width]

    def _network(self, setting: int) -> Any:
        if setting not in self._networks:
            path = self._paths[setting - 1]
            try:
                network = _architectures()[self.name].from_state_dict(_state_dict(path))
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise ModelError(f"{path}: is no checkpoint of {self.name} ({reason})") from error
            network.update()
            self._networks[setting] = network.eval().to(self._device)
        return self._networks[setting]


def compressai_codecs(names: Iterable[str], device: str = "auto") -> list[CompressAI]:
    """Codecs from `ARCH:CHECKPOINT`; the checkpoints of one architecture make one codec, in the order given.

    Raises:
        OptionError: one is not of this form, or names no architecture of CompressAI.
        DependencyError, ModelError: as :class:`CompressAI`.
    """
    checkpoints: dict[str, list[str]] = {}
    for name in names:
        architecture, _, path = name.partition(":")
        if not architecture or not path:
            raise OptionError(f"--compressai {name!r}: must be ARCHITECTURE:CHECKPOINT")
        checkpoints.setdefault(architecture, []).append(path)
    return [CompressAI(architecture, paths, device) for architecture, paths in checkpoints.items()]


def _architectures() -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():  # compressai imports deprecated parts of torch
            warnings.simplefilter("ignore")
            from compressai.zoo.image import model_architectures
    except ImportError as error:
        raise DependencyError("--compressai needs the package compressai: pip install compressai") from error
    return model_architectures


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error


def _state_dict(path: Path) -> dict[str, Any]:
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path}: is no file of weights that can be read safely") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds no state dict")
    return content
