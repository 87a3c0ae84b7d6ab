"""The exact path: the same integers in any order, on any number of threads, in float32 and float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import aerial
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dmecodec
from dmecodec.network.config import Config
from dmecodec.network.exact import EXACT_LIMIT, ExactConv, ExactnessError, Signal, gate
from dmecodec.network.knots import interpolate_integers, interpolate_knots
from dmecodec.network.lambdas import LAMBDAS
from dmecodec.network.parameters import (
    INDEX_COUNT,
    INDEX_PER_NAT,
    LOG_SCALE_LOW,
    MEAN_UNIT,
    EntropyParameters,
    checkerboard,
)
from dmecodec.network.passes import ExactPasses
from dmecodec.weights.known_answer import known_answer
from dmecodec.weights.model import Model

MIDDLE = Config(hyper=48, slices=(16, 40, 40), hidden=(32, 0, 48), checkered=2, attention=16)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random_parameters(config: Config, seed: int = 0) -> EntropyParameters:
    """A float entropy model whose outputs spread over means and scales."""
    torch.manual_seed(seed)
    parameters = EntropyParameters(config).requires_grad_(False).eval()
    for network in parameters.networks:
        network.out.weight.mul_(8)
        network.out.bias.normal_()
    return parameters


def integers(shape: tuple[int, ...], top: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-top, top + 1, shape, generator=generator).float()


def calibrated(parameters: EntropyParameters, z: Tensor, y: Tensor) -> dict[nn.Module, Tensor]:
    """Integers per unit with which the largest value of each channel is 255."""
    peaks: dict[nn.Module, Tensor] = {}

    def record(module: nn.Module, _: object, output: Tensor) -> None:
        peaks[module] = output.abs().amax((0, 2, 3)).double()

    layers = [m for m in parameters.modules() if isinstance(m, ExactConv)]
    handles = [layer.register_forward_hook(record) for layer in layers]
    run_float(parameters, z, y)
    for handle in handles:
        handle.remove()
    return {m: 255 / p.clamp_min(float(p.max()) * 1e-3) for m, p in peaks.items()}


def run_float(parameters: EntropyParameters, z: Tensor, y: Tensor, quality: float = 3.0) -> Tensor:
    """Means and log-scales of all passes (b, 2 n), with `y` as context."""
    knots = torch.full((len(z),), quality)
    hyper = parameters.decoder(z, knots)
    pairs = []
    for i, pass_ in enumerate(parameters.passes):
        decoded = y[:, : pass_.context_channels].clone() if pass_.context_channels else None
        if pass_.parity == 1 and decoded is not None:  # the even positions of its own slice are in the context
            decoded[:, pass_.first : pass_.end] *= checkerboard(y.shape[2], y.shape[3], 0)
        pair = parameters.predict(i, hyper, decoded, knots)
        if pass_.parity is not None:
            board = checkerboard(y.shape[2], y.shape[3], pass_.parity)
            pair = tuple(part[:, :, board] for part in pair)
        pairs.append(pair)
    return _joined(pairs)


def _joined(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """All means, then all scales."""
    return torch.cat([part.flatten(1) for both in zip(*pairs, strict=True) for part in both], 1)


def run_exact(parameters: EntropyParameters, z: Tensor, y: Tensor, quality: int = 96) -> Tensor:
    """Means in 1/16 step and scale indices of all passes (b, 2 n); `y` in 1/16 step."""
    return torch.cat([_run_exact_image(parameters, z[i : i + 1], y[i], quality) for i in range(len(z))])


def _run_exact_image(parameters: EntropyParameters, z: Tensor, y: Tensor, quality: int) -> Tensor:
    passes, pairs = ExactPasses(parameters, z, quality, *y.shape[1:]), []
    for i, pass_ in enumerate(parameters.passes):
        pairs.append(tuple(part[None] for part in passes.predict(i)))
        passes.store(i, passes.gather(i, y[pass_.first : pass_.end]).int())
    assert torch.equal(passes.y, y.flatten(1).int())
    return _joined(pairs)


@pytest.fixture(scope="module")
def middle() -> EntropyParameters:
    """A frozen entropy model of medium size with random weights."""
    parameters = random_parameters(MIDDLE)
    z, y = integers((2, MIDDLE.hyper, 3, 4), 20), integers((2, MIDDLE.latents, 12, 16), 6)
    parameters.freeze(calibrated(parameters, z, y))
    return parameters


def test_float64_gives_the_same(middle: EntropyParameters) -> None:
    double = EntropyParameters(MIDDLE)
    for source, target in zip(middle.modules(), double.modules(), strict=True):
        if isinstance(source, ExactConv):
            target.restore(source.stored())
            target.weight.data, target.shift = target.weight.data.double(), target.shift.double()
    for seed in range(3):
        z, y = integers((1, 48, 3, 5), 127, seed), integers((1, 96, 12, 20), 5000, seed)
        for quality in (0, 77, 224):
            single = run_exact(middle, z, y, quality)
            assert torch.equal(single.double(), run_exact(double, z.double(), y.double(), quality))
    indices = single[:, single.shape[1] // 2 :]
    assert len(indices.unique()) > 30 and indices.max() == 63


def test_threads_and_layouts_change_nothing(middle: EntropyParameters) -> None:
    z, y = integers((2, 48, 8, 8), 127), integers((2, 96, 32, 32), 300)
    torch.set_num_threads(1)
    expected = run_exact(middle, z, y)
    for threads in (2, 5):
        torch.set_num_threads(threads)
        assert torch.equal(run_exact(middle, z, y), expected)
    last = torch.channels_last
    packed = run_exact(middle, z.contiguous(memory_format=last), y.contiguous(memory_format=last))
    assert torch.equal(packed, expected)


def test_lower_matmul_precision_changes_nothing(middle: EntropyParameters) -> None:
    z, y = integers((1, 48, 4, 4), 127), integers((1, 96, 16, 16), 300)
    expected = run_exact(middle, z, y)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(run_exact(middle, z, y), expected)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("kernel", "up"), [((1, 1), False), ((3, 3), False), ((3, 3), True)])
def test_order_of_summation_does_not_matter(kernel: tuple[int, int], up: bool) -> None:
    torch.manual_seed(1)
    layer = ExactConv(64, 32, kernel, up=up, activation="none")
    layer.requires_grad_(False)
    ones = torch.ones(64, dtype=torch.float64)
    layer.freeze(Signal(ones, 255 * ones), 40 * torch.ones(32, dtype=torch.float64))
    x = integers((1, 64, 9, 7), 255)
    expected = layer(x, 0)
    for seed in range(4):
        order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
        other = ExactConv(64, 32, kernel, up=up, activation="none")
        stored = layer.stored()
        stored["weight"] = stored["weight"][order] if up else stored["weight"][:, order]
        other.restore(stored)
        assert torch.equal(other(x[:, order], 0), expected)


@pytest.mark.parametrize("kernel", [(1, 7), (7, 1), (5, 5)])
def test_the_order_of_taps_does_not_matter(kernel: tuple[int, int]) -> None:
    """A depthwise layer against integer sums over its taps in any order."""
    torch.manual_seed(2)
    layer = ExactConv(16, 16, kernel, groups=16, activation="none").requires_grad_(False)
    ones = torch.ones(16, dtype=torch.float64)
    layer.freeze(Signal(ones, 255 * ones), 300 * ones)
    x = integers((1, 16, 11, 12), 255)
    (up, left), weight = layer.padding, layer.weight.long()
    wide = torch.nn.functional.pad(x, (left, left, up, up)).long()
    taps = [(row, col) for row in range(kernel[0]) for col in range(kernel[1])]
    for seed in range(3):
        sums = layer.bias.long().view(1, -1, 1, 1).expand(1, 16, 11, 12).clone()
        for n in torch.randperm(len(taps), generator=torch.Generator().manual_seed(seed)):
            row, col = taps[n]
            sums += weight[None, :, 0, row, col, None, None] * wide[..., row : row + 11, col : col + 12]
        expected = (sums.double() * layer.shift.double()).floor()
        assert torch.equal(layer(x, 0).double(), expected)


def test_freeze_takes_the_largest_exact_weight_scale(middle: EntropyParameters) -> None:
    """The largest possible sum is below 2^24; with twice the weights it would not be."""
    layer = middle.decoder.layers[2]
    weight = layer.weight.abs().double()
    reach = weight.flatten(1).sum(1) * 255 + layer.bias.abs().amax(0)
    assert reach.max() < EXACT_LIMIT
    assert reach.min() * 2 >= EXACT_LIMIT / 1.01 or weight.max() * 2 > 32767


@pytest.mark.parametrize("scale", [1e9, float("inf"), float("nan")])
def test_impossible_bounds_are_refused(scale: float) -> None:
    layer = ExactConv(4, 4, (3, 3), activation="none").requires_grad_(False)
    layer.weight.fill_(1.0)
    ones = torch.ones(4, dtype=torch.float64)
    with pytest.raises(ExactnessError, match="4 output channels"):
        layer.freeze(Signal(ones, 255 * ones), scale * ones)
    assert not layer.frozen


def test_frozen_is_close_to_float() -> None:
    parameters = random_parameters(MIDDLE, seed=3)
    z, y = integers((1, 48, 4, 4), 12), integers((1, 96, 16, 16), 5)
    scales = calibrated(parameters, z, y)
    expected = {q: run_float(parameters, z, y, q).chunk(2, 1) for q in (0.0, 3.0, 4.5, 7.0)}
    parameters.freeze(scales)
    for quality, (float_mean, log_scale) in expected.items():
        mean, index = run_exact(parameters, z, MEAN_UNIT * y, int(32 * quality)).chunk(2, 1)
        wanted = ((log_scale - LOG_SCALE_LOW) * INDEX_PER_NAT).clamp(0, INDEX_COUNT - 1)
        assert (mean / MEAN_UNIT - float_mean).abs().mean() < 0.05
        assert (index - wanted).abs().mean() < 0.6
        assert (index - wanted).abs().max() < 4


def test_stored_and_restored(middle: EntropyParameters) -> None:
    for layer in (m for m in middle.modules() if isinstance(m, ExactConv)):
        stored = layer.stored()
        assert stored["weight"].dtype == torch.int16 and stored["bias"].dtype == torch.int32
        shape = layer.weight.shape
        inputs = shape[0] if layer.up else shape[1] * layer.groups
        outputs = layer.bias.shape[1]
        other = ExactConv(
            inputs,
            outputs,
            (int(shape[2]), int(shape[3])),
            up=layer.up,
            groups=layer.groups,
            activation=layer.activation,
            knots=len(layer.bias),
        )
        other.restore(stored)
        x = integers((1, inputs, 6, 5), 255)
        assert torch.equal(other(x, 50), layer(x, 50))
        assert all(torch.equal(v, other.stored()[k]) for k, v in stored.items())
        with pytest.raises(ValueError, match="shape"):
            other.restore(stored | {"shift": stored["shift"][:-1]})
        with pytest.raises(ValueError, match="shape"):
            other.restore(stored | {"weight": stored["weight"][:, :, :, :0]})


@pytest.mark.parametrize("scale", [3.0, 60.0, 30000.0])
def test_thawed_layers_freeze_to_the_same(scale: float) -> None:
    torch.manual_seed(0)
    layer = ExactConv(8, 6, (3, 3), activation="signed", knots=8).requires_grad_(False)
    layer.bias.normal_()
    before = layer.weight.clone(), layer.bias.clone()
    ones = torch.ones(8, dtype=torch.float64)
    signal, wanted = Signal(20 * ones, 255 * ones), scale * torch.ones(6, dtype=torch.float64)
    layer.freeze(signal, wanted)
    weight, bias = layer.thaw()
    step = layer.shift.flatten() / scale  # a step of the sums, in float units
    assert ((weight - before[0]).abs() <= 0.51 * 20 * step[:, None, None, None]).all()
    assert ((bias - before[1]).abs() <= 0.51 * step).all()
    other = ExactConv(8, 6, (3, 3), activation="signed", knots=8).requires_grad_(False)
    other.weight.copy_(weight)
    other.bias.copy_(bias)
    other.freeze(signal, wanted)
    assert all(torch.equal(v, other.stored()[k]) for k, v in layer.stored().items())


@given(st.integers(0, 224), st.integers(0, 100))
@settings(max_examples=60)
def test_integer_interpolation(quality: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randint(-(1 << 23), 1 << 23, (len(LAMBDAS), 5), generator=generator)
    row = interpolate_integers(table, quality)
    exact = interpolate_knots(table.double(), torch.tensor([quality / 32]).double())[0]
    assert torch.equal(row, torch.floor(exact + 0.5).long())
    if quality % 32 == 0:
        assert torch.equal(row, table[quality // 32])


def test_gate() -> None:
    x, g = torch.meshgrid(torch.arange(-510.0, 511), torch.arange(0.0, 257), indexing="ij")
    for base in (0, 1):
        frozen = gate(x, g, base=base, frozen=True)
        wanted = torch.floor(gate(x.double(), g.double() / 256, base=base, frozen=False) + 0.5)
        assert torch.equal(frozen.double(), wanted)


def test_autocast_of_the_caller_changes_nothing(tiny: Model) -> None:
    image = aerial(40, 100, 90)
    plain = dmecodec.encode(image, 4, device="cpu")
    pixels, latents = dmecodec.decode(plain, device="cpu"), dmecodec.latents(plain, device="cpu")
    answer = known_answer(tiny.net, torch.device("cpu"), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert dmecodec.encode(image, 4, device="cpu") == plain
        for a, b in zip(dmecodec.latents(plain, device="cpu"), latents, strict=True):
            np.testing.assert_array_equal(a, b)
        assert abs(dmecodec.decode(plain, device="cpu").astype(int) - pixels).max() <= 1
        assert known_answer(tiny.net, torch.device("cpu"), torch.float32) == answer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_gpu_gives_the_same_latents() -> None:
    data = dmecodec.encode(aerial(41, 300, 200), 4.5, device="cuda", tile=128)
    on_cpu, on_gpu = dmecodec.latents(data, device="cpu"), dmecodec.latents(data, device="cuda")
    for a, b in zip(on_cpu, on_gpu, strict=True):
        np.testing.assert_array_equal(a, b)
    difference = dmecodec.decode(data, device="cpu").astype(int) - dmecodec.decode(data, device="cuda")
    assert abs(difference).max() <= 1
