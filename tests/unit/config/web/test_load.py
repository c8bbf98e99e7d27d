"""Web configuration files: settings, problems with line and key, and TLS."""

from __future__ import annotations

import os
import re
import ssl
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_letters, digits

import bcrypt
import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from exporter.config.problems import Problem
from exporter.config.schema import fields_of
from exporter.config.web.load import MAX_BURST, load_web_settings
from exporter.config.web.schema import CIPHERS, Headers, HttpServer, RateLimits, TlsServer, WebRoot, hash_problem
from exporter.config.web.settings import RateLimit, WebSettings
from exporter.config.web.tls import TlsError, _select_ciphers, certificates
from exporter.errors import ConfigError

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
CERT = "  cert_file: server.crt\n  key_file: server.key\n"
TLS = f"tls_server_config:\n{CERT}"
CA = "  client_ca_file: ca.crt\n"
POLICY = "tls_server_config.client_auth_type"
VERIFY = "  client_auth_type: RequireAndVerifyClientCert\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with certificates and keys, valid and invalid."""
    directory = tmp_path_factory.mktemp("web")
    ca = trustme.CA()
    for stem in ("server", "other"):
        issued = ca.issue_cert("localhost")
        (directory / f"{stem}.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        (directory / f"{stem}.key").write_bytes(issued.private_key_pem.bytes())
    rsa = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.RSA)
    (directory / "rsa.key").write_bytes(rsa.private_key_pem.bytes())
    (directory / "ca.crt").write_bytes(ca.cert_pem.bytes())
    key = load_pem_private_key((directory / "server.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (directory / "locked.key").write_bytes(locked)
    (directory / "empty").write_bytes(b"")
    (directory / "broken.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (directory / "odd.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\n\xff\xfe\n-----END CERTIFICATE-----\n")
    (directory / "broken.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    os.mkfifo(directory / "pipe")
    (directory / "large.crt").write_bytes(b" " * ((1 << 20) + 1))
    return directory


def load(directory: Path, text: str) -> WebSettings:
    path = directory / "web.yml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return load_web_settings(path)


def problems_of(directory: Path, text: str) -> list[str]:
    """Return the problems without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    prefix = f"{directory / 'web.yml'}:"
    assert all(problem.startswith(prefix) for problem in caught.value.problems)
    return [problem.removeprefix(prefix) for problem in caught.value.problems]


INVALID = {
    "empty": ("", "1: empty, expected a mapping such as {} for no protection"),
    "only a comment": ("# nothing\n", "1: empty, expected a mapping such as {} for no protection"),
    "a list": ("- a\n", "1: wrong type, expected a mapping (found a list)"),
    "not YAML": ("a: [", "1:5: not YAML: while parsing a flow node"),
    "not text": ("a: \udcff", "1: not text, expected UTF-8"),
    "not text further down": ("\na: b\nc: \udcff\n", "3: not text, expected UTF-8"),
    "a name with a lone surrogate": (
        'basic_auth_users: {"\\ud800": x}\n',
        "1:20: half of a surrogate pair, expected the character itself",
    ),
    "a hash with a lone surrogate": (
        'basic_auth_users: {a: "\\ud800"}\n',
        "1:23: half of a surrogate pair, expected the character itself",
    ),
    "a certificate with a lone surrogate": (
        'tls_server_config: {cert: "\\ud800", key: x}\n',
        "1:27: half of a surrogate pair, expected the character itself",
    ),
    "unknown key": ("tls_config: {}\n", "1: tls_config: unknown key, expected one of tls_server_config, "),
    "unknown key inside": (f"{TLS}  cert_filse: x\n", "4: tls_server_config.cert_filse: unknown key, expected one of "),
    "twice": (
        "rate_limit: {interval: 1s, burst: 1}\nrate_limit: {}\n",
        "2: rate_limit: duplicate key, first defined in line 1",
    ),
    "section without content": (
        "tls_server_config:\n",
        "1: tls_server_config: wrong type, expected a mapping with a certificate and a key (found nothing)",
    ),
    "users without content": ("basic_auth_users:\n", "1: basic_auth_users: wrong type, expected a mapping of user"),
    "no users": ("basic_auth_users: {}\n", "1: basic_auth_users: empty, expected at least one user, or the key to be"),
    "users as a list": ("basic_auth_users: [a]\n", "1: basic_auth_users: wrong type, expected a mapping of user names"),
    "a bad hash": (
        f"basic_auth_users:\n  alice: {HASH}\n  bob: hunter2\n",
        "3: basic_auth_users: the hash of user 2 is not a bcrypt hash, expected a bcrypt hash such as htpasswd -nB",
    ),
    "an MD5 hash": ("basic_auth_users: {a: $apr1$x$y}\n", "1: basic_auth_users: the hash of user 1 is not a bcrypt"),
    "a short hash": (f"basic_auth_users: {{a: {HASH[:-1]}}}\n", "1: basic_auth_users: the hash of user 1 is not"),
    "a hash with trailing text": (f'basic_auth_users: {{a: "{HASH}\\n"}}\n', "1: basic_auth_users: the hash of user 1"),
    "a hash of variant x": (
        f"basic_auth_users: {{a: {HASH.replace('2y', '2x')}}}\n",
        "1: basic_auth_users: the",
    ),
    "a cheap hash": (f"basic_auth_users: {{a: {HASH.replace('$10$', '$03$')}}}\n", "1: basic_auth_users: the hash of"),
    "an expensive hash": (
        f"basic_auth_users: {{a: {HASH.replace('$10$', '$19$')}}}\n",
        "1: basic_auth_users: the hash of user 1 is a bcrypt hash with a cost out of range, expected",
    ),
    "a hash with a salt of more than 128 bits": (
        f"basic_auth_users: {{a: {HASH.replace('zPe', 'zPf')}}}\n",
        "1: basic_auth_users: the hash of user 1 is a bcrypt hash with an invalid salt, expected a bcrypt hash such as",
    ),
    "a number instead of a hash": (
        f"basic_auth_users: {{a: 0x{'f' * 5000}}}\n",
        "1: basic_auth_users: the hash of user 1 is not a bcrypt hash, expected",
    ),
    "a null hash": ("basic_auth_users: {a: }\n", "1: basic_auth_users: the hash of user 1 is not a bcrypt"),
    "a colon in a name": (
        f'basic_auth_users: {{"a:b": {HASH}}}\n',
        "1: basic_auth_users: the name of user 1 is empty or has a colon, expected a name",
    ),
    "a user twice": (
        f"basic_auth_users:\n  ann: {HASH}\n  ann: {HASH}\n",
        "3: basic_auth_users: a user: duplicate key, first defined in line 2",
    ),
    "no certificate": (
        "tls_server_config:\n  key_file: server.key\n",
        "1: tls_server_config.cert_file: missing, expected cert_file or cert",
    ),
    "no key": (
        "tls_server_config:\n  cert_file: server.crt\n",
        "1: tls_server_config.key_file: missing, expected key_file or key",
    ),
    "a blank path": (
        "tls_server_config:\n  cert_file: ' '\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: ",
    ),
    "an empty path": (
        "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: missing, expected cert_file or cert",
    ),
    "an empty client CA": (
        f"{TLS}{VERIFY}  client_ca_file: ''\n",
        "4: tls_server_config.client_auth_type: requires a client CA, expected client_ca or client_ca_file",
    ),
    "an empty version": (
        f"{TLS}  min_version: ''\n",
        "4: tls_server_config.min_version: unknown value, expected TLS12",
    ),
    "an anchor": (
        "http_server_config: &shared {http2: false}\n",
        "1:21: anchors and aliases are not supported, expected plain values",
    ),
    "both": (f"{TLS}  cert: x\n", "4: tls_server_config.cert: conflicts with cert_file, expected only one of them"),
    "no such file": (
        "tls_server_config:\n  cert_file: none.crt\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: cannot be read, expected a readable file (found: No such file or directory)",
    ),
    "a directory": (
        "tls_server_config:\n  cert_file: .\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: cannot be read, expected a readable file (found: Is a directory)",
    ),
    "a pipe": (
        "tls_server_config:\n  cert_file: pipe\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: a pipe, expected a regular file",
    ),
    "a large file": (
        "tls_server_config:\n  cert_file: large.crt\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: too large, expected at most 1 MiB",
    ),
    "an empty certificate": (
        "tls_server_config:\n  cert_file: empty\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: no certificate found, expected PEM",
    ),
    "a broken certificate": (
        "tls_server_config:\n  cert_file: broken.crt\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: cannot use certificate and key, expected both in PEM (",
    ),
    "a key for a certificate": (
        "tls_server_config:\n  cert_file: server.key\n  key_file: server.key\n",
        "2: tls_server_config.cert_file: no certificate found, expected PEM",
    ),
    "an empty key": (
        "tls_server_config:\n  cert_file: server.crt\n  key_file: empty\n",
        "3: tls_server_config.key_file: no private key found, expected PEM",
    ),
    "a broken key": (
        "tls_server_config:\n  cert_file: server.crt\n  key_file: broken.key\n",
        "2: tls_server_config.cert_file: cannot use certificate and key, expected both in PEM (",
    ),
    "another's key": (
        "tls_server_config:\n  cert_file: server.crt\n  key_file: other.key\n",
        "3: tls_server_config.key_file: key does not match the certificate, expected its key",
    ),
    "another kind of key": (
        "tls_server_config:\n  cert_file: server.crt\n  key_file: rsa.key\n",
        "3: tls_server_config.key_file: key does not match the certificate, expected its key",
    ),
    "a key with a password": (
        "tls_server_config:\n  cert_file: server.crt\n  key_file: locked.key\n",
        "3: tls_server_config.key_file: encrypted, expected a key without a password",
    ),
    "a client CA without a policy": (
        f"{TLS}{CA}",
        f"1: {POLICY}: does not request certificates, expected one that does, as there is a client CA",
    ),
    "no client CA": (
        f"{TLS}{VERIFY}",
        "4: tls_server_config.client_auth_type: requires a client CA, exp",
    ),
    "an unknown policy": (
        f"{TLS}  client_auth_type: Maybe\n",
        "4: tls_server_config.client_auth_type: unknown value, expected NoClientCert, VerifyClientCertIfGiven or Req",
    ),
    "a policy that requests and does not verify": (
        f"{TLS}  client_auth_type: RequestClientCert\n",
        "4: tls_server_config.client_auth_type: Python verifies every certificate that it requests, expected",
    ),
    "a policy that requires and does not verify": (
        f"{TLS}  client_auth_type: RequireAnyClientCert\n",
        "4: tls_server_config.client_auth_type: Python verifies every certificate that it requests, expected",
    ),
    "a client CA without a certificate": (
        f"{TLS}{VERIFY}  client_ca_file: server.key\n",
        "5: tls_server_config.client_ca_file: no certificate found, expected PEM",
    ),
    "a broken client CA": (
        f"{TLS}{VERIFY}  client_ca_file: broken.crt\n",
        "5: tls_server_config.client_ca_file: invalid certificates, expected PEM (",
    ),
    "a client CA that is not text": (
        f"{TLS}{VERIFY}  client_ca_file: odd.crt\n",
        "5: tls_server_config.client_ca_file: invalid certificates, expected PEM (",
    ),
    "both client CAs": (f"{TLS}{VERIFY}{CA}  client_ca: x\n", "6: tls_server_config.client_ca: conflicts with"),
    "no name allowed": (
        f"{TLS}{VERIFY}{CA}  client_allowed_sans: []\n",
        "6: tls_server_config.client_allowed_sans: empty, expected a list of at least one name",
    ),
    "names without a policy": (
        f"{TLS}  client_allowed_sans: [a]\n",
        "4: tls_server_config.client_allowed_sans: no certificate is requested, expected a client_auth_type that",
    ),
    "an old version": (
        f"{TLS}  min_version: TLS10\n",
        "4: tls_server_config.min_version: not supported by OpenSSL, expected TLS12 or TLS13",
    ),
    "an unknown version": (f"{TLS}  max_version: TLS14\n", "4: tls_server_config.max_version: unknown value, expected"),
    "versions in the wrong order": (
        f"{TLS}  min_version: TLS13\n  max_version: TLS12\n",
        "4: tls_server_config.min_version: above max_version, expected at most TLS12",
    ),
    "an invented suite": (f"{TLS}  cipher_suites: [TLS_X]\n", "4: tls_server_config.cipher_suites[0]: unknown value"),
    "an insecure suite": (
        f"{TLS}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n",
        "4: tls_server_config.cipher_suites[0]: unknown value, expected names of Go's secure cipher suites, each once",
    ),
    "suites of TLS 1.3 only": (
        f"{TLS}  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        "4: tls_server_config.cipher_suites: no cipher suite for TLS12, expected one, or min_version TLS13",
    ),
    "suites that do not match the key": (
        f"{TLS}  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n",
        "1: tls_server_config: no client can connect with TLS 1.2, expected suites, a curve and versions that",
    ),
    "suites that do not match the key, for older clients": (
        f"{TLS}  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n",
        "1: tls_server_config: no client can connect with TLS 1.2, expected suites, a curve and versions that",
    ),
    "an invented curve": (
        f"{TLS}  curve_preferences: [CurveP1]\n",
        "4: tls_server_config.curve_preferences[0]: unknown value, expected one of CurveP256, CurveP384, CurveP521",
    ),
    "several curves": (
        f"{TLS}  curve_preferences: [CurveP256, X25519]\n",
        "4: tls_server_config.curve_preferences: Python's ssl accepts only one curve, expected one of",
    ),
    "an unknown header": (
        "http_server_config:\n  headers:\n    Server: x\n",
        "3: http_server_config.headers.Server: unknown key, expected one of Content-Security-Policy, X-Frame-Options",
    ),
    "a header's case": (
        "http_server_config:\n  headers:\n    x-frame-options: deny\n",
        "3: http_server_config.headers.x-frame-options: unknown key",
    ),
    "a header's value": (
        "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
        '3: http_server_config.headers.X-Frame-Options: unknown value, expected deny or sameorigin (found "allow")',
    ),
    "another header's value": (
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}\n",
        "1: http_server_config.headers.X-Content-Type-Options: unknown value, expected nosniff",
    ),
    "a line break in a header": (
        'http_server_config: {headers: {X-XSS-Protection: "1\\r\\nX: y"}}\n',
        "1: http_server_config.headers.X-XSS-Protection: not printable ASCII, expected text of one line",
    ),
    "a boolean in a header": (
        "http_server_config: {headers: {X-XSS-Protection: true}}\n",
        "1: http_server_config.headers.X-XSS-Protection: wrong type, expected text of one line",
    ),
    "a list in a header": (
        "http_server_config: {headers: {X-XSS-Protection: [a]}}\n",
        "1: http_server_config.headers.X-XSS-Protection: wrong type, expected text of one line",
    ),
    "http2 as text": ("http_server_config: {http2: 'yes'}\n", "1: http_server_config.http2: wrong type, expected true"),
    "no unit": (
        "rate_limit: {interval: 5, burst: 1}\n",
        "1: rate_limit.interval: wrong type, expected a",
    ),
    "no duration": (
        "rate_limit: {interval: soon, burst: 1}\n",
        "1: rate_limit.interval: not a duration, exp",
    ),
    "a limit that allows no request": (
        "rate_limit: {interval: 1s}\n",
        "1: rate_limit.burst: allows no request, expected a whole number from 1",
    ),
    "a burst above a billion": (
        "rate_limit: {interval: 1s, burst: 1000000001}\n",
        "1: rate_limit.burst: too large, expected at most 1000000000",
    ),
    "a burst that no float can hold": (
        f"rate_limit: {{interval: 1s, burst: 0x{'f' * 300}}}\n",
        "1: rate_limit.burst: too large, expected at most 1000000000",
    ),
}


@pytest.mark.parametrize(("text", "expected"), INVALID.values(), ids=INVALID.keys())
def test_invalid_file_reports_its_problem(directory: Path, text: str, expected: str) -> None:
    (problem,) = problems_of(directory, text)
    assert problem.startswith(expected)


@pytest.mark.parametrize("end", "./" + ascii_letters + digits)
def test_hash_is_accepted_if_bcrypt_accepts_it(end: str) -> None:
    hashed = f"$2b$04$QOauhQNbBCuQDKes6eFzP{end}MqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
    try:
        bcrypt.checkpw(b"x", hashed.encode())
    except ValueError:
        assert hash_problem(hashed) == "a bcrypt hash with an invalid salt"
    else:
        assert hash_problem(hashed) is None


def test_burst_of_a_billion_is_accepted(directory: Path) -> None:
    limit = load(directory, f"rate_limit: {{interval: 1s, burst: {MAX_BURST}}}\n").rate_limit
    assert limit == RateLimit(interval=1.0, burst=1_000_000_000)


def test_pipe_is_rejected(directory: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_web_settings(directory / "pipe")
    assert caught.value.problems == (f"{directory / 'pipe'}: a pipe, expected a regular file",)


def test_invalid_section_does_not_hide_problems_of_others(directory: Path) -> None:
    text = "tls_server_config:\n  cert_file: none.crt\nrate_limit:\n  interval: 1x\n"
    assert [re.sub(r",.*", "", problem) for problem in problems_of(directory, text)] == [
        "1: tls_server_config.key_file: missing",
        "2: tls_server_config.cert_file: cannot be read",
        "4: rate_limit.interval: not a duration",
    ]


def test_problems_are_reported_in_the_order_of_the_file(directory: Path) -> None:
    text = (
        "tls_server_config:\n  cert_file: none.crt\n  key_file: none.key\n  min_version: TLS13\n  max_version: TLS12\n"
        "basic_auth_users:\n  ann: x\n  ben: y\nrate_limit:\n  interval: 1s\n"
    )
    places = [re.sub(r" .*", "", problem) for problem in problems_of(directory, text)]
    assert places == ["2:", "3:", "4:", "7:", "8:", "9:"]


def test_problems_of_every_kind_are_reported_together(directory: Path) -> None:
    text = f"basic_auth_users:\n  ann: {HASH}\n  'b:c': {HASH}\n  ann: {HASH}\nrate: 1\n"
    assert [re.sub(r",.*", "", problem) for problem in problems_of(directory, text)] == [
        "3: basic_auth_users: the name of user 2 is empty or has a colon",
        "4: basic_auth_users: a user: duplicate key",
        "5: rate: unknown key",
    ]


def test_file_of_one_mebibyte_is_read_and_no_more(directory: Path) -> None:
    assert load(directory, "{}\n#" + "x" * ((1 << 20) - 4)).users == {}
    with pytest.raises(ConfigError, match="too large, expected at most 1 MiB"):
        load(directory, "{}\n#" + "x" * ((1 << 20) - 3))
    os.truncate(directory / "web.yml", 1 << 26)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="too large"):
            load_web_settings(directory / "web.yml")
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a: [", []),
        ("tls_server_config: {cert_file: none.crt, key_file: server.key}\n", ["none.crt", "server.key"]),
        (f"{TLS}{VERIFY}  client_ca_file: pipe\n", ["server.crt", "server.key", "pipe"]),
        (f"{TLS}{VERIFY}  client_ca_file: large.crt\n", ["server.crt", "server.key", "large.crt"]),
        (f"{TLS}{VERIFY}{CA}rate_limit: {{interval: 1s}}\n", ["server.crt", "server.key", "ca.crt"]),
    ],
)
def test_error_has_the_files_that_were_read_or_missing(directory: Path, text: str, names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    assert caught.value.files == tuple(directory / name for name in ("web.yml", *names))


def test_error_of_a_missing_file_has_that_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_web_settings(tmp_path / "none.yml")
    assert caught.value.files == (tmp_path / "none.yml",)


def test_missing_file_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yml: cannot be read, expected a readable file"):
        load_web_settings(tmp_path / "none.yml")


SECRETS = [
    f"basic_auth_users:\n  mallory: {HASH[:-1]}\n",
    f"basic_auth_users:\n  mallory: {HASH}\n  mallory: {HASH}\n",
    f"basic_auth_users: mallory {HASH}\n",
    f"basic_auth_users:\n  mallory: [{HASH}]\n",
    f"basic_auth_users:\n  'mallory:': {HASH}\n",
    f"tls_server_config:\n  key: {HASH} mallory\n  cert: {HASH} mallory\n",
    f"tls_server_config:\n  key: [{HASH}, mallory]\n",
    f"rate_limit: 'basic_auth_users: mallory {HASH}'\n",
    "tls_server_config: 'key: mallory'\n",
    "tls_server_config: 'cert: mallory'\n",
    "tls_server_config: 'client_ca: mallory'\n",
    "rate_limit: |\n  mallory\n  and more\n",
    "rate_limit: >-\n  mallory\n",
    # Where a scalar is expected, a wrong one is shown.
    "rate_limit: {interval: 'basic_auth_users: mallory', burst: 1}\n",
    "http_server_config: {http2: 'key: mallory'}\n",
    "http_server_config: {http2: 'cert: mallory'}\n",
    "http_server_config: {http2: 'client_ca: mallory'}\n",
    "http_server_config:\n  http2: |\n    mallory\n    and more\n",
    "http_server_config:\n  http2: >-\n    mallory\n",
]


@pytest.mark.parametrize("text", SECRETS)
def test_problem_shows_no_name_hash_or_key(directory: Path, text: str) -> None:
    assert not re.search(rf"mallory|{re.escape(HASH[:12])}", "".join(problems_of(directory, text)))


@pytest.mark.parametrize("key", ["cert", "key", "client_ca"])
def test_number_below_a_secret_key_is_not_shown(directory: Path, key: str) -> None:
    (problem, *_) = problems_of(directory, f"tls_server_config: {{{key}: 8675309}}\n")
    assert re.fullmatch(rf"1: .*\.{key}: wrong type, .* \(found the number that is not shown here\)", problem)


def test_file_with_every_section_is_loaded(directory: Path) -> None:
    settings = load(
        directory,
        f"{TLS}{VERIFY}{CA}  client_allowed_sans: [scraper, '0::1']\n  cipher_suites: [TLS_AES_128_GCM_SHA256, "
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [X25519]\n"
        "  prefer_server_cipher_suites: false\nhttp_server_config:\n  http2: true\n  headers:\n"
        "    X-Frame-Options: deny\n    X-XSS-Protection: 0\n"
        "    X-Content-Type-Options: ''\n"
        f"basic_auth_users:\n  alice: {HASH}\nrate_limit:\n  interval: 500ms\n  burst: 20\n",
    )
    assert settings.tls is not None
    assert settings.tls.context.verify_mode is ssl.CERT_REQUIRED
    assert settings.tls.allowed_sans == frozenset({"scraper", "::1"})
    assert settings.authenticates
    assert settings.headers == {"X-Frame-Options": "deny", "X-XSS-Protection": "0"}
    assert settings.users == {b"alice": HASH.encode()}
    assert settings.rate_limit == RateLimit(0.5, 20)
    assert sorted(path.name for path in settings.files) == ["ca.crt", "server.crt", "server.key", "web.yml"]
    assert settings.warnings == ()
    assert HASH not in repr(settings)


def test_tls_has_no_renegotiation_and_no_tickets(directory: Path) -> None:
    tls = load(directory, TLS).tls
    assert tls is not None
    assert tls.context.options & ssl.OP_NO_RENEGOTIATION
    assert tls.context.num_tickets == 0


@pytest.mark.parametrize("text", ["{}\n", "rate_limit: {interval: 0, burst: 0}\n", "http_server_config: {}\n"])
def test_file_without_protection_is_accepted(directory: Path, text: str) -> None:
    settings = load(directory, text)
    assert (settings.tls, settings.users, settings.rate_limit) == (None, {}, None)
    assert not settings.authenticates


@pytest.mark.parametrize(("policy", "authenticates"), [("VerifyClientCertIfGiven", False), (None, False)])
def test_optional_client_certificate_does_not_authenticate(
    directory: Path, policy: str | None, authenticates: bool
) -> None:
    asked = f"{CA}  client_auth_type: {policy}\n" if policy else ""
    assert load(directory, TLS + asked).authenticates is authenticates


@pytest.mark.parametrize("empty", ["''", "", "~"])
def test_empty_value_is_the_same_as_absent(directory: Path, empty: str) -> None:
    names = ("cert", "key", "client_ca", "client_ca_file", "client_auth_type")
    tls = load(directory, TLS + "".join(f"  {name}: {empty}\n" for name in names)).tls
    assert tls is not None
    assert tls == load(directory, TLS).tls
    assert tls.context.verify_mode is ssl.CERT_NONE


def test_tls_of_equal_files_is_equal(directory: Path) -> None:
    one, same = load(directory, TLS + VERIFY + CA).tls, load(directory, TLS + VERIFY + CA).tls
    other_key = load(directory, TLS.replace("server.", "other.") + VERIFY + CA).tls
    other_names = load(directory, TLS + VERIFY + CA + "  client_allowed_sans: [a]\n").tls
    assert one == same
    assert one is not None
    assert other_key is not None
    assert other_names is not None
    assert one != other_key
    assert one.client_auth_digest == other_key.client_auth_digest
    assert one.client_auth_digest != other_names.client_auth_digest


def test_tls_differs_after_every_change_of_its_files(directory: Path, tmp_path: Path) -> None:
    for name in ("server.crt", "server.key", "ca.crt"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    seen = [load(tmp_path, TLS + VERIFY + CA).tls]
    seen.append(load(tmp_path, TLS + VERIFY + CA + "  min_version: TLS13\n").tls)
    with (tmp_path / "server.crt").open("ab") as chain:
        chain.write((directory / "ca.crt").read_bytes())
    seen.append(load(tmp_path, TLS + VERIFY + CA).tls)
    (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    seen.append(load(tmp_path, TLS + VERIFY + CA).tls)
    assert None not in seen
    assert all(one != other for place, one in enumerate(seen) for other in seen[:place])
    assert [one.client_auth_digest == seen[0].client_auth_digest for one in seen if one and seen[0]] == [
        True,
        True,
        True,
        False,
    ]


def test_client_demands_ignore_the_order_of_names(directory: Path) -> None:
    names = [f"scraper-{number}" for number in range(50)]
    one, turned = (
        load(directory, f"{TLS}{VERIFY}{CA}  client_allowed_sans: [{', '.join(order)}]\n").tls
        for order in (names, names[::-1])
    )
    required = load(directory, TLS + VERIFY + CA).tls
    given_only = load(directory, TLS + VERIFY.replace("RequireAndVerify", "Verify").rstrip() + "IfGiven\n" + CA).tls
    assert one is not None
    assert turned is not None
    assert required is not None
    assert given_only is not None
    assert one.client_auth_digest == turned.client_auth_digest
    assert required.client_auth_digest != given_only.client_auth_digest


def test_default_options_of_openssl_are_kept(directory: Path) -> None:
    fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours, theirs = (
        load(directory, f"{TLS}{VERIFY}{CA}  prefer_server_cipher_suites: {prefer}\n").tls
        for prefer in ("true", "false")
    )
    assert ours is not None
    assert theirs is not None
    assert ours.context.options == fresh.options | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    assert theirs.context.options == ours.context.options & ~ssl.OP_CIPHER_SERVER_PREFERENCE
    assert ours.context.verify_flags == fresh.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN


def test_every_cipher_suite_and_client_ca_is_used(directory: Path, tmp_path: Path) -> None:
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    (tmp_path / "ca.crt").write_bytes(b"".join(trustme.CA().cert_pem.bytes() for _ in range(2)))
    suites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    tls = load(tmp_path, f"{TLS}{VERIFY}{CA}  cipher_suites: [{suites}]\n").tls
    assert tls is not None
    chosen = [suite["name"] for suite in tls.context.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    assert chosen == ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"]
    assert len(tls.context.get_ca_certs()) == 2


class LimitedContext(ssl.SSLContext):
    """Context of an OpenSSL without the requested options."""

    def set_ciphers(self, _suites: str, /) -> None:
        error = ssl.SSLError()
        error.reason = "NO_CIPHER_MATCH"
        raise error

    def set_ecdh_curve(self, _name: str, /) -> None:
        raise ValueError("unknown elliptic curve name")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}, "no cipher match"),
        ({"curve_preferences": ["X25519"]}, "valueerror"),
    ],
)
def test_option_unsupported_by_openssl_is_reported(keys: dict[str, list[str]], why: str) -> None:
    with pytest.raises(TlsError) as caught:
        _select_ciphers(LimitedContext(ssl.PROTOCOL_TLS_SERVER), TlsServer.model_validate(keys))
    assert caught.value.problem == Problem(("tls_server_config",), f"not supported by OpenSSL: {why}")


@pytest.mark.parametrize("suite", sorted(name for name in CIPHERS if "_ECDSA_" in name))
def test_cipher_suite_for_the_key_is_accepted_alone(directory: Path, suite: str) -> None:
    assert load(directory, f"{TLS}  cipher_suites: [{suite}]\n").warnings == ()


def test_mismatched_suite_is_accepted_without_tls_1_2(directory: Path) -> None:
    suites = "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
    assert load(directory, f"{TLS}{suites}  min_version: TLS13\n").tls is not None
    both = suites.replace("[", "[TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ")
    assert load(directory, TLS + both).tls is not None


def test_warning_of_every_version_is_reported_once(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    (tmp_path / "server.crt").write_bytes(issued.cert_chain_pems[0].bytes())
    (tmp_path / "server.key").write_bytes(issued.private_key_pem.bytes())
    for versions in ("", "  max_version: TLS12\n", "  min_version: TLS13\n"):
        warnings = load(tmp_path, TLS + versions).warnings
        assert warnings == ("clients reject the certificate: certificate has expired",)


BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", []),
        (BEGIN, []),
        (END, []),
        (END + BEGIN, []),
        (BEGIN + b"a" + END, [BEGIN + b"a" + END]),
        (b"x" + BEGIN + b"a" + END + b"y" + BEGIN + b"b" + END + BEGIN, [BEGIN + b"a" + END, BEGIN + b"b" + END]),
        (BEGIN + BEGIN + END + END, [BEGIN + BEGIN + END]),
    ],
)
def test_certificates_are_found_in_any_text(text: bytes, found: list[bytes]) -> None:
    assert certificates(text) == found


@pytest.mark.timeout(20)
@pytest.mark.parametrize("nonsense", [BEGIN, BEGIN + b"\n", END, b"-----BEGIN ", BEGIN + b"\nAAAA\n" + END + b"\n"])
@pytest.mark.parametrize("key", ["cert_file", "key_file", "client_ca_file"])
def test_mebibyte_of_nonsense_is_rejected_quickly(directory: Path, tmp_path: Path, key: str, nonsense: bytes) -> None:
    """A search that restarts at each BEGIN takes minutes, and holds the interpreter lock."""
    for name in ("server.crt", "server.key", "ca.crt"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    (tmp_path / {"cert_file": "server.crt", "key_file": "server.key", "client_ca_file": "ca.crt"}[key]).write_bytes(
        nonsense * ((1 << 20) // len(nonsense))
    )
    started = time.monotonic()
    (problem,) = problems_of(tmp_path, TLS + VERIFY + CA)
    assert time.monotonic() - started < 5
    assert f"tls_server_config.{key}: " in problem


@pytest.mark.parametrize("which", ["a broken certificate", "a broken client CA", "suites that do not match the key"])
def test_tls_problem_has_the_reason_of_openssl(directory: Path, which: str) -> None:
    (problem,) = problems_of(directory, INVALID[which][0])
    reason = re.search(r"\(([a-z0-9 ]+)\)$", problem)
    assert reason is not None
    assert reason[1] != "nonetype"


@pytest.mark.parametrize("cost", ["04", "05", "17", "18"])
def test_hash_of_every_allowed_cost_is_accepted(directory: Path, cost: str) -> None:
    hashed = HASH.replace("$10$", f"${cost}$")
    assert load(directory, f"basic_auth_users: {{alice: {hashed}}}\n").users == {b"alice": hashed.encode()}


DOCUMENT = Path(__file__).parents[4] / "docs" / "web-configuration.md"


def test_documented_example_loads(directory: Path) -> None:
    example = DOCUMENT.read_text(encoding="utf-8").split("```yaml\n")[1].partition("```")[0]
    for written, here in (("tls.crt", "server.crt"), ("tls.key", "server.key"), ("clients-ca.crt", "ca.crt")):
        example = example.replace(written, here)
    settings = load(directory, example)
    assert settings.authenticates
    assert list(settings.users) == [b"prometheus"]
    assert settings.rate_limit == RateLimit(0.1, 20)


@pytest.mark.parametrize("model", [WebRoot, TlsServer, HttpServer, Headers, RateLimits])
def test_every_key_is_documented(model: type[BaseModel]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in fields_of(model) if not re.search(rf"[`.]{name}\b", text)] == []


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from([HASH, "server.crt", "TLS13", "1s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "tls_server_config",
        "basic_auth_users",
        "rate_limit",
        "http_server_config",
        "headers",
        "cert_file",
        "key_file",
        "cert",
    ]
)


@given(
    document=st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=4), max_size=4),
    style=st.sampled_from([None, '"']),
)
def test_any_file_is_loaded_or_rejected(directory: Path, document: object, style: str | None) -> None:

    try:
        load(directory, yaml.safe_dump(document, default_style=style))
    except ConfigError:
        return
