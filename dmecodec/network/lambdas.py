"""Lambda, the weight of the distortion against the rate, at each quality (section 3.1.3)."""

from __future__ import annotations

import math

import numpy as np

from ..format.limits import QUALITY_STEPS

LAMBDAS = (0.0008, 0.007, 0.013, 0.033, 0.072, 0.211, 0.508, 0.660)
"""Lambda at the qualities 0 to 7. The paper has 1 to 7; quality 0 extends the range downwards."""
COLOURS = 3
"""D is a mean over three colours, R a sum over the pixels."""


def error_price(quality: int) -> float:
    """Bits per squared error in one sample, for samples on the scale 0..1.

    It follows from R + lambda D, where R is a sum over pixels and D a mean over three colours on the scale 0..255.

    Args:
        quality: in 1/32 steps.
    """
    log_lambda = np.interp(quality / QUALITY_STEPS, range(len(LAMBDAS)), np.log(LAMBDAS))
    return math.exp(log_lambda) * 255**2 / COLOURS
