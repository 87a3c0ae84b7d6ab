"""The codecs of a run, by the names that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import DependencyError, OptionError
from .codecs import CODECS, DEFAULT_CODECS, Codec, Dmecodec, compressai_codecs
from .results import LeftOut


def choose_codecs(
    qualities: Sequence[float],
    names: Sequence[str] | None,
    compressai: Sequence[str],
    model: str | Path | None,
    device: str,
) -> tuple[list[Codec], list[LeftOut]]:
    """dmecodec first, then the others; and those of the default that are not here.

    Args:
        qualities, model, device: dmecodec's.
        names: of `CODECS`; None for the default.
        compressai: `ARCHITECTURE:CHECKPOINT`, each a point of a curve.

    Raises:
        OptionError: no quality, or an unknown codec or architecture.
        DependencyError: a codec that was named is not installed.
        ModelError: a checkpoint cannot be read.
    """
    if not qualities:
        raise OptionError("no quality to measure at")
    chosen: list[Codec] = [Dmecodec(qualities, model, device)]
    left_out = []
    for name in dict.fromkeys(DEFAULT_CODECS if names is None else names):
        if name not in CODECS:
            raise OptionError(f"unknown codec {name!r}; known are {', '.join(CODECS)}")
        reason = CODECS[name].missing()
        if reason is None:
            chosen.append(CODECS[name]())
        elif names is None:
            left_out.append(LeftOut(name, reason))
        else:
            raise DependencyError(f"the codec {name} cannot run here: {reason}")
    return chosen + compressai_codecs(compressai, device), left_out
