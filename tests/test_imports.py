"""What each command imports: looking at files needs no torch, coding none of what training needs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment
from conftest import DATA

# Runs a command, then writes the names of all imported modules to a file.
SCRIPT = """
import sys
from dmecodec.cli.main import main
names = sys.argv.pop(1)
try:
    main(sys.argv[1:])
finally:
    open(names, "w").write("\\n".join(sys.modules))
"""

OPTIONAL = {"rasterio", "dask", "distributed", "numcodecs", "zarr"}
TRAINING_ONLY = {"compressai", "pandas", "torchvision", "matplotlib", "pytorch_msssim", "scipy"}


def imported_by(folder: Path, *arguments: object) -> set[str]:
    names = folder / "modules.txt"
    command = [sys.executable, "-c", SCRIPT, str(names), *map(str, arguments)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(names.read_text().split("\n"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["encode", "--help"],
        ["info", DATA / "rgb_q4.dmen"],
        ["info", "--json", DATA / "rgb_metadata.dmen"],
        ["models"],
        ["verify", DATA / "rgb_q4.dmen"],
    ],
    ids=lambda arguments: arguments[0] + (" --help" if "--help" in arguments[1:] else ""),
)
def test_looking_needs_no_torch(tmp_path: Path, arguments: list[object]) -> None:
    modules = imported_by(tmp_path, *arguments)
    assert "dmecodec.cli" in modules
    assert "torch" not in modules
    assert "compressai" not in modules
    assert not modules & OPTIONAL


def test_importing_the_package_imports_no_torch() -> None:
    code = "import dmecodec, sys; dir(dmecodec); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment()).returncode == 0


def test_coding_needs_nothing_that_only_training_needs(tmp_path: Path) -> None:
    target = tmp_path / "a.dmen"
    modules = imported_by(tmp_path, "encode", DATA / "rgb_1x1.png", "-o", target, "--device", "cpu")
    assert "torch" in modules
    assert not modules & (TRAINING_ONLY | OPTIONAL)
    modules = imported_by(tmp_path, "decode", target, "--device", "cpu")
    assert not modules & (TRAINING_ONLY | OPTIONAL)


@pytest.mark.parametrize("name", ["numcodecs", "zarr"])
def test_what_is_not_installed_is_told_in_one_line(name: str) -> None:
    code = f"import sys; sys.modules[{name!r}] = None; import dmecodec.{name}"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True)
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("dmecodec.errors.DependencyError: this needs "), done.stderr
    assert last.endswith("pip install 'dmecodec[zarr]'")


@pytest.mark.parametrize("page", ["README.md", "docs/usage.md", "docs/integrations.md", "docs/geotiff.md"])
def test_what_the_pages_import_is_there(page: str) -> None:
    """Every name of ours that an example takes from a module."""
    text = (DATA.parents[1] / page).read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                found = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [(node.module or "", alias.name) for alias in node.names]
            else:
                continue
            for module, name in found:
                if module.startswith("dmecodec"):
                    optional = {"dmecodec.zarr": "zarr", "dmecodec.numcodecs": "numcodecs"}
                    pytest.importorskip(optional.get(module, "dmecodec"))
                    held = importlib.import_module(module)
                    if name is not None and not hasattr(held, name):
                        importlib.import_module(f"{module}.{name}")
