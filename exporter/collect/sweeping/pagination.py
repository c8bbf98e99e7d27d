"""Which users a sweep reads: pages of Cognito's listings, or the names in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

from exporter.aws.api import PAGE_SIZE, Operation, Page, PoolReader
from exporter.config.settings import UserSelection
from exporter.errors import EndlessListing
from exporter.model import Device, ListedUser

T = TypeVar("T")

MAX_EMPTY_PAGES = 1000
"""Pages in a row without an item: Cognito gives some, but a thousand is a chain without an end."""

MAX_DEVICE_PAGES = 200
"""Pages of one user's devices: 12,000 devices are a fault, not a person."""

MAX_USER_PAGES = 1_000_000
"""Pages of a pool's users: 60 million, where AWS grants 40 million to a pool."""


def pages(
    operation: str, fetch: Callable[[str | None], Page[T]], *, most: int | None = None
) -> Iterator[tuple[T, ...]]:
    """Every page of a listing, each at most once.

    Raises `EndlessListing` when a page names itself or one before it as the next, when a thousand pages in a row are
    empty, and after `most` pages or what they hold: following such a chain would never end.
    """
    token: str | None = None
    mark: str | None = None  # the token at page 1, 2, 4, 8 …: every circle is found, and one token is kept
    empty = count = items = 0
    while True:
        page = fetch(token)
        items += len(page.items)
        if most is not None and items > most * PAGE_SIZE:
            raise EndlessListing(operation, "more entries than there can be")
        yield page.items
        count += 1
        empty = 0 if page.items else empty + 1
        if page.token is None:
            return
        if page.token == token:
            raise EndlessListing(operation, "a page names itself as the next")
        if page.token == mark:
            raise EndlessListing(operation, "the chain of pages leads back to itself")
        if empty >= MAX_EMPTY_PAGES or count == most:
            raise EndlessListing(operation, "the chain of pages does not end")
        if count.bit_count() == 1:
            mark = page.token
        token = page.token


def distinct(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Every device once, as it was listed last: one that is used while its pages are read may stand on two of them.

    Devices without a key are told apart by a number, so that they stay as many as they are.
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


class Ask(Protocol):
    """Makes a call, again and again while it fails retryably, up to some bound."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """The answer, or the last failure raised."""
        ...


def selected_users(selection: UserSelection, reader: PoolReader, ask: Ask) -> Iterator[ListedUser]:
    """The users of a selection; those of several groups once each."""
    if selection.usernames is not None:
        yield from map(ListedUser, dict.fromkeys(selection.usernames))
    elif selection.groups is not None:
        yield from _members(selection.groups, reader, ask)
    else:
        yield from _everyone(selection.filter, reader, ask)


def _everyone(user_filter: str | None, reader: PoolReader, ask: Ask) -> Iterator[ListedUser]:
    def fetch(token: str | None) -> Page[ListedUser]:
        return ask(lambda: reader.users(user_filter=user_filter, token=token))

    for page in pages(Operation.LIST_USERS, fetch, most=MAX_USER_PAGES):
        yield from page


def _members(groups: tuple[str, ...], reader: PoolReader, ask: Ask) -> Iterator[ListedUser]:
    if len(groups) == 1:
        yield from _members_of(groups[0], reader, ask)
        return
    met: set[str] = set()  # so that nobody is asked, or counted as skipped, twice
    for group in groups:
        for user in _members_of(group, reader, ask):
            if user.name not in met:
                met.add(user.name)
                yield user


def _members_of(group: str, reader: PoolReader, ask: Ask) -> Iterator[ListedUser]:
    def fetch(token: str | None) -> Page[ListedUser]:
        return ask(lambda: reader.users_in_group(group, token=token))

    for page in pages(Operation.LIST_USERS_IN_GROUP, fetch, most=MAX_USER_PAGES):
        yield from page
