"""MDEI and Loss_MDSE, the structural term of the loss (section 2.2, equations 2 to 5).

MDEI sees the original and the reconstruction, and the loss is the squared difference of what it
finds in them. It is part of the loss alone: neither encoder nor decoder ever runs it.

**No kernel learns.** The paper lets the Gaussian kernels "fit the network". But here the only thing
that reaches them is the gradient of the loss which they define, and that loss is smallest when they
see nothing: a kernel which learns lowers it by going blind. So all kernels are fixed buffers with
the paper's initial values.

**The bar convolution is a central difference**, (-1/2, 0, 1/2). The paper gives its size, 1x3, and
no values. Since it cannot learn, it has to find structure by itself: how a profile changes, not how
bright it is, which the plain MSE weighs already. Of four kernels, each given distortions of one and
the same MSE on UC Merced images, this one answers most to blur and to coding artefacts against
noise (6 to 7 times as much; a forward difference 4, a Laplacian 3), and not at all to a shift of
brightness, which is nearly all that a smoothing kernel sees.

**Images are on 0..1, the loss is on the 0-255 scale**, squared grey levels, as D is. On 0..255 the
sigmoid of HA and VA would sit at its end, where nothing has a gradient; left on 0..1, the loss
would be 65025 times smaller than the D it is added to.

**It weighs little.** f = 0.1 counts as its square, so at 30 dB the loss is 0.5 to 0.9 % of D for
noise, blur and coding artefacts alike (measured as above), nearly all of it from EEM, and psi =
0.0185 makes this 1e-4 of D. No choice of scale changes that: EEM is linear, as the error itself is,
and the sigmoids are bounded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base.device import full_precision

# The caption of Fig. 2. Section 2.1 of the paper has c = 0.1; equation 3's own text has 0.5 too.
AVERAGE_HORIZONTAL, DEVIATION_HORIZONTAL = 0.5, 0.5  # a, b
AVERAGE_VERTICAL, DEVIATION_VERTICAL = 0.5, 0.5  # c, d
HORIZONTAL, EDGES, VERTICAL = 0.5, 0.1, 0.5  # e, f, g

BAR = (-0.5, 0.0, 0.5)
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # its outer product sums to N = 256
VARIANCE_FLOOR = 1e-6  # a quarter of a grey level, squared: the root's gradient is infinite at zero


class BarAttention(nn.Module):
    """HA (equation 2) or VA (equation 3): how a profile of the image along one axis changes.

    Average and standard deviation over the bands and the other axis leave one value a column (HA)
    or a row (VA); the bar convolution runs along these, and the sigmoid of its output is spread
    over the image again. The profile's ends are repeated, so that the border is no structure.
    """

    kernel: Tensor

    def __init__(self, pooled_axis: int, average: float, deviation: float) -> None:
        """Pool over axis 2 (rows, which leaves columns: HA) or 3 (columns: VA) of (b, c, h, w)."""
        super().__init__()
        self.pooled_axis = pooled_axis
        self.average = average
        self.deviation = deviation
        self.register_buffer("kernel", torch.tensor(BAR).view(1, 1, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to the same shape, values in 0..1, the same for all bands."""
        axes = (1, self.pooled_axis)
        deviation = (x.var(dim=axes, correction=0) + VARIANCE_FLOOR).sqrt()
        profile = self.average * x.mean(dim=axes) + self.deviation * deviation
        ends_repeated = F.pad(profile[:, None], (1, 1), mode="replicate")
        structure = torch.sigmoid(F.conv1d(ends_repeated, self.kernel.to(x.dtype)))
        return structure.unsqueeze(self.pooled_axis).expand_as(x)


class EdgeExtraction(nn.Module):
    """EEM (equation 4, Fig. 3): the image less what is left of it after half the resolution.

    Blur, keep every second row and column, put zeros between, blur with four times the kernel
    (three of four pixels are zero), subtract: one level of a Laplacian pyramid. Fig. 3 has one
    channel group; at its initial values that must mean the Gaussian from each band to itself and
    zeros between bands, or the background would come out nine times too bright. With fixed kernels
    this is one group a band, which costs a third.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        binomial = torch.tensor(BINOMIAL)
        gaussian = torch.outer(binomial, binomial) / 256  # M / N = 1 / 256
        self.register_buffer("kernel", gaussian.view(1, 1, 5, 5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) with h, w >= 3 to the same shape, zero where the image is flat.

        Borders are mirrored about the outer pixel, which keeps even positions even: even the zeros
        between go on beyond the border, and a flat image stays flat up to its last pixel.
        """
        background = torch.zeros_like(x)
        background[..., ::2, ::2] = self._blur(x, self.kernel, stride=2)
        return x - self._blur(background, 4 * self.kernel)

    @staticmethod
    def _blur(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
        bands = x.shape[1]
        weight = kernel.to(x.dtype).expand(bands, 1, 5, 5)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), weight, stride=stride, groups=bands)


class MDEI(nn.Module):
    """The structural features of an image (equation 5): e HA + f EEM + g VA, no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.horizontal = BarAttention(2, AVERAGE_HORIZONTAL, DEVIATION_HORIZONTAL)
        self.vertical = BarAttention(3, AVERAGE_VERTICAL, DEVIATION_VERTICAL)
        self.edges = EdgeExtraction()

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) float on 0..1, h and w at least 3, to features of the same shape."""
        return HORIZONTAL * self.horizontal(x) + EDGES * self.edges(x) + VERTICAL * self.vertical(x)


def mdse_loss(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Loss_MDSE: the mean squared difference of the two images' structural features.

    It is computed in float32 whatever the inputs and the autocast around it: the features differ by
    little.

    Args:
        original: (b, c, h, w) float on 0..1, h and w at least 3.
        reconstruction: the same shape and scale; not clamped.

    Returns:
        (b,) float32, in squared grey levels of the 0-255 scale, to be added to D as psi times this
        (equation 15).
    """
    # Made anew: cheap, and never shared between devices or threads.
    mdei = MDEI().to(original.device)
    with full_precision(original.device):
        difference = mdei(original.float()) - mdei(reconstruction.float())
    return 255.0**2 * difference.square().mean(dim=(1, 2, 3))
