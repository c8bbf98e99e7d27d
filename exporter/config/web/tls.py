"""The keys of `tls_server_config` → an SSL context that has proved to work."""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from tempfile import NamedTemporaryFile

from exporter.config.problems import KeyPath, Problem
from exporter.config.web.schema import TlsServer
from exporter.config.web.settings import Tls
from exporter.config.web.validators import CIPHERS, CURVES

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
_ANOTHERS_KEY = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""How OpenSSL calls it; the last where the two are of different kinds."""

_ROUNDS = 10
"""A handshake is over after three."""


class TlsFault(Exception):
    """The material does not make a working server."""

    def __init__(self, key: str | None, text: str) -> None:
        super().__init__(text)
        self.fault = Problem(SECTION if key is None else (*SECTION, key), text)


@dataclass(frozen=True, slots=True)
class Material:
    """The contents that the keys point to or hold; `*_key` is the key of the file that each stands under."""

    cert: bytes
    cert_key: str
    private: bytes
    private_key: str
    client_ca: bytes | None
    client_ca_key: str


def make_tls(wire: TlsServer, material: Material) -> tuple[Tls, tuple[str, ...]]:
    """The TLS of a server, and doubts about its certificate.

    Raises `TlsFault`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[wire.min_version], _VERSIONS[wire.max_version]
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A resumed session would carry a client's proof on; scrapes come too seldom to gain by it. TLS 1.2 still resumes:
    # without its tickets OpenSSL would keep the sessions in memory instead, and Python cannot tell it not to.
    context.num_tickets = 0
    _choose(context, wire)
    _load_chain(context, material)
    doubts = _try_out(context, wire, material)
    _ask_clients(context, wire, material)
    sans = None if wire.client_allowed_sans is None else frozenset(map(canonical_san, wire.client_allowed_sans))
    demands = _digest(wire.client_auth_type, repr(sorted(sans) if sans else sans), material.client_ca or b"")
    return (
        Tls(
            context,
            fingerprint=_digest(wire.model_dump_json(), material.cert, material.private, demands),
            demands=demands,
            requires_certificate=context.verify_mode is ssl.CERT_REQUIRED,
            allowed_sans=sans,
        ),
        doubts,
    )


def canonical_san(name: str) -> str:
    """A name as it is compared: an IP address in its shortest form, anything else as it is."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name


def certificates(text: bytes) -> list[bytes]:
    """The blocks of PEM that hold a certificate each, found in one pass whatever else stands there."""
    found = []
    start = text.find(_BEGIN)
    while start >= 0 and (end := text.find(_END, start)) >= 0:
        found.append(text[start : end + len(_END)])
        start = text.find(_BEGIN, end)
    return found


def _choose(context: ssl.SSLContext, wire: TlsServer) -> None:
    suites = [CIPHERS[name] for name in wire.cipher_suites if name in CIPHERS]
    try:
        if suites:
            context.set_ciphers(":".join(suites))
        if wire.curve_preferences:
            context.set_ecdh_curve(CURVES[wire.curve_preferences[0]])
    except (ssl.SSLError, ValueError) as error:
        raise TlsFault(None, f"not what this OpenSSL can do: {_reason(error)}") from None
    if not wire.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE


def _load_chain(context: ssl.SSLContext, material: Material) -> None:
    if not certificates(material.cert):
        raise TlsFault(material.cert_key, "no certificate in it, expected PEM")
    if not _PRIVATE_KEY.search(material.private):
        raise TlsFault(material.private_key, "no private key in it, expected PEM")
    asked: list[bool] = []

    def password() -> str:
        asked.append(True)
        return ""

    try:
        with ExitStack() as stack:
            cert, private = (stack.enter_context(_as_file(text)) for text in (material.cert, material.private))
            context.load_cert_chain(cert, private, password)
    except (ssl.SSLError, ValueError, OSError) as error:
        if asked:
            raise TlsFault(material.private_key, "encrypted, expected a key without a password") from None
        if getattr(error, "reason", None) in _ANOTHERS_KEY:
            raise TlsFault(material.private_key, "not the key of the certificate, expected its key") from None
        raise TlsFault(
            material.cert_key, f"cannot be used with its key, expected both in PEM ({_reason(error)})"
        ) from None


def _ask_clients(context: ssl.SSLContext, wire: TlsServer, material: Material) -> None:
    context.verify_mode = _VERIFY[wire.client_auth_type]
    if material.client_ca is None:
        return
    # As in Go, each certificate given is trusted for itself, whoever signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    blocks = certificates(material.client_ca)
    if not blocks:
        raise TlsFault(material.client_ca_key, "no certificate in it, expected PEM")
    try:
        context.load_verify_locations(cadata=b"\n".join(blocks).decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TlsFault(material.client_ca_key, f"not certificates, expected PEM ({_reason(error)})") from None


def _try_out(server: ssl.SSLContext, wire: TlsServer, material: Material) -> tuple[str, ...]:
    """Shake hands with ourselves in memory: what only then comes out would else come out at the first scrape.

    Each version is tried for itself, as there are clients that speak no other.
    """
    doubts: dict[str, None] = {}
    for version in (version for version in _VERSIONS if wire.min_version <= version <= wire.max_version):
        try:
            _shake_hands(_client(server, _VERSIONS[version], material), server)
        except ssl.SSLCertVerificationError as error:
            doubts[f"clients will not accept the certificate: {error.verify_message}"] = None
        except (ssl.SSLError, ValueError) as error:
            raise TlsFault(
                None,
                f"no client could connect over {_NAMES[version]}, expected suites, a curve and versions that go with "
                f"the certificate ({_reason(error)})",
            ) from None
    return tuple(doubts)


def _client(server: ssl.SSLContext, version: ssl.TLSVersion, material: Material) -> ssl.SSLContext:
    """A client that speaks this version only, knows every suite of the server and trusts its certificate."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = client.maximum_version = version
    client.set_ciphers(":".join(suite["name"] for suite in server.get_ciphers()))
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=certificates(material.cert)[0].decode("ascii"))
    return client


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(_ROUNDS):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path of content in memory: `load_cert_chain` takes nothing but paths, and a key belongs on no disk."""
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
    """OpenSSL's word for it; it names no content."""
    return str(getattr(error, "reason", None) or type(error).__name__).lower().replace("_", " ")


def _digest(*parts: str | bytes) -> bytes:
    digest = sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.digest()
