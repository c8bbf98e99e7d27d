from __future__ import annotations

import pytest

from exporter.emulator.errors import ApiError
from exporter.emulator.faults import Chain, Paging
from exporter.emulator.paging import OPEN_LISTINGS, ListingRequest, Listings

REQUEST = ListingRequest("ListUsers", (("Limit", "2"),))


def pages_of(items: list[int], paging: Paging, *, limit: int = 2, most: int = 20) -> list[tuple[list[int], str | None]]:
    listings: Listings[int] = Listings()
    pages: list[tuple[list[int], str | None]] = []
    token: str | None = None
    while len(pages) < most:
        page, token = listings.page(REQUEST, token, limit, paging, lambda: items)
        pages.append((list(page), token))
        if token is None:
            break
    return pages


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_pages_have_every_item_once(count: int, pages: int) -> None:
    result = pages_of(list(range(count)), Paging())
    assert len(result) == pages
    assert [item for page, _ in result for item in page] == list(range(count))


def test_pages_can_be_shorter_than_limit() -> None:
    assert [page for page, _ in pages_of([1, 2, 3], Paging(longest=1))] == [[1], [2], [3]]


def test_blank_pages_have_a_token_and_skip_nothing() -> None:
    result = pages_of([1, 2, 3], Paging(blank_pages=True))
    assert [page for page, _ in result] == [[], [1, 2], [], [3]]
    assert result[-1][1] is None


def test_blank_page_precedes_single_page() -> None:
    assert [page for page, _ in pages_of([1], Paging(blank_pages=True))] == [[], [1]]


def test_repeated_chain_never_ends() -> None:
    result = pages_of([1, 2, 3], Paging(chain=Chain.REPEATED), most=5)
    assert len({token for _, token in result}) == 1
    assert [page for page, _ in result] == [[1, 2]] * 5


def test_endless_chain_has_new_tokens_and_empty_pages() -> None:
    result = pages_of([1, 2, 3], Paging(chain=Chain.ENDLESS), most=6)
    assert [page for page, _ in result] == [[1, 2], [3], [], [], [], []]
    assert len({token for _, token in result}) == 6


def test_later_page_is_from_snapshot_of_first() -> None:
    listings: Listings[int] = Listings()
    items = [1, 2, 3]
    _, token = listings.page(REQUEST, None, 2, Paging(), lambda: list(items))
    items.pop(0)
    assert listings.page(REQUEST, token, 2, Paging(), lambda: items) == ([3], None)


@pytest.mark.parametrize("token", ["", "x", "1.2.3", "9.0.0.0", "1.0.0.0.0", "1.-1.0.0", "1.²..0"])
def test_unknown_token_is_rejected(token: str) -> None:
    listings: Listings[int] = Listings()
    listings.page(REQUEST, None, 2, Paging(), lambda: [1, 2, 3])
    with pytest.raises(ApiError, match="InvalidParameterException"):
        listings.page(REQUEST, token, 2, Paging(), list)


def test_token_is_rejected_for_other_parameters() -> None:
    listings: Listings[int] = Listings()
    _, token = listings.page(REQUEST, None, 2, Paging(), lambda: [1, 2, 3])
    other = ListingRequest.of("ListUsers", {"Limit": 3, "PaginationToken": token}, "PaginationToken")
    with pytest.raises(ApiError, match="InvalidParameterException"):
        listings.page(other, token, 3, Paging(), list)


def test_token_is_not_part_of_the_request() -> None:
    assert ListingRequest.of("ListUsers", {"Limit": 2, "PaginationToken": "x"}, "PaginationToken") == REQUEST


def test_token_of_oldest_listing_is_rejected() -> None:
    listings: Listings[int] = Listings()
    _, first = listings.page(REQUEST, None, 2, Paging(), lambda: [1, 2, 3])
    for _ in range(OPEN_LISTINGS):
        listings.page(REQUEST, None, 2, Paging(), lambda: [1, 2, 3])
    with pytest.raises(ApiError, match="InvalidParameterException"):
        listings.page(REQUEST, first, 2, Paging(), list)
