"""The transforms: perfect reconstruction, shapes, and a receptive field within the halo."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from dmecodec.base.boxes import Box
from dmecodec.network import wavelet
from dmecodec.network.config import MAX_DEPTH, PAPER, STRIDE, Config
from dmecodec.network.dmenet import DMENet
from dmecodec.network.gated import GatedAnalysis, GatedBlock
from dmecodec.network.gdn import PlainGDN
from dmecodec.network.lambdas import LAMBDAS
from dmecodec.network.transforms import HALO, Analysis, Synthesis

SMALL = Config(
    channels=32, hyper=8, slices=(8, 16), hidden=(16, 0), checkered=1, attention=8, refinement=8, refining=MAX_DEPTH
)
GATED = dataclasses.replace(SMALL, eighths=(3, 8), sixteenths=(2, 16))
QUALITY = torch.tensor([3.5])
CELLS = Box(0, 0, 22, 21)
INNER = [
    Box(9, 9, 3, 2),  # a halo away from every border
    Box(0, 0, 4, 3),
    Box(17, 0, 5, 2),
    Box(0, 17, 2, 4),
    Box(19, 18, 3, 3),
    Box(11, 0, 1, 21),
    Box(0, 11, 22, 1),
    Box(11, 10, 1, 1),
]


def random_weights(module: torch.nn.Module) -> torch.nn.Module:
    """Randomises all weights: the path of the paper at full scale, GDN across channels, tables of the quality."""
    for part in module.modules():
        if isinstance(part, PlainGDN):
            part.beta.uniform_(0.5, 1.5)
            part.gamma.copy_(torch.rand_like(part.gamma) / part.gamma.shape[0])
    for name, table in module.named_parameters():
        if name.endswith((".log_gain", ".offset", ".quality")):
            table.data.normal_(std=0.3)
        if isinstance(part, GatedBlock):
            part.join.weight *= 10
    if isinstance(module, (Analysis, Synthesis)):
        module.scale.data.fill_(1.0)
    return module.requires_grad_(False).eval()


@pytest.fixture(scope="module", params=["C blocks", "gated"])
def analysis(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return random_weights(Analysis(SMALL) if request.param == "C blocks" else GatedAnalysis(GATED))


@pytest.fixture(scope="module")
def synthesis() -> torch.nn.Module:
    torch.manual_seed(1)
    return random_weights(Synthesis(SMALL))


def crop(x: Tensor, box: Box, origin: Box = CELLS) -> Tensor:
    rows, cols = box.slices(origin)
    return x[:, :, rows, cols]


def analyse_crop(analysis: torch.nn.Module, image: Tensor, inner: Box, halo: int) -> Tensor:
    outer = inner.grown(halo, CELLS)
    pixels = crop(image, outer.scaled_up(STRIDE), CELLS.scaled_up(STRIDE))
    return crop(analysis(pixels), inner, outer)


def synthesise_crop(synthesis: torch.nn.Module, y: Tensor, inner: Box, halo: int) -> Tensor:
    outer = inner.grown(halo, CELLS)
    pixels = synthesis(crop(y, outer), QUALITY)
    return crop(pixels, inner.scaled_up(STRIDE), outer.scaled_up(STRIDE))


@pytest.mark.parametrize("inner", INNER)
def test_the_receptive_field_of_the_analysis_is_within_the_halo(analysis: torch.nn.Module, inner: Box) -> None:
    image = torch.rand(1, 3, 16 * CELLS.height, 16 * CELLS.width)
    expected = crop(analysis(image), inner)
    assert torch.allclose(analyse_crop(analysis, image, inner, analysis.halo), expected, atol=2e-5)


@pytest.mark.parametrize("inner", INNER)
def test_the_receptive_field_of_the_synthesis_is_within_the_halo(synthesis: torch.nn.Module, inner: Box) -> None:
    y = 5 * torch.randn(1, SMALL.latents, CELLS.height, CELLS.width)
    expected = crop(synthesis(y, QUALITY), inner.scaled_up(STRIDE), CELLS.scaled_up(STRIDE))
    scale = float(expected.abs().max())
    cropped = synthesise_crop(synthesis, y, inner, HALO)
    assert torch.allclose(cropped, expected, atol=1e-5 * scale)


def test_a_smaller_halo_changes_the_result(analysis: torch.nn.Module, synthesis: torch.nn.Module) -> None:
    """Shows that the two tests above can fail."""
    inner = INNER[0]
    image = torch.rand(1, 3, 16 * CELLS.height, 16 * CELLS.width)
    expected = crop(analysis(image), inner)
    assert not torch.allclose(analyse_crop(analysis, image, inner, 3), expected, atol=2e-5)
    y = 5 * torch.randn(1, SMALL.latents, CELLS.height, CELLS.width)
    pixels = crop(synthesis(y, QUALITY), inner.scaled_up(STRIDE), CELLS.scaled_up(STRIDE))
    scale = float(pixels.abs().max())
    cropped = synthesise_crop(synthesis, y, inner, 2)
    assert not torch.allclose(cropped, pixels, atol=1e-5 * scale)


def test_each_image_of_a_batch_has_its_own_quality(synthesis: torch.nn.Module) -> None:
    """A single quality is multiplied into the weights, several are not; the results are the same."""
    y = torch.randn(2, SMALL.latents, 4, 4)
    qualities = torch.tensor([0.25, 6.5])
    together = synthesis(y, qualities)
    for i in range(2):
        alone = synthesis(y[i : i + 1], qualities[i : i + 1])
        assert torch.allclose(alone, together[i : i + 1], atol=1e-4 * float(alone.abs().max()))
    other = synthesis(y[:1], qualities[1:])
    assert not torch.allclose(other, together[:1], atol=0.01)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 48), (80, 32)])
def test_wavelet_reconstructs_perfectly(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    packed = wavelet.pack(x)
    assert packed.shape == (2, wavelet.PACKED, height // 16, width // 16)
    assert torch.allclose(wavelet.unpack(packed), x, atol=1e-12)
    other = torch.randn_like(packed)
    assert torch.allclose(wavelet.pack(wavelet.unpack(other)), other, atol=1e-11)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 80)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_wavelet_without_a_gradient(height: int, width: int, layout: torch.memory_format) -> None:
    """Without autograd it works in place, with the same output and without changing its input."""
    x = torch.randn(2, 3, height, width, dtype=torch.float64).contiguous(memory_format=layout)
    before, packed = x.clone(), wavelet.pack(x)
    with torch.no_grad():
        assert torch.allclose(wavelet.pack(x), packed, atol=1e-12)
        packed_before = packed.clone()
        assert torch.allclose(wavelet.unpack(packed), x, atol=1e-12)
    assert torch.equal(x, before) and torch.equal(packed, packed_before)


def test_wavelet_is_nearly_orthonormal() -> None:
    x = torch.randn(1, 3, 256, 256)
    assert abs(float(wavelet.pack(x).square().sum() / x.square().sum()) - 1) < 0.05


def test_wavelet_of_smooth_images() -> None:
    """Away from the border, constants and slopes have coefficients in the three coarsest channels only."""
    packed = wavelet.pack(torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64))
    assert packed[:, :-3].abs().max() < 1e-6
    assert torch.allclose(packed[:, -3:], torch.tensor(8.0).double(), rtol=1e-3)  # 16 * 0.5
    slope = torch.arange(192, dtype=torch.float64).expand(1, 3, 192, 192)
    inside = wavelet.pack(slope)[:, :, 4:8, 4:8]
    assert inside[:, :-3].abs().max() < 1e-4


@pytest.mark.parametrize("config", [SMALL, GATED, PAPER])
def test_shapes(config: Config) -> None:
    net = DMENet(config).requires_grad_(False).eval()
    y = net.analysis(torch.rand(1, 3, 64, 128))
    assert y.shape == (1, config.latents, 4, 8)
    assert net.hyper_encoder(y).shape == (1, config.hyper, 1, 2)
    assert net.synthesis(y, QUALITY).shape == (1, 3, 64, 128)


def test_the_shortcut_alone_is_linear(analysis: torch.nn.Module) -> None:
    assert isinstance(analysis, (Analysis, GatedAnalysis))
    a, b = torch.rand(2, 1, 3, 64, 64)
    analysis.enabled = False
    try:
        both = analysis(a + b) + analysis(torch.zeros_like(a))
        assert torch.allclose(both, analysis(a) + analysis(b), atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):  # the shortcut stays in float32
            assert torch.equal(analysis(a).float(), analysis(a))
    finally:
        analysis.enabled = True


def test_gains_interpolate_in_the_log_domain() -> None:
    net = DMENet(SMALL).requires_grad_(False)
    net.log_gain.copy_(torch.randn(len(LAMBDAS), SMALL.latents))
    gains = net.gain(torch.tensor([0.0, 3.0, 3.5, 4.0, 7.0]))[:, :, 0, 0]
    assert torch.allclose(gains[[0, 1, 3, 4]], net.log_gain[[0, 3, 4, 7]].exp())
    assert torch.allclose(gains[2], (gains[1] * gains[3]).sqrt())


def test_plain_gdn() -> None:
    gdn, inverse = PlainGDN(3), PlainGDN(3, inverse=True)
    gdn.beta.copy_(torch.tensor([1.0, 2.0, 3.0]))
    gdn.gamma.copy_(torch.tensor([[0.1, 0.2, 0.3], [0.0, 1.0, 0.0], [0.5, 0.0, 0.25]]))
    inverse.load_state_dict(gdn.state_dict())
    x = torch.tensor([1.0, -2.0, 4.0])
    norm = (torch.tensor([1 + 0.1 + 0.8 + 4.8, 2 + 4.0, 3 + 0.5 + 4.0])).sqrt()
    assert torch.allclose(gdn(x.view(1, 3, 1, 1).clone()).flatten(), x / norm)
    assert torch.allclose(inverse(x.view(1, 3, 1, 1).clone()).flatten(), x * norm)


def test_configuration_as_json() -> None:
    for config in (SMALL, GATED, PAPER, Config()):
        assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    "fields",
    [
        {"slices": ()},
        {"slices": (0,), "hidden": (1,)},
        {"slices": (8, 8), "hidden": (8,)},
        {"channels": 10**9},
        {"channels": 2},
        {"channels": 140},
        {"strip": 6},
        {"hidden": (1, 1, 1, 1, -1)},
        {"eighths": (9, 64)},
        {"sixteenths": (1, 1025)},
        {"slices": (1,) * 33, "hidden": (1,) * 33},
    ],
)
def test_impossible_configurations_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Config(**fields)  # type: ignore[arg-type]
