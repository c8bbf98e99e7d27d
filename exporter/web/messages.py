"""Requests, responses and routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

RETRY_AFTER = ("Retry-After", "1")


@dataclass(frozen=True, slots=True)
class Request:
    """Request with a valid HTTP head; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """Response; `headers` are those in addition to Content-Type and Content-Length."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """Handler of a path and the methods it allows."""

    handler: Callable[[Request], Response]
    methods: tuple[str, ...] = ("GET", "HEAD")
    public: bool = False
    """Served without credentials. Every other path, known or not, requires the configured ones."""


Routes = Mapping[str, Route]


def text(status: HTTPStatus, message: str, *headers: tuple[str, str]) -> Response:
    """Return a plain-text response of one line."""
    return Response(status, f"{message}\n".encode(), headers=headers)


def busy(message: str) -> Response:
    """Return a 503 that asks the client to retry."""
    return text(HTTPStatus.SERVICE_UNAVAILABLE, message, RETRY_AFTER)


def parse_target(target: str) -> tuple[str, dict[str, list[str]]]:
    """Return the path and the query of a request target. Only the query is percent-decoded.

    Raises `ValueError` if the target is invalid.
    """
    if target.startswith("/") or "://" not in target:
        path, _, query = target.partition("?")
    else:  # the absolute form, as sent to a proxy
        parts = urlsplit(target)
        path, query = parts.path or "/", parts.query
    return path, parse_qs(query, keep_blank_values=True, max_num_fields=1000)


def dispatch(routes: Routes, request: Request) -> Response:
    """Return the response of the route for the request's path, or 404 or 405."""
    route = routes.get(request.path)
    if route is None:
        return text(HTTPStatus.NOT_FOUND, "not found")
    if request.method not in route.methods:
        allowed = ", ".join(route.methods)
        return text(HTTPStatus.METHOD_NOT_ALLOWED, f"method not allowed, use {allowed}", ("Allow", allowed))
    return route.handler(request)
