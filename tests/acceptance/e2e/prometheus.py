"""Prometheus on loopback for tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Self
from urllib.parse import urlencode

import yaml

from tests.harness import get, wait_until

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sample:
    labels: dict[str, str]
    moment: float
    value: float


class Prometheus:
    """Client of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """Return the instant vector of an expression, at a time in seconds since the epoch or now."""
        parameters = {"query": expression} | ({} if at is None else {"time": f"{at:.3f}"})
        answer = get(f"{self.url}/api/v1/query?{urlencode(parameters)}")
        assert answer.status == 200, answer.text
        result = json.loads(answer.text)["data"]["result"]
        return [Sample(one["metric"], one["value"][0], float(one["value"][1])) for one in result]

    def values(self, expression: str, *by: str, at: float | None = None) -> dict[Any, float]:
        """Return values by one label, or by a tuple of labels."""
        found = {}
        for sample in self.query(expression, at):
            found[_key(sample.labels, by)] = sample.value
        return found

    def value(self, expression: str, at: float | None = None) -> float:
        """Return the single value of an expression."""
        (sample,) = self.query(expression, at)
        return sample.value


def _key(labels: dict[str, str], by: tuple[str, ...]) -> Any:
    return labels[by[0]] if len(by) == 1 else tuple(labels[name] for name in by)


@contextmanager
def prometheus(
    program: str, directory: Path, port: int, targets: Mapping[str, str], **scrape: Any
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes one target per job every second; `scrape` is added to each scrape_config."""
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [url.partition("://")[2]]}], **scrape}
            for job, url in targets.items()
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{port}"
    arguments = [
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    with (directory / "prometheus.log").open("w") as log:
        process = subprocess.Popen([program, *arguments, "--log.level=warn"], stdout=log, stderr=log)
    try:
        url = f"http://{address}"
        assert wait_until(lambda: process.poll() is not None or _is_ready(url)), "Prometheus does not start"
        assert process.poll() is None, (directory / "prometheus.log").read_text()
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(10)


def _is_ready(url: str) -> bool:
    try:
        return get(f"{url}/-/ready").status == 200
    except OSError:
        return False


class RecordingProxy:
    """Proxy of an exporter that can replace the Accept header, and records the responses.

    Prometheus 2.42 always prefers OpenMetrics; it has no setting for the classic format.
    """

    def __init__(self, upstream: str, accept: str | None = None) -> None:
        self.content_types: set[str] = set()
        lock = Lock()
        seen = self.content_types

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted: str = accept or self.headers.get("Accept") or ""
                answer = get(upstream + self.path, {"Accept": wanted})
                with lock:
                    seen.add(answer.content_type.partition(";")[0])
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
