"""bf16 is used on processors whose bf16 instructions are faster than float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dmecodec.base import processor
from dmecodec.base.device import autocast


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An x86 machine on which torch supports bf16, without /proc/cpuinfo."""
    processor.cpu_info.cache_clear()
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    yield monkeypatch
    processor.cpu_info.cache_clear()


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("GenuineIntel", "avx2", False),
        ("GenuineIntel", "avx2 avx512f avx512_vnni", False),  # bf16 is emulated by float32
        ("GenuineIntel", "avx512f avx512_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16 avx512_fp16", False),  # AMX is hidden
        ("GenuineIntel", "avx512f avx512_bf16 avx512_fp16 amx_bf16 amx_tile", True),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx512f avx512_bf16 avx512_fp16", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_the_instruction_set_decides(pretend: pytest.MonkeyPatch, vendor: str, flags: str, faster: bool) -> None:
    processor._CPUINFO.write_text(
        f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A: B\nflags\t\t: fpu {flags}\n\n"
    )
    assert processor.computes_in_bf16() is faster
    with autocast(torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") is faster


@pytest.mark.parametrize("faster", [False, True])
def test_without_cpuinfo_torch_decides(pretend: pytest.MonkeyPatch, faster: bool) -> None:
    pretend.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: faster, raising=False)
    assert processor.computes_in_bf16() is faster


def test_float32_if_torch_has_no_test_for_bf16(pretend: pytest.MonkeyPatch) -> None:
    pretend.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert processor.computes_in_bf16() is False


@pytest.mark.parametrize("supported", [False, True])
def test_other_architectures_follow_torch(pretend: pytest.MonkeyPatch, supported: bool) -> None:
    pretend.setattr(processor.platform, "machine", lambda: "aarch64")
    pretend.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    assert processor.computes_in_bf16() is supported


def test_without_onednn_float32(pretend: pytest.MonkeyPatch) -> None:
    pretend.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert processor.computes_in_bf16() is False
