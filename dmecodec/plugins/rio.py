"""`rio dmen`: encode, decode and info as commands of rasterio's own command line."""

from __future__ import annotations

from typing import Any

import click

from ..cli.main import EXPECTED, decode, encode, info, message_of


class _Commands(click.Group):
    """Our errors as rio shows errors, and our exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, but rio takes no exit status from what a command returns."""
        try:
            status = super().invoke(ctx)
        except EXPECTED as error:
            message = message_of(error)
            if message is None:
                raise
            raise click.ClickException(" ".join(message.splitlines())) from error
        if status:
            ctx.exit(status)


dmen = _Commands(
    "dmen",
    commands={"encode": encode, "decode": decode, "info": info},
    help="Learned compression of aerial and satellite images (dmecodec).",
)
