"""Every script of experiments/ runs; what it finds is for docs/results.md."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("compressai")
ROOT = Path(__file__).parent.parent
SCRIPTS = {
    "ablation": ["ablation.csv"],
    "adapt": ["adapt.csv"],
    "anchors_train": ["anchor-tong2023.csv"],
    "classification": ["classification.csv", "confusion.csv"],
    "complexity": ["complexity.csv"],
    "crops": ["crops-example.csv"],
    "feature_maps": [],
    "natural": ["natural.csv"],
}
MORE = {"anchors_train": ["--architectures", "tong2023"], "crops": [str(ROOT / "docs" / "example.png"), "--bpp", "0.5"]}


def test_each_script_is_tested() -> None:
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py") if "def main" in path.read_text()}
    assert scripts == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_smoke_run_writes_points(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "experiments" / f"{name}.py"), "--smoke", "--out", str(tmp_path)]
    result = subprocess.run([*command, "--threads", "1", *MORE.get(name, [])], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for file in SCRIPTS[name]:
        with (tmp_path / file).open(newline="") as rows:
            assert list(csv.DictReader(rows))
