"""Bytes and integers as the header holds them, one after the other."""

from __future__ import annotations

from ..errors import FormatError
from .limits import MAX_INTEGER


def varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, lowest first, the top bit set on all but the last."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Fields:
    """The fields of the header, or of another part named `part`, taken one after the other."""

    def __init__(self, data: bytes, part: str = "header") -> None:
        self._part = part
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """Bytes not taken yet."""
        return len(self._data) - self._position

    def take(self, count: int, name: str) -> bytes:
        """The next `count` bytes; `name` says in messages what they are."""
        if count > self.left:
            raise FormatError(f"the {self._part} ends within the {name}")
        self._position += count
        return self._data[self._position - count : self._position]

    def byte(self, name: str) -> int:
        """The next byte."""
        return self.take(1, name)[0]

    def varint(self, name: str, limit: int = MAX_INTEGER) -> int:
        """The next unsigned LEB128, in its shortest form and at most `limit`."""
        value, shift = 0, 0
        while True:
            byte = self.byte(name)
            value |= (byte & 0x7F) << shift
            if value > limit:
                raise FormatError(f"the {name} is more than {limit}")
            if byte < 0x80:
                break
            shift += 7
            if 1 << shift > limit:
                raise FormatError(f"the {name} has too many bytes")
        if byte == 0 and shift:
            raise FormatError(f"the {name} is not in its shortest form")
        return value

    def last_varint(self, name: str, limit: int = MAX_INTEGER) -> int:
        """As :meth:`varint`, with nothing behind it."""
        value = self.varint(name, limit)
        if self.left:
            raise FormatError(f"the {name} has {self.left} bytes too many")
        return value

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left, "rest")
