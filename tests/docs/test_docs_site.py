"""The documentation site is complete, has valid links and loads no external resources."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from exporter.metrics.catalog import CATALOG
from tools import docs_site

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OUTSIDE_DOCS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Documents outside `docs/`, where MkDocs does not check anchors."""

_FENCED = re.compile(r"^ *```.*?^ *```\n", re.DOTALL | re.MULTILINE)
_RESOURCE_ATTRIBUTES = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
}
_NON_LOADING_LINKS = {"canonical", "next", "prev"}
"""Relations of links in the head that load nothing."""


def navigation() -> list[Any]:
    _, heading, rest = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")
    loaded = yaml.safe_load(heading + rest)["nav"]
    assert isinstance(loaded, list)
    return loaded


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site like `make site`, without --quiet, because then MkDocs would not count warnings."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def pages(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for part in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages(part) if isinstance(part, list) else [part]


def test_navigation_has_every_page_once() -> None:
    listed = Counter(pages(navigation()))
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    decisions = {page for page in there if re.match(r"decisions/\d", page)}  # their index links to them
    assert set(listed) == (there - decisions) | set(docs_site.EXTRA_PAGES.values())
    assert set(listed.values()) == {1}


def test_site_has_a_page_for_every_document(built: Path) -> None:
    sources = [path.relative_to(DOCS) for path in DOCS.rglob("*.md")]
    expected = {str(path.with_name(path.name.replace("README", "index")).with_suffix(".html")) for path in sources}
    brought = {page.replace(".md", ".html") for page in docs_site.EXTRA_PAGES.values()}
    assert {path.relative_to(built).as_posix() for path in built.rglob("*.html")} == expected | brought | {"404.html"}


class _ResourceParser(HTMLParser):
    """Parser that collects the URLs that a browser loads for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in _NON_LOADING_LINKS:
            return
        self.addresses += [value for name in _RESOURCE_ATTRIBUTES.get(tag, ()) if (value := given.get(name))]


def test_site_loads_no_external_resources(built: Path) -> None:
    addresses = 0
    for path in built.rglob("*.html"):
        page = _ResourceParser()
        page.feed(path.read_text(encoding="utf-8"))
        addresses += len(page.addresses)
        assert [address for address in page.addresses if urlsplit(address).netloc] == [], path.name
    for path in built.rglob("*.css"):
        assert re.findall(r"url\(\W*(?:https?:)?//[^)]+\)", path.read_text(encoding="utf-8")) == [], path.name
    assert addresses > 100


def test_site_images_exist(built: Path) -> None:
    missing = []
    for path in built.rglob("*.html"):
        page = _ResourceParser()
        page.feed(path.read_text(encoding="utf-8"))
        missing += [
            f"{path.name}: {name}" for name in page.addresses if not (path.parent / name.split("?")[0]).exists()
        ]
    assert [name for name in missing if not name.startswith("404")] == []


def prose(path: Path) -> str:
    return _FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """Return the anchors that Git hosts generate for the headings of a file."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "code", prose(path)))


def documents() -> list[Path]:
    beside = [path for name in OUTSIDE_DOCS if (path := ROOT / name).is_file()]
    return [*beside, *sorted(DOCS.rglob("*.md")), ROOT / "deploy/helm/cognito-device-exporter/README.md"]


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_linked_anchors_exist(path: Path) -> None:
    dead = []
    for target in links(path):
        file, _, anchor = target.partition("#")
        named = path if not file else path.parent / file
        if anchor and "://" not in target and named.suffix == ".md":
            dead += [] if named.is_file() and anchor in anchors(named) else [target]
    assert dead == []


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_urls_are_well_formed(path: Path) -> None:
    found = [target for target in links(path) if "://" in target]
    found += re.findall(r"<(https?://[^>\s]+)>", prose(path))
    loopback = {"127.0.0.1", "localhost"}
    for address in found:
        parts = urlsplit(address)
        assert parts.hostname, address
        assert parts.scheme == "https" or parts.hostname in loopback, address
        assert "." in parts.hostname or parts.hostname in loopback, address


@cache
def metrics() -> set[str]:
    """Return the names of all scraped and recorded series of the exporter."""
    scraped = {name for spec in CATALOG for name in (spec.name, *spec.sample_names)}
    rules = yaml.safe_load((ROOT / "grafana/prometheus/cognito-device-exporter.rules.yaml").read_text(encoding="utf-8"))
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    return scraped | recorded


@pytest.mark.parametrize(
    "path",
    [path for path in documents() if path.name != "CONTRIBUTING.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_metrics_in_documents_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(
        re.findall(r"\bcognito_(?:user_|users?_pool|device_|exporter_)[a-z0-9_:]+[a-z0-9]\b(?![*…{]?[*…])", text)
    )
    assert named - metrics() - {"cognito_device_exporter"} == set()


REPOSITORY = "https://forge.example/project"


@pytest.mark.parametrize(
    ("page", "target", "leads_to"),
    [
        pytest.param("index.md", "metrics.md", "metrics.md", id="page"),
        pytest.param("index.md", "metrics.md#users", "metrics.md#users", id="anchor"),
        pytest.param("index.md", "#here", "#here", id="same-page"),
        pytest.param("index.md", "https://aws.example/x", "https://aws.example/x", id="address"),
        pytest.param("index.md", "../CHANGELOG.md", "changelog.md", id="brought"),
        pytest.param("decisions/README.md", "../../CHANGELOG.md#x", "../changelog.md#x", id="brought-from-below"),
        pytest.param("decisions/README.md", "../metrics.md", "../metrics.md", id="page-from-below"),
        pytest.param("changelog.md", "docs/metrics.md", "metrics.md", id="from-brought"),
        pytest.param("bench-results.md", "../docs/metrics.md", "metrics.md", id="from-brought-below"),
        pytest.param("index.md", "../LICENSE", f"{REPOSITORY}/blob/main/LICENSE", id="file"),
        pytest.param("index.md", "../deploy/helm", f"{REPOSITORY}/tree/main/deploy/helm", id="folder"),
        pytest.param("changelog.md", "docs", f"{REPOSITORY}/tree/main/docs", id="the-folder-of-pages"),
    ],
)
def test_link_on_site_has_the_right_target(page: str, target: str, leads_to: str) -> None:
    assert docs_site.link_target(target, page, REPOSITORY) == leads_to


@pytest.mark.parametrize("target", ["../no-such-file", "../../beyond", "../docs/../nothing.yaml"])
def test_link_without_target_is_rejected(target: str) -> None:
    with pytest.raises(docs_site.BrokenLink, match=r"docs/index\.md: link to .*, which does not exist"):
        docs_site.link_target(target, "index.md", REPOSITORY)


def test_links_in_code_are_unchanged() -> None:
    text = "[a](../LICENSE) `[b](../LICENSE)` [`c`](../LICENSE)\n\n```\n[d](../LICENSE)\n```\n"
    there = f"{REPOSITORY}/blob/main/LICENSE"
    expected = f"[a]({there}) `[b](../LICENSE)` [`c`]({there})\n\n```\n[d](../LICENSE)\n```\n"
    assert docs_site.rewrite_links(text, "index.md", REPOSITORY) == expected


def test_names_in_tables_may_break_after_separators() -> None:
    html = "<td><code>user_pool</code> in_text</td><p><code>user_pool</code></p>"
    assert (
        docs_site.allow_line_breaks(html) == "<td><code>user_<wbr>pool</code> in_text</td><p><code>user_pool</code></p>"
    )
