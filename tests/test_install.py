"""A wheel, built and installed as users do: what is in it, what it asks for, and that it runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from conftest import DATA
from packaging.requirements import Requirement

SOURCE = Path(__file__).resolve().parents[1]
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
# What pip says where it cannot fetch the build backend.
OFFLINE = ("No matching distribution found for hatchling", "Could not fetch URL", "ConnectionError")

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this environment has no pip to build with"),
    pytest.mark.skipif(not (SOURCE / "pyproject.toml").is_file(), reason="needs the source tree"),
]


def pip(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    here = importlib.util.find_spec("hatchling") is not None
    isolation = ["--no-build-isolation"] if here else []
    built = pip("wheel", "--no-deps", *isolation, "--wheel-dir", folder, SOURCE)
    if built.returncode and any(words in built.stdout + built.stderr for words in OFFLINE):
        pytest.skip("hatchling is not installed and cannot be fetched")
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if n.endswith(f".dist-info/{name}"))
        return archive.read(path).decode()


@pytest.fixture(scope="module")
def fields(wheel: Path) -> Message:
    return Parser().parsestr(metadata(wheel, "METADATA"))


def test_the_wheel_is_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("dmecodec/models/manifest.json"))
    assert "dmecodec/py.typed" in names
    for model in manifest["models"]:
        assert f"dmecodec/models/{model['file']}" in names
    modules = {str(p.relative_to(SOURCE).as_posix()) for p in SOURCE.glob("dmecodec/**/*.py")}
    assert modules <= names
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".pyc")]


def test_its_command_and_its_licence(wheel: Path, fields: Message) -> None:
    assert "dmecodec = dmecodec.cli.main:main" in metadata(wheel, "entry_points.txt")
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.10"


@pytest.mark.parametrize(
    ("python", "platform", "needed"),
    [("3.10", "linux", True), ("3.12", "darwin", True), ("3.12", "win32", False),
     ("3.13", "linux", False), ("3.14", "darwin", False)],
)  # fmt: skip
def test_compressai_is_asked_for_only_where_it_has_a_wheel(
    fields: Message, python: str, platform: str, needed: bool
) -> None:
    requirements = {r.name: r for r in map(Requirement, fields.get_all("Requires-Dist", []))}
    marker = requirements["compressai"].marker
    assert marker is not None
    assert marker.evaluate({"python_version": python, "sys_platform": platform}) is needed
    for name in ("torch", "click", "pillow", "numpy", "constriction", "rich", "safetensors"):
        assert requirements[name].marker is None


# ---- installed ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second environment with the wheel in it, which sees the packages of this one."""
    folder = tmp_path_factory.mktemp("second") / "venv"
    venv.create(folder)
    python = folder / SCRIPTS / "python"
    installed = pip("--python", python, "install", "--no-deps", "--no-compile", wheel)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    # Only now, so that pip does not take a dmecodec of this environment for that of the second.
    packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (own,) = {path.parent for path in folder.glob("**/site-packages/dmecodec")}
    (own / "first.pth").write_text("\n".join(packages) + "\n")
    return folder


def run(environment: Path, *arguments: object) -> str:
    """What the installed command prints, far from the source tree."""
    hidden = ("PYTHONPATH", "DMECODEC_MODELS", "VIRTUAL_ENV")
    variables = {k: v for k, v in os.environ.items() if k not in hidden} | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [str(environment / SCRIPTS / "dmecodec"), *map(str, arguments)],
        cwd=environment, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_installed_command_tells_its_version(environment: Path, fields: Message) -> None:
    assert run(environment, "--version").strip().endswith(fields["Version"])


def test_the_models_are_found_in_the_wheel(environment: Path) -> None:
    found = json.loads(run(environment, "models", "--json"))
    listed = json.loads((SOURCE / "models" / "manifest.json").read_text())
    assert [model["name"] for model in found] == [model["name"] for model in listed["models"]]
    assert [model["name"] for model in found if model["default"]] == [listed["default"]]
    for model in found:
        assert model["intact"]
        assert environment.resolve() in Path(model["path"]).resolve().parents


def test_the_installed_command_codes(environment: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.dmen"
    facts = json.loads(run(environment, "encode", DATA / "rgb_1x1.png", "-o", target, "--device", "cpu", "--json"))
    assert facts["bytes"] == target.stat().st_size
    run(environment, "verify", target)


def test_the_codecs_are_found_by_their_entry_points(environment: Path) -> None:
    pytest.importorskip("zarr", minversion="3", reason="needs dmecodec[zarr]")
    code = (
        "import json, numcodecs, zarr.registry\n"
        "codecs = [numcodecs.get_codec({'id': 'dmecodec', 'quality': 3, 'tile': 64}),\n"
        "          zarr.registry.get_codec_class('dmecodec')(quality=3, tile=64)]\n"
        "print([type(codec).__module__ for codec in codecs])\n"
    )
    done = subprocess.run(
        [str(environment / SCRIPTS / "python"), "-c", code], capture_output=True, text=True,
        cwd=environment, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip
    assert done.stdout == "['dmecodec.plugins.numcodecs', 'dmecodec.plugins.zarr']\n", done.stderr


def test_the_models_are_found_in_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so in an editable install, which is a path to the checkout."""
    from dmecodec.weights import registry

    if Path(registry.__file__).resolve().parents[2] != SOURCE:
        pytest.skip("the package that is tested is not that of the checkout")
    monkeypatch.delenv("DMECODEC_MODELS")
    assert registry.folders() == [SOURCE / "models"]
    assert registry.find().path.parent == SOURCE / "models"
