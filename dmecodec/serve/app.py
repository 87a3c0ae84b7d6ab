"""The web application: which address gives what."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..errors import DmecodecError
from ..geotiff.scene import scene_of
from . import tiles
from .library import Library
from .ranges import NoRangeError, parse_range

T = TypeVar("T")
MOST = 4
"""Requests that decode at the same time; the others wait. Each may take 200 MiB and several cores."""
_LEAFLET = Path(str(files("js_lib_leaflet"))) / "static" / "js_lib_leaflet"
_PAGE = Path(__file__).with_name("page.html")
_TIFF = "image/tiff"


class App:
    """The application on a library of scenes."""

    def __init__(self, library: Library) -> None:
        self._library = library
        # Threads that stay: memory that one of them has freed serves its next request.
        self._threads = ThreadPoolExecutor(MOST, "dmecodec-serve")

    def starlette(self) -> Starlette:
        """What uvicorn runs."""
        answer = self._answer
        routes = [
            Route("/", self._page),
            Route("/scenes.json", self._scenes),
            Mount("/leaflet", StaticFiles(directory=_LEAFLET)),
            Route("/{name:path}/tilejson.json", answer(self._tilejson)),
            Route("/{name:path}/tiles/{z:int}/{x:int}/{y:int}.png", answer(self._tile(tiles.ground_tile))),
            Route("/{name:path}/pixels/{z:int}/{x:int}/{y:int}.png", answer(self._tile(tiles.pixel_tile))),
            Route("/{name:path}.tif", answer(self._geotiff)),
        ]
        return Starlette(routes=routes)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))

    def _answer(self, give: Callable[[Request, Path], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Finds the scene of a request, and says in one line why there is no answer."""

        async def endpoint(request: Request) -> Response:
            name = request.path_params["name"]
            path = self._library.find(name)
            if path is None:
                return _plain(404, f"there is no scene {name}")
            try:
                return await give(request, path)
            except tiles.NoTileError as error:
                return _plain(404, str(error))
            except (DmecodecError, OSError, MemoryError, RuntimeError, ValueError) as error:
                message = f"{name}: {error or type(error).__name__}"
                print(f"dmecodec: {_one_line(message)}", file=sys.stderr, flush=True)
                return _plain(500, message)

        return endpoint

    async def _page(self, _: Request) -> Response:
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"))

    async def _scenes(self, _: Request) -> Response:
        return JSONResponse(await self._run(self._described))

    def _described(self) -> list[dict[str, Any]]:
        found = []
        for name in self._library.names():
            path = self._library.find(name)
            if path is None:
                continue
            try:
                found.append(tiles.describe(name, path))
            except (DmecodecError, OSError) as error:
                found.append({"name": name, "error": _one_line(str(error))})
        return found

    async def _tilejson(self, request: Request, path: Path) -> Response:
        base = f"{request.base_url}{quote(request.path_params['name'])}/tiles"
        return JSONResponse(await self._run(tiles.tilejson, path, base + "/{z}/{x}/{y}.png"))

    def _tile(self, make: Callable[[Path, int, int, int], bytes]) -> Callable[[Request, Path], Awaitable[Response]]:
        async def tile(request: Request, path: Path) -> Response:
            place = (request.path_params[key] for key in "zxy")
            return Response(await self._run(make, path, *place), media_type="image/png")

        return tile

    async def _geotiff(self, request: Request, path: Path) -> Response:
        scene = await self._run(scene_of, str(path))
        headers = {"Accept-Ranges": "bytes"}
        try:
            span = parse_range(request.headers.get("range"), scene.plan.size)
        except NoRangeError as error:
            headers["Content-Range"] = f"bytes */{scene.plan.size}"
            return PlainTextResponse(f"{error}\n", 416, headers)
        status, headers["Content-Length"] = 206 if span.is_part else 200, str(span.count)
        if span.is_part:
            headers["Content-Range"] = f"bytes {span.first}-{span.first + span.count - 1}/{scene.plan.size}"
        if request.method == "HEAD":
            return Response(None, status, headers, _TIFF)
        first, *rest = span.steps()
        start = await self._run(
            scene.read, *first
        )  # damage that shows here is an error of its own, before anything is sent

        async def body() -> AsyncIterator[bytes]:
            yield start
            for step in rest:
                try:
                    yield await self._run(scene.read, *step)
                except (DmecodecError, OSError, MemoryError, RuntimeError) as error:
                    logging.getLogger("dmecodec").error("%s", _one_line(f"{path.name}: {error}"))
                    raise ConnectionAbortedError(f"{path.name} was cut short") from None

        return StreamingResponse(body(), status, headers, _TIFF)


def _plain(status: int, message: str) -> Response:
    return PlainTextResponse(_one_line(message) + "\n", status)


def _one_line(text: str) -> str:
    return " ".join(text.split())
