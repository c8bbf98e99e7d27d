from __future__ import annotations

from base64 import b64encode
from threading import Event, Thread

import bcrypt
import pytest

from exporter.web import passwords
from exporter.web.passwords import MAX_CACHED, MAX_WAITING, AuthResult, PasswordChecker
from tests.fakes import eventually


def header(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


class Counting:
    """Compares plain text and records the calls."""

    def __init__(self) -> None:
        self.compared: list[tuple[bytes, bytes]] = []

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.compared.append((password, hashed))
        return password == hashed


USERS = {b"alice": b"a", b"bob": b"b"}


def test_correct_password_is_compared_once() -> None:
    compare = Counting()
    checker = PasswordChecker(compare=compare)
    assert [checker.check(header("alice", "a"), USERS) for _ in range(3)] == [AuthResult.VALID] * 3
    assert compare.compared == [(b"a", b"a")]


def test_wrong_password_is_compared_each_time() -> None:
    compare = Counting()
    checker = PasswordChecker(compare=compare)
    assert [checker.check(header("alice", "x"), USERS) for _ in range(3)] == [AuthResult.INVALID] * 3
    assert len(compare.compared) == 3


def test_unknown_user_is_compared_with_one_known_hash() -> None:
    compare = Counting()
    checker = PasswordChecker(compare=compare)
    for password in ("a", "b"):
        assert checker.check(header("mallory", password), USERS) is AuthResult.INVALID
        assert checker.check(header("mallory", password), USERS) is AuthResult.INVALID
    assert len(compare.compared) == 4
    assert len({hashed for _, hashed in compare.compared}) == 1
    assert {hashed for _, hashed in compare.compared} <= set(USERS.values())


def test_cached_password_is_invalid_after_the_user_changed() -> None:
    checker = PasswordChecker(compare=Counting())
    assert checker.check(header("alice", "a"), USERS) is AuthResult.VALID
    assert checker.check(header("alice", "a"), {b"alice": b"z"}) is AuthResult.INVALID
    assert checker.check(header("alice", "a"), {b"bob": b"a"}) is AuthResult.INVALID


def test_cache_does_not_contain_passwords() -> None:
    checker = PasswordChecker(compare=Counting())
    assert checker.check(header("alice", "hunter2"), {b"alice": b"hunter2"}) is AuthResult.VALID
    assert "hunter2" not in repr(vars(checker))


def test_check_that_waits_too_long_is_busy() -> None:
    started, released = Event(), Event()

    def slow(_password: bytes, _hashed: bytes) -> bool:
        started.set()
        return released.wait(10)

    checker = PasswordChecker(compare=slow, wait_seconds=0.05)
    first = Thread(target=checker.check, args=(header("alice", "a"), USERS))
    first.start()
    assert started.wait(10)
    assert checker.check(header("bob", "b"), USERS) is AuthResult.BUSY
    released.set()
    first.join(10)
    assert checker.check(header("alice", "a"), USERS) is AuthResult.VALID


def test_check_beyond_max_waiting_is_busy_at_once() -> None:
    released = Event()
    checker = PasswordChecker(compare=lambda *_: released.wait(10))
    results: list[AuthResult] = []

    def guess() -> None:
        results.append(checker.check(header("alice", "a"), USERS))

    guesses = [Thread(target=guess) for _ in range(MAX_WAITING + 4)]
    for thread in guesses:
        thread.start()
    assert eventually(lambda: len(results) == 3)
    assert results == [AuthResult.BUSY] * 3
    released.set()
    for thread in guesses:
        thread.join(10)
    assert results[3:] == [AuthResult.VALID] * (MAX_WAITING + 1)


def test_failing_comparison_releases_its_locks() -> None:
    def fail(_password: bytes, _hashed: bytes) -> bool:
        raise ZeroDivisionError

    checker = PasswordChecker(compare=fail, wait_seconds=0.05)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            checker.check(header("alice", "a"), USERS)


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
def test_bcrypt_variant_is_supported(variant: str) -> None:
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).replace(b"$2b$", f"${variant}$".encode())
    checker = PasswordChecker()
    assert checker.check(header("alice", "pw"), {b"alice": hashed}) is AuthResult.VALID
    assert checker.check(header("alice", "pW"), {b"alice": hashed}) is AuthResult.INVALID


def test_password_with_nul_is_invalid_though_bcrypt_matches() -> None:
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4))
    assert bcrypt.checkpw(b"pw\0pw", hashed)
    assert PasswordChecker().check(header("alice", "pw\0pw"), {b"alice": hashed}) is AuthResult.INVALID


def test_credentials_may_be_utf_8_and_contain_colons() -> None:
    checker = PasswordChecker(compare=Counting())
    users = {"j\N{LATIN SMALL LETTER O WITH DIAERESIS}rg".encode(): b"a:b:"}
    assert checker.check(header("j\N{LATIN SMALL LETTER O WITH DIAERESIS}rg", "a:b:"), users) is AuthResult.VALID


def test_invalid_header_is_not_compared() -> None:
    compare = Counting()
    checker = PasswordChecker(compare=compare)
    for value in (None, "", "Basic", "Basic !", "Bearer x", "Basic " + "A" * 5000, header("a", "p" * 73)):
        assert checker.check(value, USERS) is AuthResult.INVALID
    assert compare.compared == []
    assert passwords.MAX_PASSWORD_BYTES == 72


def test_full_cache_evicts_the_least_recently_used() -> None:
    compare = Counting()
    checker = PasswordChecker(compare=compare)
    users = {f"user {number}".encode(): str(number).encode() for number in range(MAX_CACHED + 1)}

    def check(number: int) -> None:
        assert checker.check(header(f"user {number}", str(number)), users) is AuthResult.VALID

    for number in (*range(MAX_CACHED), 0, MAX_CACHED):
        check(number)
    compare.compared.clear()
    for number in (0, MAX_CACHED):
        check(number)
    assert compare.compared == []
    check(1)
    assert compare.compared == [(b"1", b"1")]


def test_longest_password_is_compared() -> None:
    longest = "p" * passwords.MAX_PASSWORD_BYTES
    assert (
        PasswordChecker(compare=Counting()).check(header("alice", longest), {b"alice": longest.encode()})
        is AuthResult.VALID
    )


@pytest.mark.parametrize("noise", ["!", " ", "\n", "-", "_"])
def test_base64_with_other_characters_is_invalid(noise: str) -> None:
    compare = Counting()
    right = header("alice", "a")
    assert PasswordChecker(compare=compare).check(f"{right[:-2]}{noise}{right[-2:]}", USERS) is AuthResult.INVALID
    assert compare.compared == []


def test_cached_password_does_not_wait_for_guesses() -> None:
    released = Event()
    released.set()
    started: list[bytes] = []

    def slow(password: bytes, _hashed: bytes) -> bool:
        started.append(password)
        return released.wait(10) and password == b"a"

    checker = PasswordChecker(compare=slow)
    assert checker.check(header("alice", "a"), USERS) is AuthResult.VALID
    released.clear()
    results: list[AuthResult] = []
    guesses = [
        Thread(target=lambda: results.append(checker.check(header("bob", "x"), USERS))) for _ in range(MAX_WAITING + 2)
    ]
    for thread in guesses:
        thread.start()
    assert eventually(lambda: results == [AuthResult.BUSY])  # every slot is taken
    assert checker.check(header("alice", "a"), USERS) is AuthResult.VALID
    assert started == [b"a", b"x"]
    released.set()
    for thread in guesses:
        thread.join(10)
    assert results[1:] == [AuthResult.INVALID] * (MAX_WAITING + 1)
