"""A device that is none: its tensors say they lie elsewhere, are computed on the CPU, and refuse to mix with others.

It stands for a GPU where there is none: what would fail there for want of a `.to(device)` fails here. It calls itself
"meta", the one device beside the CPU that every build of torch knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
_MOVES = {"aten::_to_copy", "aten::copy_", "aten::to", "aten::_has_compatible_shallow_copy_type"}
_INDEXING = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}
"""Which take indices that lie on the CPU."""


class Elsewhere(torch.Tensor):
    """A tensor that lies elsewhere, around the one that holds its values."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Elsewhere:
        return torch.Tensor._make_wrapper_subclass(
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Sees what no tensor leads to: `torch.empty(..., device=DEVICE)`, `.to(DEVICE)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    there = [isinstance(value, Elsewhere) for value in tensors]
    told = [value for value in flat if isinstance(value, torch.device)]
    name: str = func._schema.name  # type: ignore[attr-defined]
    # A CPU tensor of no dimension is taken as a number, on every device.
    alone = all(one or not tensor.dim() for one, tensor in zip(there, tensors, strict=True))
    if any(there) and not alone and name not in _MOVES | _INDEXING:
        raise RuntimeError(f"{name}: tensors on two devices")
    with torch.inference_mode(False), torch.no_grad():
        out = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        if name.endswith("_") and there and there[0] and out is args[0].held:
            return args[0]
        if told:
            goes = told[0] == DEVICE
        else:
            goes = there[0] if name == "aten::copy_" else any(there)
        return tree_map(_wrapped, out) if goes else out


def _here(value: Any) -> Any:
    if isinstance(value, Elsewhere):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _wrapped(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, torch.Tensor) else value


_tensor = torch.tensor


def _new(data: Any, *, dtype: Any = None, device: Any = None) -> torch.Tensor:
    """`torch.tensor`, which would make an empty one on this device."""
    made = _tensor(data, dtype=dtype)
    return made if device is None else made.to(device)


def _new_like(like: torch.Tensor, data: Any) -> torch.Tensor:
    return _new(data, dtype=like.dtype, device=like.device)


@contextmanager
def elsewhere(exact: tuple[torch.device, torch.dtype]) -> Iterator[None]:
    """Whatever device is asked for is the one that is none, with its integers computed as `exact` says."""
    with ExitStack() as stack:
        for target, made in {
            "torch.__future__.get_overwrite_module_params_on_conversion": lambda: True,
            "torch.autocast": lambda *_, **__: nullcontext(),
            "torch.tensor": _new,
            "torch.Tensor.new_tensor": _new_like,
            "dmecodec.api.pick_device": lambda _: DEVICE,
            "dmecodec.file.pick_device": lambda _: DEVICE,
            "dmecodec.weights.model.exact_arithmetic": lambda _: exact,
            "dmecodec.weights.model._loaded": {},
        }.items():
            stack.enter_context(mock.patch(target, made))
        stack.enter_context(_Factories())
        yield
