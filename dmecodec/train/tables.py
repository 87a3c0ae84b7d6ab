"""Frequency tables: of y from Gaussians and counts of coded symbols, of z from the learned densities.

The prior of a table of y is a Gaussian mixed with 2 % of a wider one. Counts of the symbols that the frozen network
codes at this scale index are added to it.
"""

from __future__ import annotations

import numpy as np
import torch

from ..codec.tile import encode_symbols
from ..entropy.rans import Tables, normalise
from ..format.limits import MAX_QUALITY
from ..network.knots import knots_of
from ..network.parameters import INDEX_COUNT, INDEX_PER_NAT, LOG_SCALE_LOW
from ..weights.model import Model
from .data import Crops
from .model import TrainingModel

_WIDE_SHARE, _WIDE_FACTOR = 0.02, 3.0  # the wider Gaussian in each mixture
_REACH = 6  # standard deviations that a table spans to each side
_PRIOR_COUNT = 2000.0  # weight of the prior in symbols
_Z_REACH = 64  # values of z beyond this are escaped
_ESCAPE = 1e-6


def _normal(edges: np.ndarray) -> np.ndarray:
    """Probabilities of the standard normal distribution between neighbouring edges."""
    return np.diff(torch.special.ndtr(torch.from_numpy(edges)).numpy())


def gaussian_tables(wide: float = _WIDE_SHARE) -> tuple[list[np.ndarray], list[int]]:
    """Probabilities of -radius..radius at each scale index, and the radii; `wide` is the wider Gaussian's share."""
    tables, radii = [], []
    for index in range(INDEX_COUNT):
        scale = np.exp(LOG_SCALE_LOW + index / INDEX_PER_NAT)
        radius = int(_REACH * scale) + 3
        edges = np.arange(-radius, radius + 2) - 0.5
        tail = wide * _normal(edges / (_WIDE_FACTOR * scale))
        tables.append((1 - wide) * _normal(edges / scale) + tail)
        radii.append(radius)
    return tables, radii


def _to_tables(probabilities: list[np.ndarray], lows: list[int]) -> Tables:
    """Converts probabilities, by table and value from `lows` on, to tables with an escape symbol."""
    with_escape = [np.append(p / p.sum(), _ESCAPE) for p in probabilities]
    frequency = np.concatenate([normalise(p) for p in with_escape])
    length = np.array([len(p) for p in with_escape], np.int32)
    return Tables(np.array(lows, np.int32), length, frequency)


def prior_tables() -> Tables:
    """The tables of y without any counts."""
    probabilities, radii = gaussian_tables()
    return _to_tables(probabilities, [-radius for radius in radii])


def fit_tables(model: Model, crops: Crops, batches: int) -> Tables:
    """Fits the tables of y to the symbols of training crops; counts of a value and its negative are averaged."""
    counts = count_symbols(model, crops, batches)
    probabilities, radii = gaussian_tables()
    fitted = []
    for prior, count in zip(probabilities, counts, strict=True):
        symmetric = 0.5 * (count + count[::-1])
        fitted.append(symmetric + _PRIOR_COUNT * prior / prior.sum())
    return _to_tables(fitted, [-radius for radius in radii])


def plain_tables() -> Tables:
    """Tables of the plain Gaussians that training assumes, for comparison with the fitted ones."""
    probabilities, radii = gaussian_tables(wide=0.0)
    return _to_tables(probabilities, [-radius for radius in radii])


def count_symbols(model: Model, crops: Crops, batches: int) -> list[np.ndarray]:
    """Counts the values -radius..radius coded at each scale index, in training crops over all qualities."""
    _, radii = gaussian_tables()
    counts = [np.zeros(2 * radius + 1) for radius in radii]
    for i in range(batches):
        x = crops.batch(1)
        quality = int(i * 37 % (MAX_QUALITY + 1))
        with torch.inference_mode():
            gain = model.net.gain(knots_of(quality))
            _, coded, _ = encode_symbols(model, model.net.analysis(x) * gain, quality)
        for values, indices in coded:
            for index in np.unique(indices):
                at_index, radius = values[indices == index], radii[index]
                in_range = at_index[np.abs(at_index) <= radius] + radius
                counts[index] += np.bincount(in_range, minlength=2 * radius + 1)
    return counts


def z_tables(model: TrainingModel) -> Tables:
    """The tables of z-hat, one for each channel, from the learned densities."""
    bottleneck = model.bottleneck
    medians = bottleneck.quantiles[:, :, 1:2].detach()
    grid = torch.arange(-_Z_REACH, _Z_REACH + 1).float().view(1, 1, -1) + medians
    likelihood, _, _ = bottleneck._likelihood(grid)
    rows = likelihood.detach().double().numpy()[:, 0]
    probabilities, lows = [], []
    for row in rows:
        kept = np.flatnonzero(row > 1e-7 * row.max())
        low, high = kept[0] - 1, kept[-1] + 2
        low, high = max(low, 0), min(high, len(row))
        probabilities.append(row[low:high])
        lows.append(int(low) - _Z_REACH)
    return _to_tables(probabilities, lows)
