"""`dmecodec serve`: GeoTIFFs with ranges, tiles, the page; and all that must not be had."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import one_line, refused, start
from conftest import DATA, aerial
from PIL import Image

for module in ("uvicorn", "starlette", "rio_tiler", "js_lib_leaflet", "httpx"):
    pytest.importorskip(module)
rasterio = pytest.importorskip("rasterio", minversion="1.4")

import httpx  # noqa: E402
from geotiff_files import write  # noqa: E402

import dmecodec  # noqa: E402
from dmecodec.geotiff import opener  # noqa: E402
from dmecodec.serve.ranges import NoRangeError, Span, parse_range  # noqa: E402

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of several kinds, two damaged ones, and a link to one elsewhere."""
    top = tmp_path_factory.mktemp("top")
    folder = top / "scenes"
    (folder / "sub").mkdir(parents=True)
    write(top / "a.tif", np.tile(aerial(100, 300, 560), (2, 1, 1)))
    (folder / "sub" / "grün land.dmen").write_bytes(dmecodec.encode(top / "a.tif", 4, tile=256))
    write(top / "b.tif", aerial(101, 90, 80).astype(np.uint16)[..., :1] * 200, nodata=0)
    (folder / "deep.dmen").write_bytes(dmecodec.encode(top / "b.tif", 4))
    (folder / "plain.dmen").write_bytes(dmecodec.encode(aerial(102, 700, 600), 4, tile=256))
    data = bytearray(dmecodec.encode(aerial(103, 600, 600), 4, tile=256))
    data[-1000] ^= 1
    (folder / "damaged.dmen").write_bytes(data)
    (folder / "cut.dmen").write_bytes(data[:40])
    (top / "outside.dmen").write_bytes(data)
    (folder / "link.dmen").symlink_to(top / "outside.dmen")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, list[str]]]:
    """A process that serves them, its address, and the lines that it has printed."""
    process = start("serve", folder, "--port", 0)
    assert process.stdout is not None
    lines = []
    while not lines or "Ctrl-C" not in lines[-1]:
        lines.append(process.stdout.readline().decode())
        assert lines[-1], process.communicate()
    yield process, lines[-1].split("/ has")[0], lines
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0 and b"Traceback" not in err


@pytest.fixture
def client(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server[1], timeout=60) as client:
        yield client


def test_the_lines_that_it_prints(server: Any) -> None:
    _, address, lines = server
    names = ["cut", "damaged", "deep", "plain", "sub/gr%C3%BCn%20land"]
    assert [line.strip() for line in lines[:-1]] == [f"/vsicurl/{address}/{name}.tif" for name in names]


def test_a_scene_with_ranges(client: httpx.Client, folder: Path) -> None:
    with opener(folder / "plain.dmen") as file:
        whole = file.read()
    head = client.head("/plain.tif")
    assert (head.status_code, head.headers["accept-ranges"], head.content) == (200, "bytes", b"")
    assert int(head.headers["content-length"]) == len(whole)
    assert client.get("/plain.tif").content == whole
    for first, last in ((0, 9), (70000, 900000), (len(whole) - 5, len(whole) - 1)):
        found = client.get("/plain.tif", headers={"Range": f"bytes={first}-{last}"})
        assert found.status_code == 206 and found.content == whole[first : last + 1]
        assert found.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    beyond = client.get("/plain.tif", headers={"Range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")


def test_gdal_reads_it(server: Any, folder: Path) -> None:
    url = f"/vsicurl/{server[1]}/sub/gr%C3%BCn%20land.tif"
    with rasterio.open(url) as file, rasterio.open(folder / "sub" / "grün land.dmen", opener=opener) as ours:
        assert file.profile == ours.profile and file.overviews(1) == ours.overviews(1) == [2]
        np.testing.assert_array_equal(file.read(), ours.read())
    if not shutil.which("gdal_translate"):
        pytest.skip("GDAL's programs are not installed")
    out = folder.parent / "out.tif"
    subprocess.run(["gdal_translate", "-q", url, out], check=True)
    told = subprocess.run(["gdalinfo", url], check=True, capture_output=True, text=True)
    assert "UTM zone 29N" in told.stdout and not told.stderr
    with rasterio.open(out) as file, rasterio.open(url) as ours:
        np.testing.assert_array_equal(file.read(), ours.read())


def test_tiles_on_the_ground(client: httpx.Client) -> None:
    found = client.get("/sub/grün land/tilejson.json").json()
    assert found["tilejson"] == "3.0.0" and found["minzoom"] < found["maxzoom"]
    west, south, east, north = found["bounds"]
    import morecantile

    tile = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, found["maxzoom"])
    url = found["tiles"][0].format(z=tile.z, x=tile.x, y=tile.y)
    picture = Image.open(client.get(url))
    assert picture.size == (256, 256) and picture.mode == "RGBA"
    assert np.asarray(picture)[..., 3].any() and len(np.unique(np.asarray(picture)[..., :3])) > 20
    away = client.get("/sub/grün land/tiles/3/0/0.png")
    assert away.status_code == 404 and "does not reach" in away.text
    none = client.get("/plain/tiles/0/0/0.png")
    assert none.status_code == 404 and "no CRS" in none.text and client.get("/plain/tilejson.json").status_code == 404
    deep = Image.open(client.get("/deep/tiles/0/0/0.png"))
    assert deep.mode == "LA"


