"""What the site needs beside the pages of this folder: pages from elsewhere in the repository, no foreign scripts."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "models/README.md": "models.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changes.md",
}
"""Pages outside docs/, and their names in the site."""
_FOREIGN = re.compile(r"https://(?:unpkg\.com|cdn\.jsdelivr\.net)/[\w@./-]*")
"""Scripts that the theme would fetch, such as Mermaid, of which the pages here use none."""


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages outside docs/."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links between files of the repository into links between pages; what is not in the site loses its link."""
    name = page.file.src_uri
    here = next((source for source, page_name in PAGES.items() if page_name == name), f"docs/{name}")

    def relinked(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        inside = PAGES.get(place) or (place[len("docs/") :] if place.startswith("docs/") else "")
        if files.get_file_from_path(inside) is None:
            return match[0] if match[0].startswith("!") else text
        link = posixpath.relpath(inside, posixpath.dirname(name) or ".")
        return match[0].replace(f"({target})", f"({link}{'#' * bool(anchor)}{anchor})")

    markdown = re.sub(r"!?\[([^]]*)\]\(([^)\s]+)\)", relinked, markdown)
    # An index such as x[i][j] in the text is no reference.
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if n % 2 else part.replace("][", "]\\[") for n, part in enumerate(parts))


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Shows the roles of docstrings, such as :func:, as plain code."""
    return re.sub(r":(?:func|meth|class|mod):(?=<code>)", "", html)


def on_post_build(config: Any) -> None:
    """Removes the addresses of foreign scripts from the theme's own, and maps of these scripts."""
    for folder, _, names in os.walk(config["site_dir"]):
        for name in names:
            path = Path(folder, name)
            if name.endswith(".map"):
                path.unlink()
            elif name.endswith((".js", ".css")):
                text = path.read_text(encoding="utf-8")
                if _FOREIGN.search(text):
                    path.write_text(_FOREIGN.sub("", text), encoding="utf-8")
