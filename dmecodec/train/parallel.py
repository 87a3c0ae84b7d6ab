"""Gradients of a batch on several threads, each with some of the images.

On small images, torch splits the work of one operation badly among cores, and the work between operations runs on one
core. If each thread has its own images, the threads wait for each other only before the sum of the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor

Loss = Callable[[slice], tuple[Tensor, Tensor]]
"""Computes, for a slice of the batch, the mean loss and values to report (n,)."""


class Parts:
    """Gradients of a mean over a batch.

    Args:
        device: device of the model; on devices other than the CPU the batch stays whole.
    """

    def __init__(self, device: torch.device) -> None:
        self._threads = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    def backward(self, loss: Loss, batch: int, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Sets `grad` of each parameter that the loss depends on.

        Args:
            loss: called with a slice of the batch, from several threads at once.
            batch: number of images.
            parameters: the parameters to differentiate by.

        Returns:
            The mean loss and the means of the values, without gradients.
        """
        count = min(self._threads, batch)
        edges = [batch * i // count for i in range(count + 1)]
        parts = [slice(first, end) for first, end in pairwise(edges)]
        trainable = [p for p in parameters if p.requires_grad]

        def differentiate(part: slice) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
            if self._pool is not None:
                torch.set_num_threads(self._threads // count)
            mean, values = loss(part)
            share = (part.stop - part.start) / batch
            gradients = torch.autograd.grad(mean * share, trainable, allow_unused=True)
            return mean.detach() * share, values.detach() * share, gradients

        if self._pool is None:
            results = [differentiate(part) for part in parts]
        else:
            results = list(self._pool.map(differentiate, parts))
            torch.set_num_threads(self._threads)  # some of it is a setting of the whole process
        losses, values, gradients = zip(*results, strict=True)
        for p, of_parts in zip(trainable, zip(*gradients, strict=True), strict=True):
            present = [g for g in of_parts if g is not None]
            p.grad = torch.stack(present).sum(0) if present else None
        return torch.stack(losses).sum(), torch.stack(values).sum(0)
