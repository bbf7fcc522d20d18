"""Compresses texts that look alike, with the first of them as the dictionary for the rest."""

from __future__ import annotations

import zlib

LEVEL = 3
"""Of zlib: beside a dictionary a higher one takes twice the time and saves a few bytes in a hundred."""

WINDOW = 32_768
"""How far zlib looks back, in bytes (RFC 1950, CINFO 7)."""

LONG = WINDOW // 2
"""Bytes from which on a text may be so long that its own beginning pushes the dictionary out of sight."""

_LENGTH = 4
"""Bytes in front of a blob that tell how much of the first text it begins with."""


class Codec:
    """Compresses texts of one shape."""

    __slots__ = ("_dictionary", "_first")

    def __init__(self) -> None:
        self._first = b""
        self._dictionary = b""

    def encode(self, data: bytes) -> bytes:
        """Compressed `data`."""
        shared = 0
        if not self._dictionary:
            self._first = data if len(data) >= LONG else b""
            self._dictionary = data[-WINDOW:]
        elif self._first:
            # A ConfigMap of scripts is longer than the window: zlib would find nothing of it in the dictionary.
            shared = _common_prefix(self._first, data)
        pack = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY, self._dictionary)
        return shared.to_bytes(_LENGTH, "big") + pack.compress(data[shared:]) + pack.flush()

    def decode(self, blob: bytes) -> bytes:
        """What `encode` was given."""
        shared = int.from_bytes(blob[:_LENGTH], "big")
        rest = zlib.decompressobj(zdict=self._dictionary).decompress(blob[_LENGTH:])
        return self._first[:shared] + rest if shared else rest


def _common_prefix(a: bytes, b: bytes) -> int:
    """How many bytes both begin with."""
    same, most = 0, min(len(a), len(b))
    while same < most:
        middle = (same + most + 1) // 2
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            most = middle - 1
    return same
