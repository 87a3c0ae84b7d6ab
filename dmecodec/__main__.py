"""`python -m dmecodec`."""

from .cli import main

main()
