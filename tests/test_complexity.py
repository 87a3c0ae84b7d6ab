"""Parameters and operations: the blocks of the paper as in Table 3, and limits for our networks."""

from __future__ import annotations

import pytest

from dmecodec.network.complexity import Part, count
from dmecodec.network.config import Config
from dmecodec.network.dmenet import DMENet


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    return count()


def total(parts: list[Part], name: str) -> Part:
    return next(part for part in parts if part.total and part.name == name)


def test_the_blocks_of_the_paper_match_table_3(parts: list[Part]) -> None:
    paper = total(parts, "the paper's blocks")
    assert 5.2e6 <= paper.parameters <= 5.6e6  # 5.30 M in Table 3
    assert paper.flops <= 5.6e9  # 5.51 GFLOPs in Table 3


def test_the_default_network_stays_within_limits(parts: list[Part]) -> None:
    everything = total(parts, "everything")
    assert everything.parameters <= 9e6
    assert everything.flops <= 7.5e9


def test_the_fast_network_has_two_fifths_of_the_size(parts: list[Part]) -> None:
    fast, default = total(count("fast"), "everything"), total(parts, "everything")
    assert fast.parameters < 0.4 * default.parameters
    assert fast.flops < 0.4 * default.flops


def test_the_parts_sum_up(parts: list[Part]) -> None:
    single = [part for part in parts if not part.total]
    for name, is_ours in (("everything", True), ("the paper's blocks", False)):
        chosen = [part for part in single if part.name.startswith("paper's ") is not is_ours]
        assert sum(part.parameters for part in chosen) == total(parts, name).parameters
        assert sum(part.flops for part in chosen) == total(parts, name).flops
        assert all(part.parameters > 0 for part in chosen)


def test_no_parameter_is_left_out(parts: list[Part]) -> None:
    """The parts also count buffers, so their sum is at least the number of learned parameters."""
    net = DMENet(Config())
    learned = sum(p.numel() for p in net.parameters())
    assert learned <= total(parts, "everything").parameters
