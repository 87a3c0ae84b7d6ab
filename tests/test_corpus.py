"""One file of each kind that rasterio and Pillow can write: none is wrong, and those that are refused are known."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rasterio")

from corpus import PASSED, REFUSED, examine
from corpus_files import write_corpus

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # of affine 3
]


def test_no_file_is_wrong(tmp_path: Path) -> None:
    verdicts = [examine(path, "tiny") for path in write_corpus(tmp_path)]
    assert len(verdicts) > 60
    wrong = [
        str(verdict)
        for verdict in verdicts
        if verdict.state != (REFUSED if verdict.path.name.startswith("refused") else PASSED)
    ]
    assert not wrong, "\n".join(wrong)
