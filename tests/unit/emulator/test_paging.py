from __future__ import annotations

import pytest

from exporter.emulator.errors import Refusal
from exporter.emulator.faults import Chain, Paging
from exporter.emulator.paging import OPEN_LISTINGS, Listings, Question

QUESTION = Question("ListUsers", (("Limit", "2"),))


def pages_of(items: list[int], paging: Paging, *, limit: int = 2, most: int = 20) -> list[tuple[list[int], str | None]]:
    listings: Listings[int] = Listings()
    pages: list[tuple[list[int], str | None]] = []
    token: str | None = None
    while len(pages) < most:
        page, token = listings.page(QUESTION, token, limit, paging, lambda: items)
        pages.append((list(page), token))
        if token is None:
            break
    return pages


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_every_item_comes_once_and_the_last_page_has_no_token(count: int, pages: int) -> None:
    given = pages_of(list(range(count)), Paging())
    assert len(given) == pages
    assert [item for page, _ in given for item in page] == list(range(count))


def test_pages_can_be_shorter_than_the_limit() -> None:
    assert [page for page, _ in pages_of([1, 2, 3], Paging(longest=1))] == [[1], [2], [3]]


def test_blank_pages_carry_a_token_and_lose_nothing() -> None:
    given = pages_of([1, 2, 3], Paging(blank_pages=True))
    assert [page for page, _ in given] == [[], [1, 2], [], [3]]
    assert given[-1][1] is None


def test_a_blank_page_precedes_even_a_single_page() -> None:
    assert [page for page, _ in pages_of([1], Paging(blank_pages=True))] == [[], [1]]


def test_a_repeated_token_comes_for_ever() -> None:
    given = pages_of([1, 2, 3], Paging(chain=Chain.REPEATED), most=5)
    assert len({token for _, token in given}) == 1
    assert [page for page, _ in given] == [[1, 2]] * 5


def test_an_endless_chain_has_ever_new_tokens_and_empty_pages_after_the_last() -> None:
    given = pages_of([1, 2, 3], Paging(chain=Chain.ENDLESS), most=6)
    assert [page for page, _ in given] == [[1, 2], [3], [], [], [], []]
    assert len({token for _, token in given}) == 6


def test_a_later_page_shows_the_snapshot_of_the_first() -> None:
    listings: Listings[int] = Listings()
    items = [1, 2, 3]
    _, token = listings.page(QUESTION, None, 2, Paging(), lambda: list(items))
    items.pop(0)
    assert listings.page(QUESTION, token, 2, Paging(), lambda: items) == ([3], None)


@pytest.mark.parametrize("token", ["", "x", "1.2.3", "9.0.0.0", "1.0.0.0.0", "1.-1.0.0", "1.²..0"])
def test_a_token_never_given_is_refused(token: str) -> None:
    listings: Listings[int] = Listings()
    listings.page(QUESTION, None, 2, Paging(), lambda: [1, 2, 3])
    with pytest.raises(Refusal, match="InvalidParameterException"):
        listings.page(QUESTION, token, 2, Paging(), list)


def test_a_token_is_good_only_for_the_parameters_it_was_given_for() -> None:
    listings: Listings[int] = Listings()
    _, token = listings.page(QUESTION, None, 2, Paging(), lambda: [1, 2, 3])
    other = Question.of("ListUsers", {"Limit": 3, "PaginationToken": token}, "PaginationToken")
    with pytest.raises(Refusal, match="InvalidParameterException"):
        listings.page(other, token, 3, Paging(), list)


def test_the_token_itself_is_no_part_of_the_question() -> None:
    assert Question.of("ListUsers", {"Limit": 2, "PaginationToken": "x"}, "PaginationToken") == QUESTION


def test_the_oldest_listing_is_forgotten() -> None:
    listings: Listings[int] = Listings()
    _, first = listings.page(QUESTION, None, 2, Paging(), lambda: [1, 2, 3])
    for _ in range(OPEN_LISTINGS):
        listings.page(QUESTION, None, 2, Paging(), lambda: [1, 2, 3])
    with pytest.raises(Refusal, match="InvalidParameterException"):
        listings.page(QUESTION, first, 2, Paging(), list)
