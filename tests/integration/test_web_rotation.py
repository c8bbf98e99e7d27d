"""Rotation of certificates and users during scrapes, none of which fails."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fakes import eventually
from tests.integration.web_serving import (
    MUTUAL,
    PASSWORD,
    SECRET,
    TLS,
    USERS,
    Site,
    authority,
    basic,
    hashed,
    serving_site,
    write_certificate,
    write_web,
)


@dataclass
class Scraper:
    """Scrapes in sequence, over one connection or over a new one each time."""

    site: Site
    context: ssl.SSLContext
    keep: bool
    authorization: str | None = None
    serials: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    scrapes: int = 0

    def run(self, stop: threading.Event) -> None:
        client = self._client()
        while not stop.is_set():
            try:
                self._scrape(client)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            if not self.keep:
                client.close()
            self.scrapes += 1
        client.close()

    def _client(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(*self.site.address, timeout=10, context=self.context)

    def _scrape(self, client: http.client.HTTPSConnection) -> None:
        client.request("GET", "/metrics", headers={"Authorization": self.authorization} if self.authorization else {})
        sock: Any = client.sock
        shown = sock.getpeercert()["serialNumber"]
        response = client.getresponse()
        if (response.status, response.read()) != (200, SECRET):
            self.failures.append(str(response.status))
        if shown not in self.serials:
            self.serials.append(shown)


@contextmanager
def scraping(*scrapers: Scraper) -> Iterator[Callable[[], bool]]:
    """Scrape in the background; yield a function that waits until each scraper has made some more scrapes."""
    stop = threading.Event()
    threads = [threading.Thread(target=scraper.run, args=(stop,)) for scraper in scrapers]

    def wait_for_scrapes() -> bool:
        wanted = [scraper.scrapes + 5 for scraper in scrapers]
        return eventually(lambda: all(s.scrapes >= n for s, n in zip(scrapers, wanted, strict=True)))

    for thread in threads:
        thread.start()
    try:
        yield wait_for_scrapes
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def context(directory: Path, *, cert: str | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=directory / "ca.crt")
    if cert:
        made.load_cert_chain(directory / f"{cert}.crt", directory / f"{cert}.key")
    return made


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_rotation_of_certificate_and_users_fails_no_scrape(tmp_path: Path, version: ssl.TLSVersion) -> None:
    write_certificate(tmp_path)
    with serving_site(tmp_path, tls_server_config=TLS, **USERS) as site:
        trust = context(tmp_path)
        trust.maximum_version = version
        scrapers = [Scraper(site, trust, keep, basic()) for keep in (True, False)]
        with scraping(*scrapers) as wait_for_scrapes:
            assert wait_for_scrapes()
            write_certificate(tmp_path)
            site.reloader.check_web_files()
            assert wait_for_scrapes()
            write_web(tmp_path, tls_server_config=TLS, basic_auth_users={"alice": hashed(), "bob": hashed("new")})
            site.reloader.check_web_files()
            assert wait_for_scrapes()
            for scraper in scrapers:
                scraper.authorization = basic("bob", "new")
            assert wait_for_scrapes()
            write_web(tmp_path, tls_server_config=TLS, basic_auth_users={"bob": hashed("new")})
            site.reloader.check_web_files()
            assert wait_for_scrapes()
        for scraper in scrapers:
            assert scraper.failures == []
            assert len(scraper.serials) == 2
        alice = Scraper(site, trust, keep=False, authorization=basic())
        with scraping(alice) as wait_for_scrapes:
            assert wait_for_scrapes()
        assert set(alice.failures) == {"401"}
        assert site.failures == []


@pytest.mark.parametrize("keep", [True, False])
def test_invalid_file_keeps_the_active_one_and_is_logged_once(tmp_path: Path, keep: bool) -> None:
    write_certificate(tmp_path)
    with serving_site(tmp_path, tls_server_config=TLS, **USERS) as site:
        scraper = Scraper(site, context(tmp_path), keep, basic())
        good = (tmp_path / "server.key").read_bytes()
        with capture_logs() as logs, scraping(scraper) as wait_for_scrapes:
            assert wait_for_scrapes()
            write_certificate(tmp_path, stem="other")
            (tmp_path / "server.key").write_bytes((tmp_path / "other.key").read_bytes())
            for _ in range(3):
                site.reloader.check_web_files()
                assert wait_for_scrapes()
            (tmp_path / "web.yml").write_text("")
            for _ in range(3):
                site.reloader.check_web_files()
                assert wait_for_scrapes()
            (tmp_path / "server.key").write_bytes(good)
            write_web(tmp_path, tls_server_config=TLS, **USERS)
            site.reloader.check_web_files()
            assert wait_for_scrapes()
        assert scraper.failures == []
        assert len(scraper.serials) == 1
        errors = [entry["error"] for entry in logs if entry["log_level"] == "error"]
        assert len(errors) == 2
        assert "web.yml:" in errors[0]
        assert "tls_server_config.key_file: key does not match the certificate" in errors[0]
        assert "empty, expected a mapping" in errors[1]
        assert [entry["event"] for entry in logs if entry["log_level"] == "info"] == [
            "web configuration reloaded",
            "configuration reloaded",
        ]


def test_missing_file_that_appears_is_read(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    with serving_site(tmp_path, tls_server_config=TLS) as site:
        write_web(tmp_path, tls_server_config={"cert_file": "late.crt", "key_file": "late.key"})
        before = site.active.settings.tls
        site.reloader.check_web_files()
        assert site.active.settings.tls == before
        write_certificate(tmp_path, stem="late")
        site.reloader.check_web_files()
        assert site.active.settings.tls != before


def test_swapped_link_of_a_kubernetes_secret_is_detected(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    for generation in ("..first", "..second"):
        (secret / generation).mkdir(parents=True)
        write_certificate(secret / generation)
    (secret / "..data").symlink_to("..first")
    for name in ("server.crt", "server.key", "ca.crt"):
        (secret / name).symlink_to(Path("..data") / name)
    web = {"cert_file": "secret/server.crt", "key_file": "secret/server.key"}
    with serving_site(tmp_path, tls_server_config=web) as site:
        scraper = Scraper(site, context(secret), keep=True)
        with scraping(scraper) as wait_for_scrapes:
            assert wait_for_scrapes()
            (secret / "..next").symlink_to("..second")
            (secret / "..next").replace(secret / "..data")
            site.reloader.check_web_files()
            assert wait_for_scrapes()
        assert (scraper.failures, len(scraper.serials)) == ([], 2)


def test_connection_of_a_client_no_longer_allowed_is_closed(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    write_certificate(tmp_path, "scraper.example", stem="client")
    with serving_site(tmp_path, tls_server_config=MUTUAL) as site:
        client = http.client.HTTPSConnection(*site.address, timeout=10, context=context(tmp_path, cert="client"))
        client.request("GET", "/metrics")
        assert client.getresponse().read() == SECRET
        write_web(tmp_path, tls_server_config={**MUTUAL, "client_allowed_sans": ["other.example"]})
        site.reloader.check_web_files()
        client.request("GET", "/metrics")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            client.getresponse()
        client.close()


def test_plain_connection_is_closed_when_tls_is_enabled(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    with serving_site(tmp_path) as site:
        client = http.client.HTTPConnection(*site.address, timeout=10)
        client.request("GET", "/metrics")
        assert client.getresponse().read() == SECRET
        write_web(tmp_path, tls_server_config=MUTUAL)
        site.reloader.check_web_files()
        client.request("GET", "/metrics")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            client.getresponse()
        client.close()
        assert site.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_client_ca_is_rotated(tmp_path: Path) -> None:
    write_certificate(tmp_path, "scraper.example", ca=authority("next"), stem="next")
    next_ca = (tmp_path / "ca.crt").read_bytes()
    write_certificate(tmp_path, "scraper.example", stem="client")
    write_certificate(tmp_path)
    with serving_site(tmp_path, tls_server_config=MUTUAL) as site:
        ours = context(tmp_path, cert="client")
        theirs = context(tmp_path, cert="next")
        before, after = Scraper(site, ours, keep=False), Scraper(site, theirs, keep=False)
        with scraping(before) as wait_for_scrapes:
            assert wait_for_scrapes()
        (tmp_path / "ca.crt").write_bytes(next_ca)
        site.reloader.check_web_files()
        with scraping(after) as wait_for_scrapes:
            assert wait_for_scrapes()
        assert (before.failures, after.failures) == ([], [])
        rejected = Scraper(site, ours, keep=False)
        with scraping(rejected) as wait_for_scrapes:
            assert wait_for_scrapes()
        assert len(rejected.failures) == rejected.scrapes


def test_watched_change_applies_within_two_seconds(tmp_path: Path) -> None:
    with serving_site(tmp_path, watch=True, **USERS) as site:
        request = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('bob', PASSWORD)}\r\n\r\n".encode()
        write_web(tmp_path, basic_auth_users={"bob": hashed()})
        assert site.raw(request).startswith(b"HTTP/1.1 401 ")
        assert eventually(lambda: SECRET in site.raw(request), within=4)