def test_tiles_in_pixels(client: httpx.Client, folder: Path) -> None:
    with dmecodec.open(folder / "plain.dmen") as file:
        for z in (0, 1):  # one pixel in two, and all
            whole = file.read(reduce=1 - z)
            for x, y in ((0, 0), (1, 1), (2, 2)):
                answer = client.get(f"/plain/pixels/{z}/{x}/{y}.png")
                wanted = whole[256 * y :, 256 * x :][:256, :256]
                if not wanted.size:
                    assert answer.status_code == 404
                    continue
                found = np.asarray(Image.open(answer))
                height, width = wanted.shape[:2]
                assert abs(found[:height, :width, :3].astype(int) - wanted).max() <= 1
                assert (found[:height, :width, 3] == 255).all() and not found[height:, :, 3].any()
    assert client.get("/plain/pixels/9/0/0.png").status_code == 404
    shown = np.asarray(Image.open(client.get("/deep/pixels/0/0/0.png")))
    assert shown.shape == (256, 256, 2) and shown[:90, :80, 0].max() > 250


def test_the_page_and_what_it_shows(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "http://" not in page.text and "https://" not in page.text
    for name in ("leaflet.js", "leaflet.css"):
        assert client.get(f"/leaflet/{name}").status_code == 200
    scenes = {scene["name"]: scene for scene in client.get("/scenes.json").json()}
    assert set(scenes) == {"cut", "damaged", "deep", "plain", "sub/grün land"}
    assert (scenes["plain"]["width"], scenes["plain"]["quality"], scenes["plain"]["crs"]) == (600, 4, None)
    assert "UTM" in scenes["deep"]["crs"] and "truncated" in scenes["cut"]["error"]


@pytest.mark.parametrize("path", [
    "/link.tif", "/none.tif", "/%2e%2e/outside.tif", "/..%2foutside.tif", "/sub/..%2f..%2foutside.tif", "/%00.tif",
    "/leaflet/..%2f..%2f__init__.py", "/plain.dmen", "/plain/tiles/a/b/c.png", "//etc/passwd",
    "/" + "a" * 5000 + ".tif",
])  # fmt: skip
def test_nothing_else_can_be_had(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_damage_and_cut_connections_end_nothing(client: httpx.Client, server: Any) -> None:
    for path in ("/damaged.tif", "/cut.tif", "/cut/tilejson.json", "/damaged/pixels/1/2/2.png"):
        answer = client.get(path)
        assert answer.status_code == 500 and len(answer.text.splitlines()) == 1, path
        assert "Traceback" not in answer.text
    address = server[1].removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((address[0], int(address[1]))) as cut:
            cut.sendall(b"GET /plain.tif HTTP/1.1\r\nHost: a\r\n\r\n")
            cut.recv(10)
    assert client.get("/plain.tif", headers={"Range": "bytes=0-3"}).content == b"II*\0"


def test_two_hundred_requests_at_once(client: httpx.Client, server: Any, folder: Path) -> None:
    with opener(folder / "plain.dmen") as file:
        whole = file.read()
    places = np.random.default_rng(1).integers(0, len(whole) - 1000, 200)
    found: dict[int, bytes] = {}

    def ask(place: int) -> None:
        headers = {"Range": f"bytes={place}-{place + 999}"}
        found[place] = httpx.get(f"{server[1]}/plain.tif", headers=headers, timeout=100).content

    threads = [threading.Thread(target=ask, args=(int(place),)) for place in places]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(found[int(place)] == whole[place : place + 1000] for place in places)


def test_options_that_are_refused(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} (" in refused("serve", folder, "--port", port)
    assert "no such file" in refused("serve", tmp_path / "none")
    shutil.copy(DATA / "rgb_q4.dmen", tmp_path / "a.dmen")
    shutil.copy(DATA / "rgb_q4.dmen", folder / "a.dmen")
    try:
        assert "would both be a" in refused("serve", tmp_path / "a.dmen", folder / "a.dmen")
    finally:
        (folder / "a.dmen").unlink()


def test_ctrl_c_while_it_decodes(folder: Path) -> None:
    process = start("serve", folder / "plain.dmen", "--port", 0)
    assert process.stdout is not None
    process.stdout.readline()
    address = process.stdout.readline().decode().split("/ has")[0]
    threading.Thread(target=lambda: _ignoring_errors(f"{address}/plain.tif")).start()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and (not err or one_line(err.decode()))


def _ignoring_errors(url: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.get(url, timeout=30)


def test_ranges() -> None:
    assert (
        parse_range(None, 10) == parse_range("lines=1-2", 10) == parse_range("bytes=1-2,4-5", 10) == Span(0, 10, False)
    )
    assert parse_range("bytes=2-3", 10) == Span(2, 2, True) and parse_range("bytes=2-99", 10) == Span(2, 8, True)
    assert parse_range("bytes=-3", 10) == Span(7, 3, True) and parse_range("bytes=-30", 10) == Span(0, 10, True)
    assert parse_range("bytes=5-2", 10) == Span(0, 10, False)
    for beyond in ("bytes=10-", "bytes=-0"):
        with pytest.raises(NoRangeError):
            parse_range(beyond, 10)
    steps = Span(5, 3 << 20, True).steps()
    assert [count for _, count in steps] == [1 << 20] * 3 and steps[0][0] == 5
