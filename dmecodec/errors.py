"""Every error that a user can cause.

The command line prints the message of a :class:`DmecodecError` as one line and exits with status 1, so each message
says what is wrong, with which file or value, and what to do about it. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations


class DmecodecError(Exception):
    """Base of all errors that dmecodec raises on purpose.

    Attributes:
        filename: the file that the error is about, or None. Its text begins with this name.
    """

    def __init__(self, message: str = "", *, filename: str | None = None) -> None:
        super().__init__(message)
        self.filename = filename

    def __str__(self) -> str:
        message = super().__str__()
        # A name may hold line breaks; a message is one line.
        return message if self.filename is None else f"{' '.join(self.filename.splitlines())}: {message}"


class ImageError(DmecodecError):
    """The image cannot be read, or is of a kind that would lose something silently."""


class UnreadableError(ImageError):
    """Pillow cannot read the image; another library may."""


class FormatError(DmecodecError):
    """The `.dmen` data is damaged, truncated, or of a newer version."""


class BoundError(DmecodecError):
    """A decoded sample is farther from the original than the file promises."""


class ModelError(DmecodecError):
    """The weights are unknown, damaged, or not those that the file was made with."""


class OptionError(DmecodecError):
    """A quality, window, device or other option is outside what it may be."""


class OutputError(DmecodecError):
    """The result cannot be written, or the output format cannot hold it."""


class DependencyError(DmecodecError):
    """An optional package is needed for this and is not installed."""


class WorkerError(DmecodecError):
    """A process that worked on a file ended, or the machines that should cannot be reached."""


class InternalError(DmecodecError):
    """A fault of dmecodec, or of a library that it uses, in the work on one file.

    Attributes:
        traceback: where it was raised, as Python prints it.
    """

    def __init__(self, message: str = "", *, filename: str | None = None, traceback: str = "") -> None:
        super().__init__(message, filename=filename)
        self.traceback = traceback


class LossWarning(UserWarning):
    """The output has no place for something beside the pixels."""
