"""Decompress answers piece by piece, and up to a limit."""

from __future__ import annotations

import zlib
from typing import Any

_GZIP = b"\x1f\x8b"


class Decompressor:
    """Decompress gzip, also in several parts, and deflate, also without the header that some servers leave out."""

    def __init__(self) -> None:
        self._decoder: Any = None
        self._rest = b""
        self._is_first = True

    def decompress(self, data: bytes, limit: int) -> bytes:
        """Return the next decompressed bytes.

        Args:
            data: The next compressed bytes.
            limit: The most bytes to return.

        Raises:
            zlib.error: The data is damaged.
        """
        self._rest += data
        result = b""
        while self._rest and len(result) < limit:
            if self._decoder is None:
                if len(self._rest) < 2:
                    break
                if not self._is_first and self._rest[:2] != _GZIP:  # padding after the last part
                    break
                self._decoder, self._is_first = zlib.decompressobj(_format_of(self._rest)), False
            result += self._decoder.decompress(self._rest, limit - len(result))
            self._rest = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            if self._decoder.eof:
                self._decoder = None
        return result


def _format_of(start: bytes) -> int:
    """Return zlib's number for the format of some compressed data."""
    is_zlib = start[0] & 15 == zlib.DEFLATED and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS | 32 if is_zlib or start[:2] == _GZIP else -zlib.MAX_WBITS
