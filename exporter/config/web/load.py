"""A web configuration file → `WebSettings`, or every fault in it at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from exporter.config.duration import parse_duration
from exporter.config.load import rendered
from exporter.config.problems import Problem
from exporter.config.validation import faults_of
from exporter.config.web.schema import HttpServer, TlsServer, WebRoot
from exporter.config.web.settings import RateLimit, Stamp, Tls, WebSettings
from exporter.config.web.tls import Material, TlsFault, make_tls
from exporter.config.web.validators import CIPHERS, MAX_BCRYPT_COST, hash_problem
from exporter.config.yaml_document import Document, YamlFault, read_document
from exporter.errors import ConfigError
from exporter.files import NotRegular, read_regular

MAX_BYTES = 1 << 20
"""No file of a web configuration is larger."""

MOST_AT_ONCE = 1_000_000_000
"""More requests than anybody sends; the pace is counted in floating point, which does not hold every number."""

USERS = "basic_auth_users"

_SECRET_KEYS = frozenset({USERS, "cert", "key", "client_ca"})
_A_HASH = f"a bcrypt hash such as htpasswd -nB makes, of a cost from 4 to {MAX_BCRYPT_COST}"


class WebConfigError(ConfigError):
    """The web configuration is wrong, which may change only when a file of `stamps` does: those that were looked for.

    A stamp is from just before the file was read, and None where there was no file.
    """

    def __init__(self, faults: Collection[str], stamps: Mapping[Path, Stamp | None]) -> None:
        super().__init__(list(faults))
        self.stamps = MappingProxyType(stamps)


def load_web_settings(path: Path) -> WebSettings:
    """What a web configuration file and the files that it names ask for.

    Raises `WebConfigError` with every fault, each as `FILE:LINE: KEY: what is wrong, expected what`; none shows
    a user's name, a hash or a key.
    """
    files = _Files(path.parent)
    try:
        return _read(path, files)
    except ConfigError as error:
        raise WebConfigError(error.problems, files.stamps) from None


def _read(path: Path, files: _Files) -> WebSettings:
    try:
        content = files.read(path.name)
        text = content.decode()
        document = read_document(text, secret_keys=_SECRET_KEYS, expected="a mapping such as {} for no protection")
    except _Unreadable as error:
        raise ConfigError([f"{path}: {error}"]) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not text, expected UTF-8"]) from None
    except YamlFault as fault:
        column = "" if fault.column is None else f":{fault.column}"
        raise ConfigError([f"{path}:{fault.line}{column}: {fault}"]) from None
    return _Reading(document, files).settings(str(path))


class _Unreadable(Exception):
    """A file cannot be read; the text says why and what was expected."""


@dataclass
class _Files:
    """Reads files beside the web configuration and remembers how they were."""

    base: Path
    stamps: dict[Path, Stamp | None] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """The content of a file; raises `_Unreadable`."""
        path = self.base / name
        # What changes from now on is another content, though it may be read already.
        self.stamps.setdefault(path, stamp_at(path))
        try:
            content, _ = read_regular(path, MAX_BYTES + 1)
        except NotRegular as error:
            raise _Unreadable(str(error)) from None
        except OSError as error:
            raise _Unreadable(f"cannot be read, expected a readable file ({error.strerror})") from None
        if len(content) > MAX_BYTES:
            raise _Unreadable("too large, expected at most 1 MiB")
        return content


def stamp_at(path: Path) -> Stamp | None:
    """The stamp of the file that a path leads to; None where that cannot be told."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Stamp(
        modified_ns=status.st_mtime_ns,
        size=status.st_size,
        inode=status.st_ino,
        device=status.st_dev,
        mode=status.st_mode,
        owner=status.st_uid,
        group=status.st_gid,
    )


