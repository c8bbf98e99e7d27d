"""gzip compression by isal if it is installed, else by zlib. With isal, compressed chunks can be concatenated."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable
from dataclasses import dataclass

try:
    from isal import isal_zlib
except ImportError:  # the optional extra is not installed
    isal_zlib = None  # type: ignore[assignment] # None marks the missing module

LEVEL = 1
"""Compression level. With 100,000 devices, higher levels of isal and zlib cost much time and save few bytes."""

SUPPORTS_CHUNKS = isal_zlib is not None
"""True if compressed chunks can be concatenated. Python's zlib module cannot combine their checksums."""

_RAW = -15
"""zlib's `windowBits` for raw deflate, without header and trailer."""

_HEADER = struct.pack("<BBBBLBB", 0x1F, 0x8B, 8, 0, 0, 4, 255)
"""gzip header (RFC 1952): deflate, no flags, no modification time, fastest algorithm, unknown operating system."""

_END = b"\x03\x00"
"""Empty final deflate block (RFC 1951)."""


@dataclass(frozen=True, slots=True)
class DeflateChunk:
    """Compressed text that can be placed anywhere in a gzip member.

    It contains no final deflate block and no reference to earlier data.
    """

    pieces: tuple[bytes, ...]
    """Raw deflate data; each piece ends at a byte boundary."""
    crc: int
    size: int
    """Length of the uncompressed text in bytes."""


def compress(page: bytes) -> bytes:
    """Return the page compressed with Python's gzip module. The output is deterministic."""
    return gzip.compress(page, compresslevel=LEVEL, mtime=0)


def deflate(text: bytes) -> DeflateChunk:
    """Return the text compressed as one piece."""
    compressor = isal_zlib.compressobj(LEVEL, wbits=_RAW)
    piece = compressor.compress(text) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    return DeflateChunk((piece,), isal_zlib.crc32(text), len(text))


def inflate(chunk: DeflateChunk) -> bytes:
    """Return the uncompressed text."""
    return isal_zlib.decompressobj(_RAW).decompress(b"".join(chunk.pieces))


def concat(chunks: Iterable[DeflateChunk]) -> DeflateChunk:
    """Return the concatenation of compressed texts, without compressing them again."""
    pieces: list[bytes] = []
    crc = size = 0
    for chunk in chunks:
        pieces += chunk.pieces
        crc = isal_zlib.crc32_combine(crc, chunk.crc, chunk.size)
        size += chunk.size
    return DeflateChunk(tuple(pieces), crc, size)


def gzip_member(chunks: Iterable[DeflateChunk]) -> bytes:
    """Return the concatenation of compressed texts as a gzip member. The output is deterministic."""
    whole = concat(chunks)
    return b"".join([_HEADER, *whole.pieces, _END, struct.pack("<LL", whole.crc, whole.size & 0xFFFFFFFF)])
