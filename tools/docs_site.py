"""A hook of mkdocs: files beside `docs/` become pages, and links that leave `docs/` lead where they can.

In a checkout every link is relative, so that it works there and on the pages of a forge. On the site a link to a file
that is a page there leads to the page, and any other to the repository.
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

BROUGHT = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
    "bench/RESULTS.md": "bench-results.md",
}
"""Files of the repository that are pages on the site, by the names that they have there."""

_SOURCES = {page: source for source, page in BROUGHT.items()}

_LINK = re.compile(
    r"(?P<code>^ *```.*?^ *```|`[^`\n]+`)"  # in code nothing is a link
    r"|(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))",
    re.DOTALL | re.MULTILINE,
)

_CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_NAME = re.compile(r"(?<=<code>)[^<]*(?=</code>)")


class BrokenLink(PluginError):
    """A link leads to a file that is not there."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring in the pages that stand elsewhere."""
    for source, page in BROUGHT.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page to where they lead on the site."""
    del files
    return with_links(markdown, page.file.src_uri, str(config.extra["repository"]))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let long names in tables break where their words end."""
    del page, config, files
    return with_breaks(html)


def with_breaks(html: str) -> str:
    """The HTML of a page in which names in cells of tables may break after each underscore and dot."""
    return _CELL.sub(lambda cell: _NAME.sub(_breaking, cell[0]), html)


def _breaking(name: re.Match[str]) -> str:
    return re.sub(r"(?<=[a-z0-9])([_.])(?=[a-z])", r"\1<wbr>", name[0])


def with_links(markdown: str, page: str, repository: str) -> str:
    """The text of a page of the site with its links as they must be there.

    Raises `BrokenLink` when a link leaves `docs/` for a file that does not exist.
    """

    def led(match: re.Match[str]) -> str:
        if match["code"] is not None:
            return match["code"]
        return f"{match['before']}{link(match['target'], page, repository)}{match['after']}"

    return _LINK.sub(led, markdown)


def link(target: str, page: str, repository: str) -> str:
    """Where a link of a page of the site leads; raises as `with_links`."""
    path, hash_sign, anchor = target.partition("#")
    if not path or "://" in path or path.startswith("mailto:"):
        return target
    source = _SOURCES.get(page, f"{DOCS}/{page}")
    named = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    here = BROUGHT.get(named) or _inside_docs(named)
    if here is not None:
        return posixpath.relpath(here, posixpath.dirname(page) or ".") + hash_sign + anchor
    if named.startswith("..") or not (ROOT / named).exists():
        raise BrokenLink(f"{source}: the link to {target} leads nowhere")
    kind = "tree" if (ROOT / named).is_dir() else "blob"
    return f"{repository}/{kind}/main/{named}{hash_sign}{anchor}"


def _inside_docs(named: str) -> str | None:
    path = PurePosixPath(named)
    return str(path.relative_to(DOCS)) if path.is_relative_to(DOCS) and named != DOCS else None
