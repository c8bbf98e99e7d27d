"""What must be true of the repository itself: nothing in it contradicts the code or names where it was made."""

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
from tools.generate_docs import documents, with_metrics

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
MAKEFILE = ROOT / "Makefile"

_FORBIDDEN = re.compile(
    # In pieces, so that this file may stand among those that are searched.
    "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", "/work" + "/", "/root" + "/"))
)
_COME_ALONG = {
    "botocore": "boto3 comes with the one release that fits it",
    "urllib3": "what botocore sends with, in the releases that it works with",
    "pydantic-core": "pydantic comes with the one release that fits it",
}
"""Imported and not declared, with the reason."""

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
_MAY_READ_THE_CLOCK = {
    "exporter/clock.py": "it is the clock",
}


@cache
def committed() -> tuple[Path, ...]:
    """The files under version control, and those that are about to be."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout, so nothing says which files belong to the repository")
    git = required_tool("git")
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    return tuple(path for name in listed if name and (path := ROOT / name).is_file())


def named(pattern: str) -> list[Path]:
    return [path for path in committed() if fnmatch(path.relative_to(ROOT).as_posix(), pattern)]


def test_nothing_names_a_registry_or_a_path_of_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in committed()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if _FORBIDDEN.search(line)
    ]
    assert found == []


def test_no_lock_is_of_a_format_with_addresses() -> None:
    assert [path.name for path in committed() if path.name in {"uv.lock", "pylock.toml", "poetry.lock"}] == []


def test_the_license_stands_there_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def imported(node: ast.AST) -> Iterator[str]:
    """The top-level modules that a piece of code imports when it runs, not those that only type checkers see."""
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
    """The distributions by the modules that they bring; looking through an environment takes a while."""
    return packages_distributions()


def third_party(source: str) -> set[str]:
    """The distributions behind the imports that are neither ours nor Python's."""
    foreign = set(imported(ast.parse(source))) - sys.stdlib_module_names - {"exporter"}
    distributions = installed()
    # Several distributions may share a name, as OpenTelemetry's do, in any order; the first by name stands for them.
    return {normalized(min(distributions.get(module, [module]))) for module in foreign}


def test_what_the_program_imports_is_declared() -> None:
    asked_for = shipped() | _COME_ALONG.keys()
    undeclared = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in named("exporter/*.py")
        for name in third_party(path.read_text(encoding="utf-8")) - asked_for
    ]
    assert undeclared == []


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", [README, CONTRIBUTING], ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    mentioned = set(re.findall(r"(?:`|^\$ |[A-Z]=\S+ )make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= mentioned
    assert mentioned <= targets()


def test_every_make_target_says_what_it_is_for() -> None:
    text = MAKEFILE.read_text(encoding="utf-8")
    assert {target for target in targets() if not re.search(rf"^{target}:.*## \S", text, re.MULTILINE)} == set()


def links() -> Iterator[tuple[Path, str]]:
    for path in named("*.md"):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
            if "://" not in target and not target.startswith("mailto:"):
                yield path, target


def test_every_relative_link_leads_somewhere() -> None:
    dangling = [
        f"{path.relative_to(ROOT)}: {target}"
        for path, target in links()
        if not (path.parent / unquote(target.partition("#")[0])).exists()
    ]
    assert dangling == []
    assert any(path == README for path, _ in links())


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    records = [path.name for path in named("docs/decisions/[0-9]*.md")]
    assert [name for name in records if f"]({name})" not in index] == []
    numbers = sorted(int(name[:4]) for name in records)
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("module", ["architecture.md", "decisions"])
def test_files_that_the_documentation_names_exist(module: str) -> None:
    for path in named(f"docs/{module}*"):
        for name in re.findall(
            r"`(exporter/[a-z_/]+\.py|tests/[a-z_/]+\.py|tools/[a-z_]+\.(?:py|sh))`", path.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_configuration_in_the_readme_loads() -> None:
    blocks = readme_blocks("yaml")
    assert blocks
    for block in blocks:
        assert parse_settings(block, "README.md").pools


def test_the_policy_in_the_readme_is_a_policy_of_least_privilege() -> None:
    (block,) = readme_blocks("json")
    (statement,) = json.loads(block)["Statement"]
    assert statement["Action"] == [
        "cognito-idp:DescribeUserPool",
        "cognito-idp:ListUsers",
        "cognito-idp:AdminListDevices",
    ]
    assert "*" not in statement["Resource"]


def test_the_excerpt_in_the_readme_shows_metrics_that_exist() -> None:
    from exporter.metrics.catalogue import CATALOGUE  # noqa: PLC0415 - for this test only

    samples = {name for spec in CATALOGUE for name in spec.sample_names}
    excerpt = [line for block in readme_blocks("text") for line in block.splitlines()]
    assert len(excerpt) > 5
    assert {line.partition("{")[0] for line in excerpt} <= samples


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md", "docs/metrics.md"])
def test_generated_documentation_is_current(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == documents()[ROOT / name], "run `make docs`"


def test_a_readme_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="markers"):
        with_metrics("# nothing here\n")


def clock_reads(source: str) -> set[str]:
    """The ways in which a module asks what time it is, or waits for it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(".".join(ast.unparse(node).split(".")[-2:]))
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found.update(f"time.{alias.name}" for alias in node.names)
    return found & _CLOCKS


def test_only_the_clock_reads_the_time() -> None:
    readers = {
        name
        for path in named("exporter/*.py")
        if clock_reads(path.read_text(encoding="utf-8"))
        for name in [path.relative_to(ROOT).as_posix()]
    }
    assert readers == _MAY_READ_THE_CLOCK.keys()


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
def test_reading_the_time_is_noticed(source: str) -> None:
    assert clock_reads(source)
