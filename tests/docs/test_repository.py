"""The repository's documents agree with the code, and no file names a registry or a local path."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.parse import unquote

import pytest

from exporter.config.load import parse_settings
from tests.deploy.locks import normalized, shipped
from tests.tools import required_tool
from tools.generate_docs import documents, insert_metrics_table

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
MAKEFILE = ROOT / "Makefile"

_FORBIDDEN = re.compile(
    # Split, so that this file does not match.
    "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", "/work" + "/", "/root" + "/"))
)
_TRANSITIVE = {
    "botocore": "boto3 requires the matching release",
    "urllib3": "botocore requires a compatible release",
    "pydantic-core": "pydantic requires the matching release",
}
"""Packages that are imported but not declared, with the reason."""

_CLOCKS = frozenset(
    {
        "time.time",
        "time.time_ns",
        "time.monotonic",
        "time.monotonic_ns",
        "time.perf_counter",
        "time.perf_counter_ns",
        "time.sleep",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
    }
)
_CLOCK_READERS = {
    "exporter/clock.py": "it is the clock",
    "exporter/collect/scheduler.py": "APScheduler reads the wall clock in the same way",
}


@cache
def committed() -> tuple[Path, ...]:
    """Return the files under version control, and new files that are not ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout, so the files of the repository are unknown")
    git = required_tool("git")
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    return tuple(path for name in listed if name and (path := ROOT / name).is_file())


def named(pattern: str) -> list[Path]:
    return [path for path in committed() if fnmatch(path.relative_to(ROOT).as_posix(), pattern)]


def test_files_contain_no_registry_or_machine_path() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in committed()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if _FORBIDDEN.search(line)
    ]
    assert found == []


def test_locks_have_no_format_with_urls() -> None:
    assert [path.name for path in committed() if path.name in {"uv.lock", "pylock.toml", "poetry.lock"}] == []


def test_names_of_tests_have_at_most_60_characters() -> None:
    names = [
        node.name
        for path in named("tests/**.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert names
    assert [name for name in names if len(name) > 60] == []


@pytest.mark.parametrize("path", named("*.md"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_wrap_at_100_columns(path: Path) -> None:
    """Tables, code, images and links have no better place for a line break."""
    prose = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    cannot_wrap = re.compile(r"\s*(\||<|\S*\]\(\S+\)\S*$|\S+$)")
    assert [line for line in prose.splitlines() if len(line) > 100 and not cannot_wrap.match(line)] == []


def test_license_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the top-level modules that code imports at run time, without those under TYPE_CHECKING."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module.partition(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


@cache
def installed() -> Mapping[str, list[str]]:
    """Return the distributions by module. Cached, because scanning an environment is slow."""
    return packages_distributions()


def third_party(source: str) -> set[str]:
    """Return the third-party distributions that the source imports."""
    foreign = set(imported(ast.parse(source))) - sys.stdlib_module_names - {"exporter"}
    distributions = installed()
    # Several distributions may share a module, as OpenTelemetry's do, in any order. Use the first by name.
    return {normalized(min(distributions.get(module, [module]))) for module in foreign}


def test_imported_packages_are_declared() -> None:
    declared = shipped() | _TRANSITIVE.keys()
    undeclared = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in named("exporter/*.py")
        for name in third_party(path.read_text(encoding="utf-8")) - declared
    ]
    assert undeclared == []


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", [README, CONTRIBUTING], ids=lambda path: path.name)
def test_make_targets_in_documents_exist(path: Path) -> None:
    mentioned = set(re.findall(r"(?:`|^\$ |[A-Z]=\S+ )make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= mentioned
    assert mentioned <= targets()


def test_make_targets_have_help_texts() -> None:
    text = MAKEFILE.read_text(encoding="utf-8")
    assert {target for target in targets() if not re.search(rf"^{target}:.*## \S", text, re.MULTILINE)} == set()


def links() -> Iterator[tuple[Path, str]]:
    for path in named("*.md"):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
            if "://" not in target and not target.startswith("mailto:"):
                yield path, target


def test_relative_links_have_a_target() -> None:
    dangling = [
        f"{path.relative_to(ROOT)}: {target}"
        for path, target in links()
        if not (path.parent / unquote(target.partition("#")[0])).exists()
    ]
    assert dangling == []
    assert any(path == README for path, _ in links())


def test_decision_index_is_complete() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    records = [path.name for path in named("docs/decisions/[0-9]*.md")]
    assert [name for name in records if f"]({name})" not in index] == []
    numbers = sorted(int(name[:4]) for name in records)
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("module", ["architecture.md", "decisions"])
def test_files_named_in_documentation_exist(module: str) -> None:
    for path in named(f"docs/{module}*"):
        for name in re.findall(
            r"`(exporter/[a-z_/]+\.py|tests/[a-z_/]+\.py|tools/[a-z_]+\.(?:py|sh))`", path.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_readme_configuration_loads() -> None:
    blocks = readme_blocks("yaml")
    assert blocks
    for block in blocks:
        assert parse_settings(block, "README.md").pools


def test_readme_policy_is_least_privilege() -> None:
    (block,) = readme_blocks("json")
    (statement,) = json.loads(block)["Statement"]
    assert statement["Action"] == [
        "cognito-idp:DescribeUserPool",
        "cognito-idp:ListUsers",
        "cognito-idp:AdminListDevices",
    ]
    assert "*" not in statement["Resource"]


def test_readme_excerpt_has_existing_metrics() -> None:
    from exporter.metrics.catalog import CATALOG  # noqa: PLC0415 - for this test only

    samples = {name for spec in CATALOG for name in spec.sample_names}
    excerpt = [line for block in readme_blocks("text") for line in block.splitlines()]
    assert len(excerpt) > 5
    assert {line.partition("{")[0] for line in excerpt} <= samples


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md", "docs/metrics.md"])
def test_generated_documentation_is_current(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == documents()[ROOT / name], "run `make docs`"


def test_readme_without_markers_is_rejected() -> None:
    with pytest.raises(ValueError, match="markers"):
        insert_metrics_table("# nothing here\n")


def clock_reads(source: str) -> set[str]:
    """Return the functions by which a module reads the time or sleeps."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(".".join(ast.unparse(node).split(".")[-2:]))
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found.update(f"time.{alias.name}" for alias in node.names)
    return found & _CLOCKS


def test_only_clock_module_reads_the_time() -> None:
    readers = {
        name
        for path in named("exporter/*.py")
        if clock_reads(path.read_text(encoding="utf-8"))
        for name in [path.relative_to(ROOT).as_posix()]
    }
    assert readers == _CLOCK_READERS.keys()


@pytest.mark.parametrize(
    "source",
    [
        "import time\nnow = time.time()",
        "import time\nclock = time.monotonic",
        "from time import perf_counter",
        "import datetime\nnow = datetime.datetime.now()",
        "from datetime import datetime, UTC\nnow = datetime.now(UTC)",
    ],
)
def test_clock_reads_finds_time_access(source: str) -> None:
    assert clock_reads(source)
