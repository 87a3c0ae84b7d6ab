"""The page of a report: what its file holds, and in a browser what it does."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from toy_codec import picture, toy_decode, toy_encode

import dmecodec
from dmecodec.bench.codecs import JPEG, JPEG2000
from dmecodec.bench.folder import write_report
from dmecodec.bench.report import Report
from dmecodec.bench.results import LeftOut
from dmecodec.bench.runner import run

HOSTILE = "<img src=x onerror=document.title=1>&'\".png"
CLOSING = "<!--</script><script>document.title=2<"
"""No file has a slash in its name, but a reason that something was left out may have one."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(("b.png", "c.png", HOSTILE)):
        Image.fromarray(picture(170 + seed, 180, seed)).save(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dmecodec, "encode", toy_encode, raising=False)
        patch.setattr(dmecodec, "decode", toy_decode, raising=False)
        for codec in (JPEG, JPEG2000):
            patch.setattr(codec, "settings", codec.settings[::2])
        measured = run(folder, codecs=["jpeg", "jpeg2000"], qualities=(1, 3, 5, 7), at_bpp=0.8, crops=True)
    yield replace(measured, left_out=[LeftOut(CLOSING, CLOSING)])


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("plotly")
    return write_report(report, tmp_path_factory.mktemp("report"))[0]


def data_of(text: str) -> dict[str, Any]:
    (content,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert "<" not in content
    return json.loads(content)


def test_names_reach_the_page_as_json_alone(page: Path) -> None:
    text = page.read_text()
    assert "<img src=x" not in text
    assert "<!--</script>" not in text
    data = data_of(text)
    assert HOSTILE in data["images"]
    assert data["left_out"][0]["what"] == CLOSING


def test_the_page_may_load_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'" in text
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", text.partition("<script type")[0]) == []
    assert "<!--" not in text.partition('id="data"')[0]  # every place is filled


def test_without_plotly_the_page_shows_the_plots(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plotly", "plotly.offline"):
        monkeypatch.setitem(sys.modules, name, None)
    data = data_of(write_report(report, tmp_path)[0].read_text())
    assert data["plots"]["rd_psnr.svg"].startswith("data:image/svg+xml;base64,")
    assert "bd_rate_speed.svg" in data["plots"]


# ---- in a browser: pytest -m browser -------------------------------------------------------------------------------


@pytest.fixture
def tab(page: Path) -> Iterator[Any]:
    """The page in Chromium; it fails where the page complains or asks for anything but itself."""
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        errors: list[str] = []
        requests: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(page.as_uri())
        yield tab
        browser.close()
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]


@pytest.mark.browser
def test_hostile_names_are_text(tab: Any) -> None:
    assert tab.title() == "dmecodec bench"
    assert HOSTILE in tab.locator("#images tbody th").all_inner_texts()
    assert CLOSING in tab.locator("#left-out tbody th").all_inner_texts()


@pytest.mark.browser
def test_the_table_of_images_sorts(tab: Any) -> None:
    def column(place: int) -> list[str]:
        return tab.locator(f"#images tbody tr > :nth-child({place})").all_inner_texts()

    for _ in range(2):
        tab.locator("#images thead button").first.click()
    assert column(1) == sorted(column(1), reverse=True)
    assert tab.locator("#images thead th").first.get_attribute("aria-sort") == "descending"
    tab.locator("#images thead button", has_text="dmecodec").click()
    rates = [float(text.replace("\u2212", "-")) for text in column(3)]
    assert rates == sorted(rates)
    assert len(rates) == 3
    assert tab.locator("#images thead th").first.get_attribute("aria-sort") == "none"


@pytest.mark.browser
def test_the_slider_moves_the_boundary(tab: Any) -> None:
    example = tab.locator(".example").first
    slider, right = example.locator("input[type=range]"), example.locator("img.right")
    slider.fill("80")
    assert right.evaluate("image => image.style.clipPath") == "inset(0px 0px 0px 80%)"
    box = example.locator(".stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.up()
    assert float(slider.input_value()) == pytest.approx(25, abs=1)
    sides = [image.bounding_box() for image in example.locator(".stage img").all()]
    assert sides[0] == sides[1]  # both crops at equal size


@pytest.mark.browser
def test_a_codec_is_chosen_in_the_gallery(tab: Any) -> None:
    example = tab.locator(".example").first
    button = example.locator(".gallery button", has_text="jpeg2000")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    shown = example.locator("img.right").get_attribute("src")
    assert shown == button.locator("img").first.get_attribute("src")


@pytest.mark.browser
def test_the_measure_and_the_anchor_can_be_switched(tab: Any) -> None:
    title = "document.querySelector('#curves .ytitle').textContent"
    assert tab.evaluate(title) == "PSNR, dB"
    tab.select_option("#measure", "ms_ssim_db")
    tab.wait_for_function(f"{title} === 'MS-SSIM, dB'")
    tab.select_option("#anchor", "jpeg")
    assert "jpeg2000" in " ".join(tab.locator("#images thead th").all_inner_texts())
    names = [text.split() for text in tab.locator("#speed .textpoint").all_text_contents()]
    assert len(names) == 6  # three codecs over encode speed, and over decode speed


@pytest.mark.browser
def test_hover_shows_the_values_of_a_point(tab: Any) -> None:
    point = tab.locator("#curves .scatterlayer .points path").nth(2).bounding_box()
    tab.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    tab.wait_for_selector("#curves .hovertext")
    assert "bpp" in tab.locator("#curves .hovertext").text_content()


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_is_no_wider_than_the_window(tab: Any, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
