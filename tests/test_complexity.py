"""The network is as small as the paper's (Table 3), and not much larger with everything of ours."""

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


def test_the_papers_blocks_are_as_large_as_the_paper_says(parts: list[Part]) -> None:
    paper = total(parts, "the paper's blocks")
    assert 5.2e6 <= paper.parameters <= 5.6e6  # 5.30 M there
    assert paper.flops <= 5.6e9  # 5.51 GFLOPs there


def test_everything_stays_small(parts: list[Part]) -> None:
    everything = total(parts, "everything")
    assert everything.parameters <= 9e6
    assert everything.flops <= 7.5e9


def test_the_fast_network_is_two_fifths(parts: list[Part]) -> None:
    fast, usual = total(count("fast"), "everything"), total(parts, "everything")
    assert fast.parameters < 0.4 * usual.parameters
    assert fast.flops < 0.4 * usual.flops


def test_the_parts_sum_up(parts: list[Part]) -> None:
    single = [part for part in parts if not part.total]
    for name, ours in (("everything", True), ("the paper's blocks", False)):
        chosen = [part for part in single if part.name.startswith("paper's ") is not ours]
        assert sum(part.parameters for part in chosen) == total(parts, name).parameters
        assert sum(part.flops for part in chosen) == total(parts, name).flops
        assert all(part.parameters > 0 for part in chosen)


def test_no_parameter_is_left_out(parts: list[Part]) -> None:
    """The linear shortcuts' filters and such are buffers, counted with the rest or not learned."""
    net = DMENet(Config())
    learned = sum(p.numel() for p in net.parameters())
    assert learned <= total(parts, "everything").parameters
