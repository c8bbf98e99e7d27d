"""Pagination of Cognito listings, and enumeration of the users that a sweep reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from exporter.aws.api import PAGE_SIZE, Operation, Page, PoolReader
from exporter.config.settings import UserSelection
from exporter.errors import EndlessListing
from exporter.model import Device, ListedUser
from exporter.retry import Retrier

T = TypeVar("T")

MAX_EMPTY_PAGES = 1000
"""Limit of consecutive empty pages. Cognito returns some; a thousand indicate an endless listing."""

MAX_DEVICE_PAGES = 200
"""Page limit of one user's devices: 12,000 devices. More indicate an error."""

MAX_USER_PAGES = 1_000_000
"""Page limit of a pool's users: 60 million users. The AWS quota is 40 million users per pool."""


def iter_pages(
    operation: str, fetch: Callable[[str | None], Page[T]], *, max_pages: int | None = None
) -> Iterator[tuple[T, ...]]:
    """Yield the pages of a listing.

    Raises `EndlessListing` if a page token repeats, after `MAX_EMPTY_PAGES` consecutive empty pages, and after
    `max_pages` pages or more items than they can hold.
    """
    token: str | None = None
    checkpoint: str | None = None  # token after page 1, 2, 4, 8 …: detects every cycle while storing one token only
    empty = count = items = 0
    while True:
        page = fetch(token)
        items += len(page.items)
        if max_pages is not None and items > max_pages * PAGE_SIZE:
            raise EndlessListing(operation, "more entries than possible")
        yield page.items
        count += 1
        empty = 0 if page.items else empty + 1
        if page.token is None:
            return
        if page.token == token:
            raise EndlessListing(operation, "a page token repeats")
        if page.token == checkpoint:
            raise EndlessListing(operation, "the page tokens form a cycle")
        if empty >= MAX_EMPTY_PAGES or count == max_pages:
            raise EndlessListing(operation, "too many pages")
        if count.bit_count() == 1:
            checkpoint = page.token
        token = page.token


def deduplicate(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Deduplicate devices by key, keeping the last occurrence.

    A device that is used while the pages are read may be listed twice. Devices without a key are numbered instead of
    deduplicated, so that each of them is counted.
    """
    found: dict[str, Device] = {}
    keyless = 0
    for device in devices:
        if device.key:
            found[device.key] = device
        else:
            keyless += 1
            key = f"(no key {keyless})"
            found[key] = replace(device, key=key)
    return tuple(found.values())


def selected_users(selection: UserSelection, reader: PoolReader, retry: Retrier) -> Iterator[ListedUser]:
    """Yield the users of a selection. A user in several groups is yielded once."""
    if selection.usernames is not None:
        yield from map(ListedUser, dict.fromkeys(selection.usernames))
    elif selection.groups is not None:
        yield from _members(selection.groups, reader, retry)
    else:
        yield from _all_users(selection.filter, reader, retry)


def _all_users(user_filter: str | None, reader: PoolReader, retry: Retrier) -> Iterator[ListedUser]:
    def fetch(token: str | None) -> Page[ListedUser]:
        return retry(lambda: reader.users(user_filter=user_filter, token=token))

    for page in iter_pages(Operation.LIST_USERS, fetch, max_pages=MAX_USER_PAGES):
        yield from page


def _members(groups: tuple[str, ...], reader: PoolReader, retry: Retrier) -> Iterator[ListedUser]:
    if len(groups) == 1:
        yield from _members_of(groups[0], reader, retry)
        return
    seen: set[str] = set()  # no user is read, or counted as skipped, twice
    for group in groups:
        for user in _members_of(group, reader, retry):
            if user.name not in seen:
                seen.add(user.name)
                yield user


def _members_of(group: str, reader: PoolReader, retry: Retrier) -> Iterator[ListedUser]:
    def fetch(token: str | None) -> Page[ListedUser]:
        return retry(lambda: reader.users_in_group(group, token=token))

    for page in iter_pages(Operation.LIST_USERS_IN_GROUP, fetch, max_pages=MAX_USER_PAGES):
        yield from page
