"""SSL context of the server, tested by a handshake in memory."""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from tempfile import NamedTemporaryFile

from exporter.config.problems import KeyPath, Problem
from exporter.config.web.schema import CIPHERS, CURVES, TlsServer
from exporter.config.web.settings import Tls

SECTION: KeyPath = ("tls_server_config",)

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_NAMES = {"TLS12": "TLS 1.2", "TLS13": "TLS 1.3"}
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_MISMATCH = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""Errors of OpenSSL for the key of another certificate; the last if the two are of different types."""

_MAX_ROUNDS = 10
"""Maximum rounds of a handshake, which takes three."""


class TlsError(Exception):
    """The configuration does not result in a working server."""

    def __init__(self, key: str | None, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(SECTION if key is None else (*SECTION, key), text)


@dataclass(frozen=True, slots=True)
class Pem:
    """Certificates or a private key, and the key of the configuration that they come from."""

    content: bytes
    source: str


def make_tls(config: TlsServer, cert: Pem, private_key: Pem, client_ca: Pem | None) -> tuple[Tls, tuple[str, ...]]:
    """Return the TLS of the server, and warnings about its certificate.

    Raises `TlsError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[config.min_version], _VERSIONS[config.max_version]
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A resumed session skips the client certificate, and scrapes are too rare to gain from it. TLS 1.2 still resumes:
    # without tickets, OpenSSL would keep the sessions in memory, and Python cannot disable that.
    context.num_tickets = 0
    _select_ciphers(context, config)
    _load_chain(context, cert, private_key)
    warnings = _test_handshakes(context, config, cert)
    _set_client_auth(context, config, client_ca)
    sans = None if config.client_allowed_sans is None else frozenset(map(canonical_san, config.client_allowed_sans))
    trusted = client_ca.content if client_ca else b""
    client_auth_digest = _digest(config.client_auth_type, repr(sorted(sans) if sans else sans), trusted)
    return (
        Tls(
            context,
            fingerprint=_digest(config.model_dump_json(), cert.content, private_key.content, client_auth_digest),
            client_auth_digest=client_auth_digest,
            requires_certificate=context.verify_mode is ssl.CERT_REQUIRED,
            allowed_sans=sans,
        ),
        warnings,
    )


def canonical_san(name: str) -> str:
    """Return a name in the form that is compared: IP addresses in their shortest form, other names unchanged."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name


def certificates(text: bytes) -> list[bytes]:
    """Return the PEM blocks of certificates, found in one pass over any text."""
    found = []
    start = text.find(_BEGIN)
    while start >= 0 and (end := text.find(_END, start)) >= 0:
        found.append(text[start : end + len(_END)])
        start = text.find(_BEGIN, end)
    return found


def _select_ciphers(context: ssl.SSLContext, config: TlsServer) -> None:
    suites = [CIPHERS[name] for name in config.cipher_suites if name in CIPHERS]
    try:
        if suites:
            context.set_ciphers(":".join(suites))
        if config.curve_preferences:
            context.set_ecdh_curve(CURVES[config.curve_preferences[0]])
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(None, f"not supported by OpenSSL: {_reason(error)}") from None
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _load_chain(context: ssl.SSLContext, cert: Pem, private_key: Pem) -> None:
    if not certificates(cert.content):
        raise TlsError(cert.source, "no certificate found, expected PEM")
    if not _PRIVATE_KEY.search(private_key.content):
        raise TlsError(private_key.source, "no private key found, expected PEM")
    encrypted = False

    def password() -> str:
        nonlocal encrypted
        encrypted = True
        return ""

    try:
        with _as_file(cert.content) as cert_file, _as_file(private_key.content) as key_file:
            context.load_cert_chain(cert_file, key_file, password)
    except (ssl.SSLError, ValueError, OSError) as error:
        if encrypted:
            raise TlsError(private_key.source, "encrypted, expected a key without a password") from None
        if getattr(error, "reason", None) in _KEY_MISMATCH:
            raise TlsError(private_key.source, "key does not match the certificate, expected its key") from None
        raise TlsError(
            cert.source, f"cannot use certificate and key, expected both in PEM ({_reason(error)})"
        ) from None


def _set_client_auth(context: ssl.SSLContext, config: TlsServer, client_ca: Pem | None) -> None:
    context.verify_mode = _VERIFY[config.client_auth_type]
    if client_ca is None:
        return
    # As in Go, each certificate is a trust anchor, not only self-signed ones.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    blocks = certificates(client_ca.content)
    if not blocks:
        raise TlsError(client_ca.source, "no certificate found, expected PEM")
    try:
        context.load_verify_locations(cadata=b"\n".join(blocks).decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(client_ca.source, f"invalid certificates, expected PEM ({_reason(error)})") from None


def _test_handshakes(server: ssl.SSLContext, config: TlsServer, cert: Pem) -> tuple[str, ...]:
    """Run a handshake in memory with each version, as clients may support only one; return warnings.

    Some errors of a context appear only in a handshake, otherwise at the first scrape.
    """
    warnings: dict[str, None] = {}
    for version in (version for version in _VERSIONS if config.min_version <= version <= config.max_version):
        try:
            _handshake(_client(server, _VERSIONS[version], cert), server)
        except ssl.SSLCertVerificationError as error:
            warnings[f"clients reject the certificate: {error.verify_message}"] = None
        except (ssl.SSLError, ValueError) as error:
            raise TlsError(
                None,
                f"no client can connect with {_NAMES[version]}, expected suites, a curve and versions that match "
                f"the certificate ({_reason(error)})",
            ) from None
    return tuple(warnings)


def _client(server: ssl.SSLContext, version: ssl.TLSVersion, cert: Pem) -> ssl.SSLContext:
    """Return the context of a client with this version, which trusts the server and has its cipher suites."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = client.maximum_version = version
    client.set_ciphers(":".join(suite["name"] for suite in server.get_ciphers()))
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=certificates(cert.content)[0].decode("ascii"))
    return client


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(_MAX_ROUNDS):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Return a path of content in memory: `load_cert_chain` accepts only paths, and keys stay off the disk."""
    if sys.platform != "linux":
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    descriptor = os.memfd_create("pem")
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            memory.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    """Return OpenSSL's reason, which repeats no content."""
    return str(getattr(error, "reason", None) or type(error).__name__).lower().replace("_", " ")


def _digest(*parts: str | bytes) -> bytes:
    return sha256(repr(parts).encode()).digest()
