"""A batch in parts, each on a thread of its own.

A CPU's cores share the work inside an operation badly where images are small, and leave what lies between operations to
one of them. Side by side, each with images of its own, they have nothing to wait for but the sum of the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor

Loss = Callable[[slice], tuple[Tensor, Tensor]]
"""What some images of a batch give: their mean loss, and values to report (n,)."""


class Parts:
    """Gradients of a mean over a batch.

    Args:
        device: where it is computed; only a CPU's threads take parts.
    """

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    def backward(self, loss: Loss, batch: int, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Sets the gradient of each parameter that the loss depends on.

        Args:
            loss: called with which images; from several threads at once.
            batch: how many images there are.
            parameters: the leaves.

        Returns:
            The mean loss, and the means of the values: neither has a gradient.
        """
        count = min(self._threads, batch)
        edges = [batch * i // count for i in range(count + 1)]
        parts = [slice(first, end) for first, end in pairwise(edges)]
        wanted = [p for p in parameters if p.requires_grad]

        def gradients(part: slice) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
            if self._pool is not None:
                torch.set_num_threads(self._threads // count)
            mean, values = loss(part)
            share = (part.stop - part.start) / batch
            found = torch.autograd.grad(mean * share, wanted, allow_unused=True)
            return mean.detach() * share, values.detach() * share, found

        if self._pool is None:
            results = [gradients(part) for part in parts]
        else:
            results = list(self._pool.map(gradients, parts))
            torch.set_num_threads(self._threads)  # some of what was set is the whole process's
        losses, values, found = zip(*results, strict=True)
        for p, each in zip(wanted, zip(*found, strict=True), strict=True):
            present = [g for g in each if g is not None]
            p.grad = torch.stack(present).sum(0) if present else None
        return torch.stack(losses).sum(), torch.stack(values).sum(0)
