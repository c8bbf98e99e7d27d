"""Pagination of listings, with tokens that are valid only for the parameters that they were issued for.

A listing of several pages is a snapshot, taken at its first request: deleting or adding a user between two pages does
not duplicate or skip other users.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from exporter.emulator.errors import invalid_parameter
from exporter.emulator.faults import Chain, Paging

T = TypeVar("T")

PAGE_LIMIT = 60
"""Maximum Limit of ListUsers, ListUsersInGroup and AdminListDevices. Source: botocore's service model."""

OPEN_LISTINGS = 64
"""Maximum number of open multi-page listings; the tokens of older ones are rejected."""


@dataclass(frozen=True, slots=True)
class Question:
    """Operation and parameters, which must be the same for every page of a listing."""

    operation: str
    params: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, operation: str, params: dict[str, Any], token_name: str) -> Question:
        """Return the operation and its parameters, without the token."""
        rest = sorted((name, str(value)) for name, value in params.items() if name != token_name)
        return cls(operation, tuple(rest))


@dataclass(frozen=True, slots=True)
class _Listing(Generic[T]):
    question: Question
    items: Sequence[T]


@dataclass(frozen=True, slots=True)
class _Place:
    """Position that a token encodes: listing, items returned so far, blank page returned or not, serial number."""

    listing: int
    offset: int = 0
    blank_given: bool = False
    serial: int = 0

    def token(self) -> str:
        return f"{self.listing}.{self.offset}.{int(self.blank_given)}.{self.serial}"

    @classmethod
    def parse(cls, token: str) -> _Place:
        parts = token.split(".")
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
            raise invalid_parameter("Invalid pagination token.")
        listing, offset, blank_given, serial = map(int, parts)
        return cls(listing, offset, bool(blank_given), serial)


class Listings(Generic[T]):
    """Open listings; not thread-safe."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, _Listing[T]] = OrderedDict()
        self._last = 0

    def page(
        self, question: Question, token: str | None, limit: int, paging: Paging, items: Callable[[], Sequence[T]]
    ) -> tuple[Sequence[T], str | None]:
        """Return the items of one page and the token of the next, if any; `items` is called for the first page only.

        Raises `Refusal` for a token that is unknown or was issued for other parameters.
        """
        size = limit if paging.longest is None else min(limit, paging.longest)
        if token is None:
            found = items()
            if len(found) <= size and paging.chain is Chain.TRUE and not paging.blank_pages:
                return found, None
            place = _Place(self._keep(_Listing(question, found)))
        else:
            place = _Place.parse(token)
        listing = self._find(place, question)
        return self._cut(listing.items, place, size, paging)

    def _keep(self, listing: _Listing[T]) -> int:
        self._last += 1
        self._open[self._last] = listing
        if len(self._open) > OPEN_LISTINGS:
            self._open.popitem(last=False)
        return self._last

    def _find(self, place: _Place, question: Question) -> _Listing[T]:
        listing = self._open.get(place.listing)
        if listing is None or listing.question != question:
            raise invalid_parameter("Invalid pagination token.")
        return listing

    @staticmethod
    def _cut(items: Sequence[T], place: _Place, size: int, paging: Paging) -> tuple[Sequence[T], str | None]:
        if paging.blank_pages and not place.blank_given:
            return (), _Place(place.listing, place.offset, blank_given=True, serial=place.serial + 1).token()
        end = place.offset + size
        page = items[place.offset : end]
        if paging.chain is Chain.REPEATED:
            return page, _Place(place.listing, place.offset, place.blank_given).token()
        if end < len(items) or paging.chain is Chain.ENDLESS:
            return page, _Place(place.listing, min(end, len(items)), serial=place.serial + 1).token()
        return page, None
