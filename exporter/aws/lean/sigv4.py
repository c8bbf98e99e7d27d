"""Signature Version 4 for POST requests of which only body, credentials and time vary.

The result is identical to that of botocore's `SigV4Auth` (the tests compare them) in a tenth of the time: constant
parts are prepared once, and the signing key is derived once per day. The time is an argument, because the system clock
may be wrong (see `exporter.aws.lean.client`). Source: "Create a signed AWS API request" in the IAM User Guide.
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from urllib.parse import quote, urlsplit

from botocore.auth import SIGNED_HEADERS_BLACKLIST
from botocore.credentials import ReadOnlyCredentials
from botocore.utils import normalize_url_path

from exporter.aws.lean.request_template import RequestTemplate

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Signer:
    """Signer for the requests of one template. Thread-safe."""

    def __init__(self, template: RequestTemplate) -> None:
        headers = {name.lower(): " ".join(value.split()) for name, value in template.headers.items()}
        self._unsigned = {name: value for name, value in headers.items() if name in SIGNED_HEADERS_BLACKLIST}
        self._signed = {name: value for name, value in headers.items() if name not in SIGNED_HEADERS_BLACKLIST}
        self._signed["host"] = _host(template.url)
        path = quote(normalize_url_path(urlsplit(template.url).path), safe="/~")
        self._request_line = f"POST\n{path}\n\n"
        self._service = template.service
        self._region = template.region
        self._key = ("", "", b"")

    def headers(self, body: bytes, credentials: ReadOnlyCredentials, now: float) -> dict[str, str]:
        """Return the headers of a request with this body; `now` is in seconds since the Unix epoch."""
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        signed = {**self._signed, "x-amz-date": timestamp}
        if credentials.token:
            signed["x-amz-security-token"] = credentials.token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical_request = f"{self._request_line}{lines}\n{names}\n{sha256(body).hexdigest()}"
        day = timestamp[:8]
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        string_to_sign = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{sha256(canonical_request.encode()).hexdigest()}"
        signature = _hmac(self._signing_key(str(credentials.secret_key), day), string_to_sign).hex()
        credential = f"{credentials.access_key}/{scope}"
        return {
            **self._unsigned,
            **signed,
            "authorization": f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}",
        }

    def _signing_key(self, secret: str, day: str) -> bytes:
        cached_secret, cached_day, key = self._key  # one tuple, so that threads never see a mixture
        if (cached_secret, cached_day) != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = _hmac(key, part)
            self._key = (secret, day, key)
        return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _host(url: str) -> str:
    """Return the Host header of a URL, without a default port."""
    address = urlsplit(url)
    host = address.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if address.port in {None, _DEFAULT_PORTS.get(address.scheme)}:
        return host
    return f"{host}:{address.port}"
