"""Every script of benchmarks/ starts; what it measures is for benchmarks/README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "benchmarks"
IMPORTS = """
import runpy, sys
for name in sys.argv[1:]:
    runpy.run_path(name, run_name="imported")
"""


def test_each_script_finds_what_it_imports() -> None:
    scripts = sorted(map(str, FOLDER.glob("*.py")))
    done = subprocess.run([sys.executable, "-c", IMPORTS, *scripts], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0 and len(scripts) > 5, done.stderr
