"""`HeaderReader`: a GGUFReader that skips the vocabulary. Importing this module loads gguf and numpy."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType


class HeaderReader(GGUFReader):
    """Read metadata and tensor shapes of a GGUF file, without its arrays and weights.

    GGUFReader maps the weights into memory without reading them, but makes several objects per array element: a
    vocabulary of 152,000 tokens takes it 6 s and 400 MB (gguf 0.19, measured in 2026-11). The vocabulary is not needed
    here.
    """

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        data = self.data.data  # a memoryview
        item_type, length = struct.unpack_from("<IQ", data, orig_offs)
        end = orig_offs + 12
        if item_type == GGUFValueType.STRING:
            for _ in range(length):
                end += 8 + struct.unpack_from("<Q", data, end)[0]
        else:
            end += length * np.dtype(self.gguf_scalar_to_np[GGUFValueType(item_type)]).itemsize
        return end - orig_offs, [], [], [GGUFValueType.ARRAY]
