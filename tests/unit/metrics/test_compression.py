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
def test_pieces_make_one_member_that_every_reader_reads(texts: list[bytes]) -> None:
    packed = gzip_member([deflate(text) for text in texts])
    for read in (gzip.decompress, igzip.decompress, lambda page: zlib.decompress(page, wbits=31)):
        assert read(packed) == b"".join(texts)
    one = zlib.decompressobj(wbits=31)
    one.decompress(packed)
    assert one.eof
    assert not one.unused_data


@given(TEXTS)
def test_pieces_joined_are_a_piece(texts: list[bytes]) -> None:
    whole = concat([deflate(text) for text in texts])
    assert inflate(whole) == b"".join(texts)
    assert gzip_member([whole, whole]) == gzip_member([deflate(text) for text in texts] * 2)


def test_the_same_text_gives_the_same_bytes() -> None:
    text = b"cognito_device_info 1\n" * 1000
    assert compress(text) == compress(text)
    assert gzip_member([deflate(text)]) == gzip_member([deflate(text)])
    assert gzip.decompress(compress(text)) == text


def test_a_damaged_page_is_noticed() -> None:
    packed = bytearray(gzip_member([deflate(b"one\n")]))
    packed[-8] ^= 1
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(packed)
