"""MDEI and Loss_MDSE, the structural term of the loss (section 2.2, equations 2 to 5).

The loss is the squared difference between the structural features of the original and of the reconstruction. Only
training computes it; encoder and decoder do not.

**Kernels are fixed**, with the initial values of the paper. The paper lets the Gaussian kernels "fit the network". But
their only gradient is that of the loss that they define, and a kernel of zeros minimises it.

**The bar convolution is a central difference**, (-1/2, 0, 1/2). The paper gives its size, 1x3, without values. A fixed
kernel must respond to changes of a profile, not to its brightness, which the MSE weighs already. Four kernels were
compared by distortions of equal MSE on UC Merced images. The central difference responds 6 to 7 times as much to blur
and coding artefacts as to noise (forward difference: 4, Laplacian: 3), and not at all to a shift of brightness. A
smoothing kernel responds to little else.

**Images are on 0..1, the loss is in squared grey levels (0-255)**, as D is. On 0..255 the sigmoids of HA and VA would
saturate and have no gradient; on 0..1 the loss would be 65025 times smaller than D.

**Its weight is small.** f = 0.1 counts squared. At 30 dB the loss is 0.5 to 0.9 % of D for noise, blur and coding
artefacts, nearly all of it from EEM; psi = 0.0185 makes it 1e-4 of D. No scale changes this ratio, as EEM is linear and
the sigmoids are bounded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base.device import full_precision

# Caption of Fig. 2. Section 2.1 of the paper has c = 0.1; the text of equation 3 has 0.5, as the caption.
AVERAGE_HORIZONTAL, DEVIATION_HORIZONTAL = 0.5, 0.5  # a, b
AVERAGE_VERTICAL, DEVIATION_VERTICAL = 0.5, 0.5  # c, d
HORIZONTAL, EDGES, VERTICAL = 0.5, 0.1, 0.5  # e, f, g

BAR = (-0.5, 0.0, 0.5)
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # its outer product sums to N = 256
VARIANCE_FLOOR = 1e-6  # (1/4 grey level)^2, as the gradient of the root is infinite at zero


class BarAttention(nn.Module):
    """HA (equation 2) or VA (equation 3): the changes of a profile of the image along one axis.

    The profile has one value for each column (HA) or row (VA): a weighted sum of average and standard deviation over
    the bands and the other axis. It passes through the bar convolution and a sigmoid, and is expanded to the image.
    The ends of the profile are repeated, so that the border is no structure.
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
    """EEM (equation 4, Fig. 3): one level of a Laplacian pyramid.

    It blurs the image, keeps every second row and column, inserts zeros between them, blurs with four times the kernel
    (as three of four pixels are zero), and subtracts the result from the image. Fig. 3 has one channel group. Its
    initial values must be the Gaussian within each band and zeros between bands, or the background would be nine times
    too bright. With fixed kernels this is one group per band, at a third of the cost.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        binomial = torch.tensor(BINOMIAL)
        gaussian = torch.outer(binomial, binomial) / 256  # M / N = 1 / 256
        self.register_buffer("kernel", gaussian.view(1, 1, 5, 5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) with h, w >= 3 to the same shape, zero where the image is flat.

        Borders are mirrored about the outer pixel. This keeps even positions even, so the inserted zeros continue
        beyond the border, and the result of a flat image is zero up to its last pixel.
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

    It is computed in float32, as the features differ by little.

    Args:
        original: (b, c, h, w) float on 0..1, h and w at least 3.
        reconstruction: the same shape and scale; not clamped.

    Returns:
        (b,) float32, in squared grey levels of the 0-255 scale; equation 15 adds psi times it to D.
    """
    # A new module for each call, so that devices and threads share nothing.
    mdei = MDEI().to(original.device)
    with full_precision(original.device):
        difference = mdei(original.float()) - mdei(reconstruction.float())
    return 255.0**2 * difference.square().mean(dim=(1, 2, 3))
