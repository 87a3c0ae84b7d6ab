"""The code of docs/integrations.md, section by section, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import aerial

import dmecodec

PAGE = Path(__file__).resolve().parents[1] / "docs" / "integrations.md"
NEEDED = {
    "Pillow": ["PIL"],
    "rasterio, rioxarray and whatever reads GeoTIFFs": ["rasterio._vsiopener"],
    "xarray": ["xarray", "dask.array"],
    "rio-tiler and titiler": ["rio_tiler"],
}

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the source tree")


@pytest.mark.parametrize("title", NEEDED)
def test_the_code_of_a_section(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDED[title]:
        pytest.importorskip(module)
    if title == "xarray" and "dmecodec" not in __import__("xarray").backends.list_engines():
        pytest.skip("this tree is not installed")
    monkeypatch.chdir(tmp_path)
    from PIL import Image

    Image.fromarray(aerial(99, 520, 530)).save("photo.png")
    if "rasterio._vsiopener" in NEEDED[title] or title.startswith("rio"):
        from geotiff_files import write

        write(tmp_path / "photo.tif", aerial(99, 520, 530))
        (tmp_path / "scene.dmen").write_bytes(dmecodec.encode(tmp_path / "photo.tif", 4))
    else:
        (tmp_path / "scene.dmen").write_bytes(dmecodec.encode("photo.png", 4))
    section = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(title + "\n"))
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(code, str(PAGE), "exec"), {})
