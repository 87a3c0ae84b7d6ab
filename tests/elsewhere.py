"""A simulated device: its tensors are computed on the CPU, but refuse to mix with CPU tensors.

It replaces a GPU in tests: a missing `.to(device)` fails on it as on a GPU. Its name is "meta", the only device besides
the CPU that every build of torch has.
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
"""Operations that accept indices on the CPU."""


class Elsewhere(torch.Tensor):
    """A tensor on the simulated device; `held` is the CPU tensor with its values."""

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
    """Intercepts calls without a tensor of the device: `torch.empty(..., device=DEVICE)`, `.to(DEVICE)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    flat, _ = tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    on_device = [isinstance(value, Elsewhere) for value in tensors]
    devices = [value for value in flat if isinstance(value, torch.device)]
    name: str = func._schema.name  # type: ignore[attr-defined]
    # Every device accepts a CPU tensor without dimensions as a number.
    mixed = any(not is_on and tensor.dim() for is_on, tensor in zip(on_device, tensors, strict=True))
    if any(on_device) and mixed and name not in _MOVES | _INDEXING:
        raise RuntimeError(f"{name}: tensors on two devices")
    with torch.inference_mode(False), torch.no_grad():
        out = func(*tree_map(_on_cpu, args), **tree_map(_on_cpu, kwargs))
        if name.endswith("_") and on_device and on_device[0] and out is args[0].held:
            return args[0]
        if devices:
            wrap = devices[0] == DEVICE
        else:
            wrap = on_device[0] if name == "aten::copy_" else any(on_device)
        return tree_map(_wrapped, out) if wrap else out


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Elsewhere):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _wrapped(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, torch.Tensor) else value


_tensor = torch.tensor


def _new_tensor(data: Any, *, dtype: Any = None, device: Any = None) -> torch.Tensor:
    """Replaces `torch.tensor`, which makes an empty tensor on this device."""
    tensor = _tensor(data, dtype=dtype)
    return tensor if device is None else tensor.to(device)


def _new_like(like: torch.Tensor, data: Any) -> torch.Tensor:
    return _new_tensor(data, dtype=like.dtype, device=like.device)


@contextmanager
def elsewhere(exact: tuple[torch.device, torch.dtype]) -> Iterator[None]:
    """Replaces every device by the simulated one; `exact` is the device and dtype of the exact path."""
    with ExitStack() as stack:
        for target, replacement in {
            "torch.__future__.get_overwrite_module_params_on_conversion": lambda: True,
            "torch.autocast": lambda *_, **__: nullcontext(),
            "torch.tensor": _new_tensor,
            "torch.Tensor.new_tensor": _new_like,
            "dmecodec.api.pick_device": lambda _: DEVICE,
            "dmecodec.file.pick_device": lambda _: DEVICE,
            "dmecodec.weights.model.exact_arithmetic": lambda _: exact,
            "dmecodec.weights.model._loaded": {},
        }.items():
            stack.enter_context(mock.patch(target, replacement))
        stack.enter_context(_Factories())
        yield
