"""gzip, by the fastest implementation that is installed; with isal, put together from pieces made before."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable
from dataclasses import dataclass

try:
    from isal import isal_zlib
except ImportError:  # the optional extra is not installed
    isal_zlib = None  # type: ignore[assignment] # the absent module is what is tested for

LEVEL = 1
"""Measured on pages of 100,000 devices: a higher level of either costs far more time than it saves bytes."""

IN_PIECES = isal_zlib is not None
"""Whether there are pieces: Python's own zlib cannot combine their checksums."""

_RAW = -15
"""Neither header nor trailer (zlib's `windowBits`)."""

_HEADER = struct.pack("<BBBBLBB", 0x1F, 0x8B, 8, 0, 0, 4, 255)
"""RFC 1952: deflate, no flags, no time, fastest, unknown system."""

_END = b"\x03\x00"
"""RFC 1951: an empty last block."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Compressed text that can stand anywhere in a gzip member: it does not end it, and looks back at nothing."""

    pieces: tuple[bytes, ...]
    """Raw deflate, each whole bytes."""
    crc: int
    size: int
    """The bytes of the text."""


def compress(page: bytes) -> bytes:
    """The page in gzip's format, without isal; the same page gives the same bytes."""
    return gzip.compress(page, compresslevel=LEVEL, mtime=0)


def pack(text: bytes) -> Packed:
    """The text as one piece."""
    deflate = isal_zlib.compressobj(LEVEL, wbits=_RAW)
    piece = deflate.compress(text) + deflate.flush(isal_zlib.Z_FULL_FLUSH)
    return Packed((piece,), isal_zlib.crc32(text), len(text))


def unpack(packed: Packed) -> bytes:
    """The text again."""
    return isal_zlib.decompressobj(_RAW).decompress(b"".join(packed.pieces))


def joined(parts: Iterable[Packed]) -> Packed:
    """The texts one after the other, without compressing anything."""
    pieces: list[bytes] = []
    crc = size = 0
    for part in parts:
        pieces += part.pieces
        crc = isal_zlib.crc32_combine(crc, part.crc, part.size)
        size += part.size
    return Packed(tuple(pieces), crc, size)


def member(parts: Iterable[Packed]) -> bytes:
    """The texts one after the other in gzip's format; the same parts give the same bytes."""
    whole = joined(parts)
    return b"".join([_HEADER, *whole.pieces, _END, struct.pack("<LL", whole.crc, whole.size & 0xFFFFFFFF)])
