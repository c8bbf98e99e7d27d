"""Loading of a web configuration file, with every error reported at once.

Called at the start, and by `exporter.daemon.reload` when a file has changed.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from exporter.config.load import UnreadableFile, read_file, read_text
from exporter.config.problems import Problem
from exporter.config.validation import problems_of
from exporter.config.web.schema import CIPHERS, MAX_BCRYPT_COST, RateLimits, TlsServer, WebRoot, hash_problem
from exporter.config.web.settings import RateLimit, Tls, WebSettings
from exporter.config.web.tls import Pem, TlsError, make_tls
from exporter.config.yaml_document import Document, read_document
from exporter.errors import ConfigError

MAX_BURST = 1_000_000_000
"""Maximum of `rate_limit.burst`: the bucket counts in floating point, which cannot hold every integer."""

USERS = "basic_auth_users"

_SECRET_KEYS = frozenset({USERS, "cert", "key", "client_ca"})
_A_HASH = f"a bcrypt hash such as htpasswd -nB makes, of a cost from 4 to {MAX_BCRYPT_COST}"


def load_web_settings(path: Path) -> WebSettings:
    """Load a web configuration file and the files that it names.

    Raises `ConfigError` with every error, each as `FILE:LINE: KEY: problem, expected …`, none with a user name, a hash
    or a key. Its `files` are those that were read or not found.
    """
    loader = _Loader(path)
    try:
        return loader.load()
    except ConfigError as error:
        raise ConfigError(list(error.problems), files=dict.fromkeys(loader.files)) from None


class _Loader:
    """Loads one file and collects its problems."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[Problem] = []
        self._warnings: tuple[str, ...] = ()
        self.files = [path]

    def load(self) -> WebSettings:
        """Return the settings; raise `ConfigError` if there are problems."""
        document = read_document(
            read_text(self._path),
            str(self._path),
            secret_keys=_SECRET_KEYS,
            expected="a mapping such as {} for no protection",
        )
        self._problems += document.problems
        root = self._root(document)
        tls = self._tls(root.tls_server_config) if root.tls_server_config else None
        users = self._users(document)
        rate_limit = self._rate_limit(root.rate_limit) if root.rate_limit else None
        if self._problems:
            raise ConfigError(document.report(map(_without_user, self._problems)))
        headers = root.http_server_config and root.http_server_config.headers
        sent = headers.model_dump(by_alias=True) if headers else {}
        return WebSettings(
            tls=tls,
            headers=MappingProxyType({name: value for name, value in sent.items() if value}),
            users=MappingProxyType(users),
            rate_limit=rate_limit,
            files=tuple(dict.fromkeys(self.files)),
            warnings=self._warnings,
        )

    def _root(self, document: Document) -> WebRoot:
        """Return the sections that are valid by themselves."""
        values = document.values
        try:
            return WebRoot.model_validate(values)
        except ValidationError as error:
            problems = problems_of(document, error, WebRoot)
        self._problems += problems
        invalid_sections = {problem.path[0] for problem in problems if problem.path}
        sections = values if isinstance(values, dict) else {}
        return WebRoot.model_validate(
            {name: section for name, section in sections.items() if name not in invalid_sections}
        )

    def _users(self, document: Document) -> dict[bytes, bytes]:
        values = document.values
        section = values.get(USERS) if isinstance(values, dict) else None
        if not isinstance(section, dict):
            return {}
        if not section:
            self._report(USERS, text="empty, expected at least one user, or the key to be absent")
        for number, (name, hashed) in enumerate(section.items(), start=1):
            line = document.line((USERS, name))
            if not name or ":" in name:
                text = f"the name of user {number} is empty or has a colon, expected a name without a colon"
                self._report(USERS, text=text, line=line)
            problem = hash_problem(hashed)
            if problem:
                self._report(USERS, text=f"the hash of user {number} is {problem}, expected {_A_HASH}", line=line)
        return {name.encode(): hashed.encode() for name, hashed in section.items() if isinstance(hashed, str)}

    def _rate_limit(self, limits: RateLimits) -> RateLimit | None:
        if not limits.interval:
            return None
        if limits.burst < 1:
            self._report("rate_limit", "burst", text="allows no request, expected a whole number from 1")
        if limits.burst > MAX_BURST:
            self._report("rate_limit", "burst", text=f"too large, expected at most {MAX_BURST}")
        return RateLimit(limits.interval / 1000, limits.burst)

    def _tls(self, config: TlsServer) -> Tls | None:
        before = len(self._problems)
        self._cross_check(config)
        cert = self._pem(config, "cert", required=True)
        private_key = self._pem(config, "key", required=True)
        client_ca = self._pem(config, "client_ca", required=False)
        if cert is None or private_key is None or len(self._problems) > before:
            return None
        try:
            tls, self._warnings = make_tls(config, cert, private_key, client_ca)
        except TlsError as error:
            self._problems.append(error.problem)
            return None
        return tls

    def _cross_check(self, config: TlsServer) -> None:
        verifies = config.client_auth_type != "NoClientCert"
        has_ca = config.client_ca is not None or config.client_ca_file is not None
        if has_ca and not verifies:
            self._report_tls(
                "client_auth_type", "does not request certificates, expected one that does, as there is a client CA"
            )
        if verifies and not has_ca:
            self._report_tls("client_auth_type", "requires a client CA, expected client_ca or client_ca_file")
        if config.client_allowed_sans is not None and not verifies:
            self._report_tls(
                "client_allowed_sans", "no certificate is requested, expected a client_auth_type that verifies"
            )
        if config.min_version > config.max_version:
            self._report_tls("min_version", f"above max_version, expected at most {config.max_version}")
        only_newer = config.cipher_suites and not any(name in CIPHERS for name in config.cipher_suites)
        if only_newer and config.min_version == "TLS12":
            self._report_tls("cipher_suites", "no cipher suite for TLS12, expected one, or min_version TLS13")

    def _pem(self, config: TlsServer, name: str, *, required: bool) -> Pem | None:
        """Return the content of the key `name`, or of the file that the key `name_file` names."""
        in_file = f"{name}_file"
        inline, file = getattr(config, name), getattr(config, in_file)
        if inline is not None and file is not None:
            self._report_tls(name, f"conflicts with {in_file}, expected only one of them")
        if inline is not None:
            return Pem(inline.encode(), name)
        if file is None:
            if required:
                self._report_tls(in_file, f"missing, expected {in_file} or {name}")
            return None
        self.files.append(self._path.parent / file)
        try:
            return Pem(read_file(self.files[-1]), in_file)
        except UnreadableFile as error:
            self._report_tls(in_file, str(error))
            return None

    def _report(self, *path: str, text: str, line: int | None = None) -> None:
        self._problems.append(Problem(path, text, line))

    def _report_tls(self, key: str, text: str) -> None:
        self._report("tls_server_config", key, text=text)


def _without_user(problem: Problem) -> Problem:
    """Return a problem without the name of the user in its path."""
    if len(problem.path) > 1 and problem.path[0] == USERS:
        return Problem((USERS,), f"a user: {problem.text}", problem.line)
    return problem
