"""Rounding for rate and distortion: never dearer than plain rounding, and never far from it."""

from __future__ import annotations

import numpy as np
import torch

from dmecodec.codec.rounding import round_for_rate, round_plainly, step_weights, strength
from dmecodec.entropy.rans import VALUE_LIMIT
from dmecodec.format.limits import MAX_QUALITY
from dmecodec.weights.model import Model


def _case(seed: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 64, (4, 600)).astype(np.uint8)
    scale = np.exp(-3 + index / 7)
    return torch.from_numpy(rng.normal(size=index.shape) * scale * 1.5), index.ravel()


def test_one_step_towards_the_mean_at_most() -> None:
    residual = torch.tensor([0.0, 0.4, 0.6, -0.6, 1.5, 2.6, -7.2, 7e6, -7e6])
    plain = round_plainly(residual)
    assert plain.tolist() == [0, 0, 1, -1, 2, 3, -7, VALUE_LIMIT - 1, 1 - VALUE_LIMIT]


def test_cost_is_never_higher(tiny: Model) -> None:
    for seed in range(5):
        residual, index = _case(seed)
        weights = np.array([0.5, 2.0, 8.0, 30.0])
        spread = np.repeat(weights, 600)
        values = residual.numpy().ravel()

        def cost(k: np.ndarray, spread: np.ndarray = spread, values: np.ndarray = values,
                 index: np.ndarray = index) -> np.ndarray:  # fmt: skip
            return tiny.y_tables.code_lengths(k, index) + spread * strength(index * 1.0) * (values - k) ** 2

        plain = round_plainly(residual)
        chosen = round_for_rate(residual, index, tiny.y_tables, weights)
        assert (cost(chosen) <= cost(plain) + 1e-3).all()
        assert (np.abs(plain) - np.abs(chosen)).min() >= 0
        assert (np.abs(plain) - np.abs(chosen)).max() == 1
        assert (chosen != plain).any()


def test_a_high_weight_rounds_plainly(tiny: Model) -> None:
    residual, index = _case(9)
    chosen = round_for_rate(residual, index, tiny.y_tables, np.full(4, 1e9))
    np.testing.assert_array_equal(chosen, round_plainly(residual))


def test_weights_do_not_depend_much_on_the_quality(tiny: Model) -> None:
    """Gains follow lambda, so that a step is worth about the same everywhere: some 5 bits."""
    for quality in (0, 100, MAX_QUALITY):
        weights = step_weights(tiny.net, quality)
        assert weights.shape == (24,)
        assert 1.5 < np.median(weights) < 20
