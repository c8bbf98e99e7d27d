from __future__ import annotations

import hashlib
import hmac
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.identity import KEY_BYTES_MIN, HmacIdentity, Identity, RawIdentity, allowed_mode, read_key

POOL = "eu-west-1_AbCdEfGhI"
KEY = b"0123456789abcdef"
NAMES = ("ann", "", "名前", 'quo"te\n\\', "😀", "a\x00b", "x" * 500)
LONE = "\ud800"
"""Lone surrogate: valid in JSON, but not in UTF-8."""

names = st.text(st.characters(exclude_categories=())) | st.sampled_from((*NAMES, LONE))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", [KEY, b"k" * 200])
def test_identity_is_a_truncated_hmac_of_pool_and_name(key: bytes, name: str) -> None:
    expected = hmac.new(key, POOL.encode() + b"\0" + name.encode(), hashlib.sha256).hexdigest()[:32]
    identity = HmacIdentity(key)
    assert identity.label(identity.of(POOL, name)) == expected
    assert identity.of(POOL, name) == bytes.fromhex(expected)


def test_identity_matches_a_known_test_vector() -> None:
    # printf 'eu-west-1_AbCdEfGhI\0ann' | openssl dgst -sha256 -hmac 0123456789abcdef
    identity = HmacIdentity(KEY)
    assert identity.label(identity.of(POOL, "ann")) == "4954a6d64ae281b9b6a431b68bafa70d"


def test_identity_depends_on_key_pool_and_name() -> None:
    of = HmacIdentity(KEY).of
    assert len({of(POOL, "ann"), of(POOL, "bob"), of(f"{POOL}2", "ann"), HmacIdentity(KEY * 2).of(POOL, "ann")}) == 4


@pytest.mark.parametrize("identity", [HmacIdentity(KEY), RawIdentity()])
def test_identity_is_deterministic(identity: Identity) -> None:
    first = [identity.of(POOL, name) for name in NAMES]
    assert first == [identity.of(POOL, name) for name in NAMES]
    assert len(set(first)) == len(NAMES)


@given(names)
def test_label_is_the_name_or_hexadecimal_digits(name: str) -> None:
    raw, keyed = RawIdentity(), HmacIdentity(KEY)
    shown = raw.label(raw.of(POOL, name))
    assert shown == name or any("\ud800" <= character <= "\udfff" for character in name)
    shown.encode()  # the page is UTF-8
    label = keyed.label(keyed.of(POOL, name))
    assert len(label) == 32
    assert set(label) <= set("0123456789abcdef")


def test_raw_labels_of_names_invalid_in_utf_8_are_unique() -> None:
    raw, keyed = RawIdentity(), HmacIdentity(KEY)
    for identity in (raw, keyed):
        assert identity.label(identity.of(POOL, LONE)) != identity.label(identity.of(POOL, "\ud801"))
    assert raw.label(raw.of(POOL, f"a{LONE}b")).startswith("a\ufffd\ufffd\ufffdb ")


@given(names, names)
def test_different_names_have_different_labels(first: str, second: str) -> None:
    for identity in (RawIdentity(), HmacIdentity(KEY)):
        labels = {identity.label(identity.of(POOL, name)) for name in (first, second)}
        assert len(labels) == len({first, second})


def test_order_is_stable_and_independent_of_names() -> None:
    raw, keyed = RawIdentity(), HmacIdentity(KEY)
    ordered = [f"user-{number:03d}" for number in range(100)]
    for identity in (raw, keyed):
        orders = [identity.order(identity.of(POOL, name)) for name in ordered]
        assert orders != sorted(orders)
        assert len(set(orders)) == 100
        assert orders == [identity.order(identity.of(POOL, name)) for name in ordered]
    assert raw.order(b"ann") == hashlib.sha256(b"ann").digest()[:16]


def test_fingerprint_differs_by_key_and_mode_without_the_key() -> None:
    assert HmacIdentity(KEY).fingerprint == HmacIdentity(KEY).fingerprint
    assert len({HmacIdentity(KEY).fingerprint, HmacIdentity(KEY * 2).fingerprint, RawIdentity().fingerprint}) == 3
    for shown in (KEY.decode(), KEY.hex()):
        assert shown not in HmacIdentity(KEY).fingerprint


OURS = os.geteuid() or 65532
"""User id other than root."""


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "identity.key"
    path.touch(mode=0o600)
    if os.geteuid() == 0:
        os.chown(path, OURS, -1)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_key_is_the_content_without_trailing_line_ends(key_file: Path, end: bytes) -> None:
    key = b" \n\x00\xff key with everything "
    key_file.write_bytes(key + end)
    assert read_key(key_file) == key


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_key_readable_by_its_owner_is_accepted(key_file: Path, mode: int) -> None:
    key_file.write_bytes(KEY)
    key_file.chmod(mode)
    assert read_key(key_file) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620, 0o777])
def test_key_accessible_to_others_is_rejected(key_file: Path, mode: int) -> None:
    key_file.write_bytes(KEY)
    key_file.chmod(mode)
    with pytest.raises(ValueError, match=rf"^expected mode 0600 or stricter, found {mode:04o}: others could read"):
        read_key(key_file)


def test_pipe_as_a_key_is_rejected_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ValueError, match=r"^a pipe, expected a regular file$"):
        read_key(tmp_path / "pipe")


def test_device_as_a_key_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^a device, expected a regular file$"):
        read_key(Path(os.devnull))


def test_key_of_more_than_64_kib_is_rejected(key_file: Path) -> None:
    key_file.write_bytes(b"k" * 65_536)
    assert len(read_key(key_file)) == 65_536
    os.truncate(key_file, 3 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^too large, expected a key in a file of at most 65536 bytes$"):
            read_key(key_file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    os.truncate(key_file, 65_537)
    with pytest.raises(ValueError, match=r"^too large, "):
        read_key(key_file)


def test_only_root_may_make_a_key_readable_by_a_group() -> None:
    assert (allowed_mode(0), allowed_mode(OURS)) == (0o640, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
@pytest.mark.parametrize(
    ("mode", "well"), [(0o440, True), (0o640, True), (0o444, False), (0o660, False), (0o450, False)]
)
def test_key_from_a_kubernetes_secret_is_accepted(key_file: Path, mode: int, well: bool) -> None:
    key_file.write_bytes(KEY)
    os.chown(key_file, 0, OURS)
    key_file.chmod(mode)
    if well:
        assert read_key(key_file) == KEY
        return
    with pytest.raises(ValueError, match=rf"^expected mode 0640 or stricter, found {mode:04o}: others could read"):
        read_key(key_file)


@pytest.mark.parametrize("key", [b"", b"\n\n", KEY[:-1], KEY[:-1] + b"\n"])
def test_short_key_is_rejected_and_not_quoted(key_file: Path, key: bytes) -> None:
    key_file.write_bytes(key)
    length = len(key.rstrip(b"\n"))
    with pytest.raises(ValueError, match=rf"^expected a key of at least {KEY_BYTES_MIN} bytes, found {length}$"):
        read_key(key_file)


def test_missing_key_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_key(tmp_path / "missing")
    tmp_path.chmod(0o700)
    with pytest.raises(IsADirectoryError):
        read_key(tmp_path)
