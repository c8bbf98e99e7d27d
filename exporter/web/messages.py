"""Requests and answers as the routes see them, and the table of routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose head is read and valid HTTP; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `headers` beside Content-Type and Content-Length."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """What answers on a path, and to which methods; whoever takes GET takes HEAD."""

    handler: Callable[[Request], Response]
    methods: tuple[str, ...] = ("GET", "HEAD")
    public: bool = False
    """Whether whoever asks is answered; every other path, known or not, wants the credentials that are configured."""


Routes = Mapping[str, Route]


def text(status: HTTPStatus, message: str, *headers: tuple[str, str]) -> Response:
    """A short answer for people and probes."""
    return Response(status, f"{message}\n".encode(), headers=headers)


def parse_target(target: str) -> tuple[str, dict[str, list[str]]]:
    """The path and the query of a request target; both stay as sent but for the query's percent signs.

    Raises `ValueError` when it is none.
    """
    if target.startswith("/") or "://" not in target:
        path, _, query = target.partition("?")
    else:  # the absolute form, as a proxy is asked
        parts = urlsplit(target)
        path, query = parts.path or "/", parts.query
    return path, parse_qs(query, keep_blank_values=True, max_num_fields=1000)


def route_of(routes: Routes, request: Request) -> Route | None:
    """The one reading of a path: who may ask and what answers are decided on the same."""
    return routes.get(request.path)


def dispatch(routes: Routes, request: Request) -> Response:
    """The answer of the route for the path, or why there is none."""
    route = route_of(routes, request)
    if route is None:
        return text(HTTPStatus.NOT_FOUND, "not found")
    if request.method not in route.methods:
        allowed = ", ".join(route.methods)
        return text(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed}", ("Allow", allowed))
    return route.handler(request)
