from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import pytest

from exporter.aws.api import Page
from exporter.collect.sweeping.pagination import MAX_EMPTY_PAGES, iter_pages, selected_users
from exporter.config.settings import UserSelection
from exporter.errors import Malformed
from exporter.model import ListedUser
from tests.fakes import FakeCognito, FakePool, reader_of
from tests.unit.collect.listed_pools import POOL_ID

T = TypeVar("T")

Chain = Mapping[str | None, Page[int]]


class PageSource:
    """Source of pages that records the requested tokens."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.tokens: list[str | None] = []

    def __call__(self, token: str | None) -> Page[int]:
        self.tokens.append(token)
        return self._chain[token]


def endless(items: tuple[int, ...]) -> Callable[[str | None], Page[int]]:
    """Return a source of ever new tokens."""
    numbers = itertools.count()
    return lambda _: Page(items, f"token {next(numbers)}")


def circle(length: int, before: int = 0) -> Chain:
    """Return pages that end in a cycle, after `before` pages outside of it."""
    tokens: list[str | None] = [None, *map(str, range(before + length - 1))]
    following = [*tokens[1:], tokens[before] or "0"]
    return {token: Page((number,), after) for number, (token, after) in enumerate(zip(tokens, following, strict=True))}


def test_pages_are_yielded_once_in_order() -> None:
    ask = PageSource({None: Page((1, 2), "a"), "a": Page((3,), "b"), "b": Page((), None)})
    assert list(iter_pages("ListUsers", ask)) == [(1, 2), (3,), ()]
    assert ask.tokens == [None, "a", "b"]


def test_empty_page_with_a_token_is_not_the_end() -> None:
    ask = PageSource({None: Page((), "a"), "a": Page((), "b"), "b": Page((1,), None)})
    assert list(iter_pages("ListUsers", ask)) == [(), (), (1,)]


def test_page_is_yielded_before_the_next_request() -> None:
    ask = PageSource({None: Page((1,), "a"), "a": Page((2,), None)})
    assert next(iter_pages("ListUsers", ask)) == (1,)
    assert ask.tokens == [None]


@pytest.mark.parametrize("length", [2, 3, 7, 50])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_cycle_of_pages_raises(length: int, before: int) -> None:
    ask = PageSource(circle(length, before))
    with pytest.raises(Malformed, match=r"^ListUsers: "):
        list(iter_pages("ListUsers", ask))
    assert len(ask.tokens) <= 3 * (length + before) + 1


def test_page_with_its_own_token_raises_after_two_requests() -> None:
    ask = PageSource({None: Page((1,), "a"), "a": Page((2,), "a")})
    with pytest.raises(Malformed, match="token repeats"):
        list(iter_pages("ListUsers", ask))
    assert ask.tokens == [None, "a"]


def test_thousand_consecutive_empty_pages_raise() -> None:
    got: Iterator[tuple[int, ...]] = iter_pages("ListUsers", endless(()))
    assert [next(got) for _ in range(MAX_EMPTY_PAGES)] == [()] * MAX_EMPTY_PAGES
    with pytest.raises(Malformed, match="too many pages"):
        next(got)


def test_empty_pages_between_full_pages_are_not_limited() -> None:
    sizes = [*[0] * (MAX_EMPTY_PAGES - 1), 1, *[0] * (MAX_EMPTY_PAGES - 1), 1]
    tokens: list[str | None] = [None, *map(str, range(1, len(sizes))), None]
    chain = {tokens[i]: Page(tuple(range(size)), tokens[i + 1]) for i, size in enumerate(sizes)}
    assert sum(map(len, iter_pages("ListUsers", PageSource(chain)))) == 2


@pytest.mark.parametrize("most", [1, 3])
def test_page_limit_raises(most: int) -> None:
    ask = endless((1,))
    got: Iterator[tuple[int, ...]] = iter_pages("AdminListDevices", ask, max_pages=most)
    assert [next(got) for _ in range(most)] == [(1,)] * most
    with pytest.raises(Malformed, match="too many pages"):
        next(got)


def test_listing_at_the_page_limit_succeeds() -> None:
    ask = PageSource({None: Page((1,), "a"), "a": Page((2,), None)})
    assert list(iter_pages("AdminListDevices", ask, max_pages=2)) == [(1,), (2,)]


class CountingRetrier:
    """Retrier that calls once and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, call: Callable[[], T], /) -> T:
        self.calls += 1
        return call()


def selected(selection: UserSelection, *, page_size: int = 2) -> tuple[list[ListedUser], int]:
    """Return the users of a selection and the number of calls."""
    names = ("ann", "anna", "bob", "carl", "google_dora")
    groups = {"staff": ["bob", "ann", "carl"], "night": ["carl", "google_dora"], "empty": []}
    pool = FakePool(users=dict.fromkeys(names, ()), groups=groups, federated={"google_dora"})
    ask = CountingRetrier()
    reader = reader_of(FakeCognito({POOL_ID: pool}, page_size=page_size), POOL_ID)
    return list(selected_users(selection, reader, ask)), ask.calls


def users(*names: str) -> list[ListedUser]:
    return [ListedUser(name, federated=name.startswith("google_")) for name in names]


@pytest.mark.parametrize(
    ("selection", "names", "calls"),
    [
        (UserSelection(), ("ann", "anna", "bob", "carl", "google_dora"), 3),
        (UserSelection(filter='username ^= "ann"'), ("ann", "anna"), 1),
        (UserSelection(usernames=("zoe", "ann", "zoe")), ("zoe", "ann"), 0),
        (UserSelection(groups=("staff", "night", "empty")), ("bob", "ann", "carl", "google_dora"), 4),
        (UserSelection(groups=("staff", "staff")), ("bob", "ann", "carl"), 4),
        (UserSelection(groups=("empty",)), (), 1),
    ],
)
def test_selected_users_are_yielded_once(selection: UserSelection, names: tuple[str, ...], calls: int) -> None:
    assert selected(selection) == (users(*names), calls)
