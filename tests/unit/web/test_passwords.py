from __future__ import annotations

from base64 import b64encode
from threading import Event, Thread

import bcrypt
import pytest

from exporter.web import passwords
from exporter.web.passwords import CACHED, WAITING, AuthResult, PasswordChecker
from tests.fakes import eventually


def header(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


class Counting:
    """Compares text with text, and remembers what with what."""

    def __init__(self) -> None:
        self.compared: list[tuple[bytes, bytes]] = []

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.compared.append((password, hashed))
        return password == hashed


USERS = {b"alice": b"a", b"bob": b"b"}


def test_a_password_that_was_right_is_compared_once() -> None:
    compare = Counting()
    judge = PasswordChecker(compare=compare)
    assert [judge.verdict(header("alice", "a"), USERS) for _ in range(3)] == [AuthResult.RIGHT] * 3
    assert compare.compared == [(b"a", b"a")]


def test_a_password_that_was_wrong_is_compared_each_time() -> None:
    compare = Counting()
    judge = PasswordChecker(compare=compare)
    assert [judge.verdict(header("alice", "x"), USERS) for _ in range(3)] == [AuthResult.WRONG] * 3
    assert len(compare.compared) == 3


def test_an_unknown_user_costs_a_comparison_with_one_hash_of_a_known_one_and_is_never_right() -> None:
    compare = Counting()
    judge = PasswordChecker(compare=compare)
    for password in ("a", "b"):
        assert judge.verdict(header("mallory", password), USERS) is AuthResult.WRONG
        assert judge.verdict(header("mallory", password), USERS) is AuthResult.WRONG
    assert len(compare.compared) == 4
    assert len({hashed for _, hashed in compare.compared}) == 1
    assert {hashed for _, hashed in compare.compared} <= set(USERS.values())


def test_what_was_right_counts_no_more_when_the_hash_changes_or_the_user_goes() -> None:
    judge = PasswordChecker(compare=Counting())
    assert judge.verdict(header("alice", "a"), USERS) is AuthResult.RIGHT
    assert judge.verdict(header("alice", "a"), {b"alice": b"z"}) is AuthResult.WRONG
    assert judge.verdict(header("alice", "a"), {b"bob": b"a"}) is AuthResult.WRONG


def test_what_is_remembered_is_bounded_and_no_password() -> None:
    judge = PasswordChecker(compare=Counting())
    users = {f"user {number}".encode(): str(number).encode() for number in range(CACHED + 5)}
    for number in range(CACHED + 5):
        assert judge.verdict(header(f"user {number}", str(number)), users) is AuthResult.RIGHT
    assert len(judge._right) == CACHED
    assert all(len(proof) == 32 for proof in judge._right)


def test_whoever_waits_too_long_for_a_turn_is_told_to_come_back() -> None:
    begun, go_on = Event(), Event()

    def slow(_password: bytes, _hashed: bytes) -> bool:
        begun.set()
        return go_on.wait(10)

    judge = PasswordChecker(compare=slow, wait_seconds=0.05)
    first = Thread(target=judge.verdict, args=(header("alice", "a"), USERS))
    first.start()
    assert begun.wait(10)
    assert judge.verdict(header("bob", "b"), USERS) is AuthResult.BUSY
    go_on.set()
    first.join(10)
    assert judge.verdict(header("alice", "a"), USERS) is AuthResult.RIGHT


def test_only_so_many_wait_for_a_turn() -> None:
    go_on = Event()
    judge = PasswordChecker(compare=lambda *_: go_on.wait(10))
    verdicts: list[AuthResult] = []

    def guess() -> None:
        verdicts.append(judge.verdict(header("alice", "a"), USERS))

    guesses = [Thread(target=guess) for _ in range(WAITING + 4)]
    for thread in guesses:
        thread.start()
    assert eventually(lambda: len(verdicts) == 3)
    assert verdicts == [AuthResult.BUSY] * 3
    go_on.set()
    for thread in guesses:
        thread.join(10)
    assert verdicts[3:] == [AuthResult.RIGHT] * (WAITING + 1)


def test_a_failing_comparison_keeps_nobody_waiting() -> None:
    def fail(_password: bytes, _hashed: bytes) -> bool:
        raise ZeroDivisionError

    judge = PasswordChecker(compare=fail, wait_seconds=0.05)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            judge.verdict(header("alice", "a"), USERS)


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
def test_every_variant_of_bcrypt_is_compared(variant: str) -> None:
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).replace(b"$2b$", f"${variant}$".encode())
    judge = PasswordChecker()
    assert judge.verdict(header("alice", "pw"), {b"alice": hashed}) is AuthResult.RIGHT
    assert judge.verdict(header("alice", "pW"), {b"alice": hashed}) is AuthResult.WRONG


