"""A picture as a PNG file, with nothing but zlib.

In:   (height, width, 3) uint8, sRGB, row 0 on top.
Out:  the bytes of a PNG file: 8 bits a channel, no interlace, each row filtered by *Up*, which
      halves the size of smooth pictures.
Not covered: transparency, palettes, reading.
Source: PNG, third edition (W3C), sections 5 and 9.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np

from coordinator.protocol.arrays import AnyArray

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_RGB_8: Final = bytes([8, 2, 0, 0, 0])
_FILTER_UP: Final = 2


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bytes(image: AnyArray) -> bytes:
    """The bytes of a PNG file."""
    assert image.dtype == np.uint8, image.dtype
    assert image.ndim == 3, image.shape
    assert image.shape[2] == 3, image.shape
    height, width, _ = image.shape
    rows = image.reshape(height, width * 3)
    filtered = np.full((height, width * 3 + 1), _FILTER_UP, dtype=np.uint8)
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros((1, width * 3), dtype=np.uint8))
    header = struct.pack(">II", width, height) + _RGB_8
    body = zlib.compress(filtered.tobytes(), level=6)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")
