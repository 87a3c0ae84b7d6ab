"""The pages: lengths of lines, links, and the modules that they name."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = {".venv", "build", "dist", "runs", "site"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not any(x in HIDDEN or x[0] == "." for x in p.relative_to(ROOT).parts))
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
PACKAGE = ROOT / "dmecodec"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as viewers of Markdown make them."""
    titles = re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_lines_are_short(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [n for n, line in enumerate(lines, 1) if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_modules_that_are_named_exist(page: Path) -> None:
    """`room/module.py` inside the package, and paths from the root of the repository."""
    missing = []
    for name in re.findall(r"`([\w.]+(?:/[\w.]+)*\.py)`", page.read_text(encoding="utf-8")):
        places = (ROOT / name, PACKAGE / name, page.parent / name)
        if not any(place.is_file() for place in places):
            missing.append(name)
    for name in re.findall(r"`(?:dmecodec/)?(\w+)/`", page.read_text(encoding="utf-8")):
        if not any((folder / name).is_dir() for folder in (ROOT, PACKAGE, page.parent)):
            missing.append(name)
    assert missing == []


def test_the_architecture_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [room for room in ROOMS if f"`{room}`" not in page] == []
