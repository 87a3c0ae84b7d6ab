"""`python -m dmecodec`."""

from .cli.main import main

if __name__ == "__main__":
    main()