class _Reading:
    """Goes through one document and collects faults."""

    def __init__(self, document: Document, files: _Files) -> None:
        self._document = document
        self._files = files
        self._faults = [_nameless(fault) for fault in document.faults]
        self._doubts: tuple[str, ...] = ()

    def settings(self, file: str) -> WebSettings:
        """The settings; raises `ConfigError`."""
        root = self._root()
        tls = self._tls(root.tls_server_config) if root and root.tls_server_config else None
        users = self._users()
        rate_limit = self._rate_limit(root) if root else None
        if self._faults or root is None:
            raise ConfigError(rendered(file, self._document, self._faults))
        return WebSettings(
            tls=tls,
            headers=MappingProxyType(_headers(root.http_server_config)),
            users=MappingProxyType(users),
            rate_limit=rate_limit,
            stamps=MappingProxyType(self._files.stamps),
            doubts=self._doubts,
        )

    def _root(self) -> WebRoot | None:
        try:
            return WebRoot.model_validate(self._document.values)
        except ValidationError as error:
            faults = faults_of(self._document, error, WebRoot)
            self._faults += [_nameless(fault) for fault in faults]
            return self._without({fault.path[0] for fault in faults if fault.path})

    def _without(self, sections: Collection[str | int]) -> WebRoot | None:
        """The sections that have no fault, whose keys may still not go together."""
        values = self._document.values
        if not isinstance(values, dict):
            return None
        return WebRoot.model_validate({name: section for name, section in values.items() if name not in sections})

    def _users(self) -> dict[bytes, bytes]:
        values = self._document.values
        section = values.get(USERS) if isinstance(values, dict) else None
        if not isinstance(section, dict):
            return {}
        if not section:
            self._faults.append(Problem((USERS,), "empty, expected at least one user, or the key to be absent"))
        for place, (name, hashed) in enumerate(section.items(), start=1):
            line = self._document.line((USERS, name))
            if not name or ":" in name:
                self._faults.append(
                    Problem((USERS,), f"the name of user {place} cannot be sent, expected one without a colon", line)
                )
            problem = hash_problem(hashed)
            if problem:
                self._faults.append(
                    Problem((USERS,), f"the hash of user {place} is {problem}, expected {_A_HASH}", line)
                )
        return {name.encode(): hashed.encode() for name, hashed in section.items() if isinstance(hashed, str)}

    def _rate_limit(self, root: WebRoot) -> RateLimit | None:
        if root.rate_limit is None:
            return None
        milliseconds, burst = parse_duration(root.rate_limit.interval), root.rate_limit.burst
        if not milliseconds:
            return None
        if burst < 1:
            self._fault("burst", "lets nothing through, expected a whole number from 1", section="rate_limit")
        if burst > MOST_AT_ONCE:
            self._fault("burst", f"too large, expected at most {MOST_AT_ONCE}", section="rate_limit")
        return RateLimit(milliseconds / 1000, burst)

    def _tls(self, wire: TlsServer) -> Tls | None:
        before = len(self._faults)
        self._cross_check(wire)
        material = self._material(wire)
        if material is None or len(self._faults) > before:
            return None
        try:
            tls, self._doubts = make_tls(wire, material)
        except TlsFault as error:
            self._faults.append(error.fault)
            return None
        return tls

    def _cross_check(self, wire: TlsServer) -> None:
        verifies = wire.client_auth_type != "NoClientCert"
        has_ca = wire.client_ca is not None or wire.client_ca_file is not None
        if has_ca and not verifies:
            self._fault("client_auth_type", "asks for no certificates, expected one that does, as there is a client CA")
        if verifies and not has_ca:
            self._fault("client_auth_type", "nothing to verify with, expected client_ca or client_ca_file")
        if wire.client_allowed_sans is not None and not verifies:
            self._fault("client_allowed_sans", "no certificate is asked for, expected a client_auth_type that verifies")
        if wire.min_version > wire.max_version:
            self._fault("min_version", f"above max_version, expected at most {wire.max_version}")
        only_newer = wire.cipher_suites and not any(name in CIPHERS for name in wire.cipher_suites)
        if only_newer and wire.min_version == "TLS12":
            self._fault("cipher_suites", "none of them is for TLS12, expected one, or min_version TLS13")

    def _material(self, wire: TlsServer) -> Material | None:
        cert, cert_key = self._content(wire, "cert", required=True)
        private, private_key = self._content(wire, "key", required=True)
        client_ca, client_ca_key = self._content(wire, "client_ca", required=False)
        if cert is None or private is None:
            return None
        return Material(cert, cert_key, private, private_key, client_ca, client_ca_key)

    def _content(self, wire: TlsServer, name: str, *, required: bool) -> tuple[bytes | None, str]:
        """What a key holds or its file has, and which of the two it is."""
        in_file = f"{name}_file"
        inline, file = getattr(wire, name), getattr(wire, in_file)
        if inline is not None and file is not None:
            self._fault(name, f"not together with {in_file}, expected one of the two")
        if inline is not None:
            return inline.encode(), name
        if file is None:
            if required:
                self._fault(in_file, f"missing, expected {in_file} or {name}")
            return None, in_file
        try:
            return self._files.read(file), in_file
        except _Unreadable as error:
            self._fault(in_file, str(error))
            return None, in_file

    def _fault(self, key: str, text: str, *, section: str = "tls_server_config") -> None:
        self._faults.append(Problem((section, key), text))


def _headers(wire: HttpServer | None) -> dict[str, str]:
    if wire is None or wire.headers is None:
        return {}
    return {name: value for name, value in wire.headers.model_dump(by_alias=True).items() if value}


def _nameless(fault: Problem) -> Problem:
    """A fault about a user, without the user's name."""
    if len(fault.path) > 1 and fault.path[0] == USERS:
        return Problem((USERS,), f"a user: {fault.text}", fault.line)
    return fault
