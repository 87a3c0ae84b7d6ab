"""Starts the server, and ends it."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from urllib.parse import quote

from ..errors import DependencyError, OptionError
from .library import Library

_SECONDS = 2
"""How long requests that are being answered may take after Ctrl-C."""


def serve(
    inputs: Sequence[str], host: str, port: int, tell: Callable[[str], None], *, open_browser: bool = False
) -> None:
    """Serves scenes until Ctrl-C.

    Args:
        inputs: files and folders.
        host, port: where to listen; port 0 takes a free one.
        tell: is called with each line about what can be opened.
        open_browser: whether to open the page.

    Raises:
        OptionError: an input does not exist, or the address cannot be used.
        DependencyError: a package of the extra `serve` is not installed.
    """
    library = Library(inputs)
    try:
        import uvicorn

        from .app import App
    except ImportError as error:
        raise DependencyError(f'serve needs {error.name or error}: pip install "dmecodec[serve]"') from error
    with closing(_listening(host, port)) as listener:
        address = _address(host, listener.getsockname()[1])
        for name in library.names():
            tell(f"/vsicurl/{address}/{quote(name)}.tif")
        tell(f"{address}/ has the map; Ctrl-C ends")
        if open_browser:
            webbrowser.open(f"{address}/")
        config = uvicorn.Config(
            App(library).starlette(), log_level="error", timeout_graceful_shutdown=_SECONDS, lifespan="off"
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(512)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"cannot listen at {host}, port {port} ({reason}); --port takes another") from error
    return listener


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
