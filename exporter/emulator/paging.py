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
class ListingRequest:
    """Operation and parameters, which must be the same for every page of a listing."""

    operation: str
    params: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, operation: str, params: dict[str, Any], token_name: str) -> ListingRequest:
        """Return the operation and its parameters, without the token."""
        rest = sorted((name, str(value)) for name, value in params.items() if name != token_name)
        return cls(operation, tuple(rest))


@dataclass(frozen=True, slots=True)
class _Listing(Generic[T]):
    request: ListingRequest
    items: Sequence[T]


@dataclass(frozen=True, slots=True)
class _Position:
    """Position that a token encodes: listing, items returned so far, blank page returned or not, serial number."""

    listing: int
    offset: int = 0
    blank_returned: bool = False
    serial: int = 0

    def token(self) -> str:
        return f"{self.listing}.{self.offset}.{int(self.blank_returned)}.{self.serial}"

    @classmethod
    def parse(cls, token: str) -> _Position:
        parts = token.split(".")
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
            raise invalid_parameter("Invalid pagination token.")
        listing, offset, blank_returned, serial = map(int, parts)
        return cls(listing, offset, bool(blank_returned), serial)


class Listings(Generic[T]):
    """Open listings; not thread-safe."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, _Listing[T]] = OrderedDict()
        self._last_id = 0

    def page(
        self, request: ListingRequest, token: str | None, limit: int, paging: Paging, items: Callable[[], Sequence[T]]
    ) -> tuple[Sequence[T], str | None]:
        """Return the items of one page and the token of the next, if any; `items` is called for the first page only.

        Raises `ApiError` for a token that is unknown or was issued for other parameters.
        """
        size = limit if paging.longest is None else min(limit, paging.longest)
        if token is None:
            snapshot = items()
            if len(snapshot) <= size and paging.chain is Chain.TRUE and not paging.blank_pages:
                return snapshot, None
            position = _Position(self._add(_Listing(request, snapshot)))
        else:
            position = _Position.parse(token)
        listing = self._find(position, request)
        return self._page(listing.items, position, size, paging)

    def _add(self, listing: _Listing[T]) -> int:
        self._last_id += 1
        self._open[self._last_id] = listing
        if len(self._open) > OPEN_LISTINGS:
            self._open.popitem(last=False)
        return self._last_id

    def _find(self, position: _Position, request: ListingRequest) -> _Listing[T]:
        listing = self._open.get(position.listing)
        if listing is None or listing.request != request:
            raise invalid_parameter("Invalid pagination token.")
        return listing

    @staticmethod
    def _page(items: Sequence[T], position: _Position, size: int, paging: Paging) -> tuple[Sequence[T], str | None]:
        if paging.blank_pages and not position.blank_returned:
            return (), _Position(
                position.listing, position.offset, blank_returned=True, serial=position.serial + 1
            ).token()
        end = position.offset + size
        page = items[position.offset : end]
        if paging.chain is Chain.REPEATED:
            return page, _Position(position.listing, position.offset, position.blank_returned).token()
        if end < len(items) or paging.chain is Chain.ENDLESS:
            return page, _Position(position.listing, min(end, len(items)), serial=position.serial + 1).token()
        return page, None
