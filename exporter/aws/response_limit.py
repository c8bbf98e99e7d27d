"""boto3's answers within bounds: botocore itself reads a body of any length into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.parsers import ResponseParserError

from exporter.aws.lean.transport import MAX_BODY_BYTES

_PIECE = 65_536


class HttpSession(Protocol):
    """What sends the requests of a botocore client, such as `botocore.httpsession.URLLib3Session`."""

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send one request; the body of the answer is left unread where the request says so."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class LimitedSession:
    """A botocore HTTP session that reads no more of an answer than `MAX_BODY_BYTES`."""

    def __init__(self, session: HttpSession) -> None:
        """Send with `session`."""
        self._session = session

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send one request and read the answer.

        Raises what `session` and urllib3 raise, and `ResponseParserError` for an answer that is too long.
        """
        request.stream_output = True  # else the session reads everything itself
        response = self._session.send(request)
        headers: Any = response.headers  # the stubs do not expect what the attribute gives
        return AWSResponse(response.url, response.status_code, headers, _Body(_read(response.raw)))

    def close(self) -> None:
        """Close every connection."""
        self._session.close()


class _Body:
    """A body as `AWSResponse` takes it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


def _read(raw: Any) -> bytes:
    parts: list[bytes] = []
    length = 0
    for part in raw.stream(_PIECE):
        length += len(part)
        if length > MAX_BODY_BYTES:
            raw.close()
            raise ResponseParserError("the body is too long")
        parts.append(part)
    return b"".join(parts)


def limit_response_size(client: Any) -> None:
    """Let a boto3 client read answers of bounded length only."""
    endpoint = client._endpoint  # noqa: SLF001 - botocore offers no other place for an HTTP session
    if not isinstance(endpoint.http_session, LimitedSession):
        endpoint.http_session = LimitedSession(endpoint.http_session)