def test_what_bcrypt_itself_would_take_for_the_right_password_is_refused() -> None:
    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4))
    assert bcrypt.checkpw(b"pw\0pw", hashed)
    assert PasswordChecker().verdict(header("alice", "pw\0pw"), {b"alice": hashed}) is AuthResult.WRONG


def test_names_and_passwords_are_utf_8_and_may_hold_colons_behind_the_first() -> None:
    judge = PasswordChecker(compare=Counting())
    users = {"j\N{LATIN SMALL LETTER O WITH DIAERESIS}rg".encode(): b"a:b:"}
    assert judge.verdict(header("j\N{LATIN SMALL LETTER O WITH DIAERESIS}rg", "a:b:"), users) is AuthResult.RIGHT


def test_what_is_no_credentials_costs_no_comparison() -> None:
    compare = Counting()
    judge = PasswordChecker(compare=compare)
    for value in (None, "", "Basic", "Basic !", "Bearer x", "Basic " + "A" * 5000, header("a", "p" * 73)):
        assert judge.verdict(value, USERS) is AuthResult.WRONG
    assert compare.compared == []
    assert passwords.MAX_PASSWORD == 72


def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    compare = Counting()
    judge = PasswordChecker(compare=compare)
    users = {f"user {number}".encode(): str(number).encode() for number in range(CACHED + 1)}

    def ask(number: int) -> None:
        assert judge.verdict(header(f"user {number}", str(number)), users) is AuthResult.RIGHT

    for number in (*range(CACHED), 0, CACHED):
        ask(number)
    compare.compared.clear()
    for number in (0, CACHED):
        ask(number)
    assert compare.compared == []
    ask(1)
    assert compare.compared == [(b"1", b"1")]


def test_the_longest_password_that_bcrypt_reads_to_its_end_is_compared() -> None:
    longest = "p" * passwords.MAX_PASSWORD
    assert (
        PasswordChecker(compare=Counting()).verdict(header("alice", longest), {b"alice": longest.encode()})
        is AuthResult.RIGHT
    )


@pytest.mark.parametrize("noise", ["!", " ", "\n", "-", "_"])
def test_base64_with_anything_else_in_it_is_no_credentials(noise: str) -> None:
    compare = Counting()
    right = header("alice", "a")
    assert PasswordChecker(compare=compare).verdict(f"{right[:-2]}{noise}{right[-2:]}", USERS) is AuthResult.WRONG
    assert compare.compared == []


def test_a_password_that_was_right_waits_for_nobody_however_many_guess() -> None:
    go_on = Event()
    go_on.set()
    begun: list[bytes] = []

    def slow(password: bytes, _hashed: bytes) -> bool:
        begun.append(password)
        return go_on.wait(10) and password == b"a"

    judge = PasswordChecker(compare=slow)
    assert judge.verdict(header("alice", "a"), USERS) is AuthResult.RIGHT
    go_on.clear()
    verdicts: list[AuthResult] = []
    guesses = [
        Thread(target=lambda: verdicts.append(judge.verdict(header("bob", "x"), USERS))) for _ in range(WAITING + 2)
    ]
    for thread in guesses:
        thread.start()
    assert eventually(lambda: verdicts == [AuthResult.BUSY])  # every place is taken
    assert judge.verdict(header("alice", "a"), USERS) is AuthResult.RIGHT
    assert begun == [b"a", b"x"]
    go_on.set()
    for thread in guesses:
        thread.join(10)
    assert verdicts[1:] == [AuthResult.WRONG] * (WAITING + 1)
