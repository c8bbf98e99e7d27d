"""MkDocs hook that adds pages from outside `docs/` and rewrites links that leave `docs/`.

Links are relative, so that they work in a checkout and on a Git host. On the site, a link to a file that is a page
points to that page, and any other link to the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

DOCS = "docs"

EXTRA_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
    "bench/RESULTS.md": "bench-results.md",
}
"""Files outside `docs/` that are pages on the site, with their names there."""

_SOURCES = {page: source for source, page in EXTRA_PAGES.items()}

_LINK = re.compile(
    r"(?P<code>^ *```.*?^ *```|`[^`\n]+`)"  # code contains no links
    r"|(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))",
    re.DOTALL | re.MULTILINE,
)

_CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_NAME = re.compile(r"(?<=<code>)[^<]*(?=</code>)")


class BrokenLink(PluginError):
    """Link to a file that does not exist."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside `docs/`."""
    for source, page in EXTRA_PAGES.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    del files
    return rewrite_links(markdown, page.file.src_uri, str(config.extra["repository"]))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Allow line breaks in long names in tables."""
    del page, config, files
    return allow_line_breaks(html)


def allow_line_breaks(html: str) -> str:
    """Allow line breaks after underscores and dots in names in table cells."""
    return _CELL.sub(lambda cell: _NAME.sub(_breaking, cell[0]), html)


def _breaking(name: re.Match[str]) -> str:
    return re.sub(r"(?<=[a-z0-9])([_.])(?=[a-z])", r"\1<wbr>", name[0])


def rewrite_links(markdown: str, page: str, repository: str) -> str:
    """Rewrite the links in the text of a page.

    Raise `BrokenLink` if a link leaves `docs/` and its target does not exist.
    """

    def rewritten(match: re.Match[str]) -> str:
        if match["code"] is not None:
            return match["code"]
        return f"{match['before']}{link_target(match['target'], page, repository)}{match['after']}"

    return _LINK.sub(rewritten, markdown)


def link_target(target: str, page: str, repository: str) -> str:
    """Return the target of a link on the site. Raise `BrokenLink` as `rewrite_links` does."""
    path, hash_sign, anchor = target.partition("#")
    if not path or "://" in path or path.startswith("mailto:"):
        return target
    source = _SOURCES.get(page, f"{DOCS}/{page}")
    named = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    here = EXTRA_PAGES.get(named) or _inside_docs(named)
    if here is not None:
        return posixpath.relpath(here, posixpath.dirname(page) or ".") + hash_sign + anchor
    if named.startswith("..") or not (ROOT / named).exists():
        raise BrokenLink(f"{source}: link to {target}, which does not exist")
    kind = "tree" if (ROOT / named).is_dir() else "blob"
    return f"{repository}/{kind}/main/{named}{hash_sign}{anchor}"


def _inside_docs(named: str) -> str | None:
    path = PurePosixPath(named)
    return str(path.relative_to(DOCS)) if path.is_relative_to(DOCS) and named != DOCS else None
