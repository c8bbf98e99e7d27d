from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

from exporter.metrics.compression import compress, concat, deflate, gzip_member, inflate

TEXTS = st.lists(st.binary(max_size=2000).map(lambda text: text * 3))


@given(TEXTS)
def test_gzip_member_is_read_by_every_library(texts: list[bytes]) -> None:
    member = gzip_member([deflate(text) for text in texts])
    for read in (gzip.decompress, igzip.decompress, lambda page: zlib.decompress(page, wbits=31)):
        assert read(member) == b"".join(texts)
    decompressor = zlib.decompressobj(wbits=31)
    decompressor.decompress(member)
    assert decompressor.eof
    assert not decompressor.unused_data


@given(TEXTS)
def test_concat_of_chunks_is_a_chunk(texts: list[bytes]) -> None:
    whole = concat([deflate(text) for text in texts])
    assert inflate(whole) == b"".join(texts)
    assert gzip_member([whole, whole]) == gzip_member([deflate(text) for text in texts] * 2)


def test_compression_is_deterministic() -> None:
    text = b"cognito_device_info 1\n" * 1000
    assert compress(text) == compress(text)
    assert gzip_member([deflate(text)]) == gzip_member([deflate(text)])
    assert gzip.decompress(compress(text)) == text


def test_wrong_checksum_is_detected() -> None:
    member = bytearray(gzip_member([deflate(b"one\n")]))
    member[-8] ^= 1
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(member)
