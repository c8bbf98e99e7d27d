"""The workflows pass the linters and follow the rules of this project. They cannot run here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").iterdir())
DEPENDABOT = ROOT / ".github/dependabot.yml"
LINTERS = Path(sys.executable).parent
"""Folder of the linters, which are in the lock."""

Step = dict[str, Any]


def run_linter(*command: str | Path) -> str:
    """Return the output of a linter, or an empty string if it succeeds."""
    program, *arguments = map(str, command)
    done = subprocess.run(
        [str(LINTERS / program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def actionlint(*paths: Path) -> str:
    return run_linter("actionlint", "-no-color", "-shellcheck", LINTERS / "shellcheck", *paths)


def zizmor(*paths: Path) -> str:
    return run_linter("zizmor", "--offline", "--no-progress", "--persona=pedantic", *paths)


def schema(name: str, *paths: Path) -> str:
    """Return the violations of GitHub's schema. check-jsonschema has a copy of it, but takes seconds to start."""
    vendored = files("check_jsonschema") / f"builtin_schemas/vendor/{name}.json"
    validator = Draft7Validator(json.loads(vendored.read_text("utf-8")))
    return "\n".join(
        f"{path}: {error.json_path}: {error.message}"
        for path in paths
        for error in validator.iter_errors(content(path))
    )


def test_actionlint_reports_nothing() -> None:
    assert actionlint(*WORKFLOWS) == ""


def test_zizmor_reports_nothing() -> None:
    assert zizmor(ROOT / ".github") == ""


def test_workflows_match_github_schemas() -> None:
    assert schema("github-workflows", *WORKFLOWS) == ""
    assert schema("dependabot", DEPENDABOT) == ""


def test_linters_report_bad_workflow(tmp_path: Path) -> None:
    bad = tmp_path / ".github/workflows/bad.yaml"
    bad.parent.mkdir(parents=True)
    script = 'echo "${{ github.event.pull_request.title }}"\n      - run: echo $unquoted'
    bad.write_text(
        f"on: pull_request_target\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: {script}\n",
        encoding="utf-8",
    )
    assert "potentially untrusted" in actionlint(bad)
    assert "SC2086" in actionlint(bad)
    assert "template-injection" in zizmor(bad)
    bad.write_text("on: push\njobs: []\n", encoding="utf-8")
    assert "jobs" in schema("github-workflows", bad)


def content(path: Path) -> dict[str, Any]:
    # In YAML 1.1, the key `on` is a boolean.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(path.read_text("utf-8")).items()}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in content(path)["jobs"].items():
            yield f"{path.stem}/{name}", job


def steps() -> Iterator[Step]:
    for _, job in jobs():
        yield from job.get("steps", [])


def test_every_action_is_pinned_to_a_commit_with_version() -> None:
    used = [line for path in WORKFLOWS for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    pinned = re.compile(
        r"\s*(?:- )?uses: (?:[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\$/\.github/workflows/\w+\.yaml)"
    )
    assert [line for line in used if not pinned.fullmatch(line)] == []


def test_same_action_has_the_same_pin() -> None:
    pins: dict[str, set[str]] = {}
    for step in steps():
        action, _, commit = step.get("uses", "").partition("@")
        pins.setdefault(action, set()).add(commit)
    assert {action for action, commits in pins.items() if len(commits) > 1} == set()


def test_jobs_declare_permissions_and_timeout() -> None:
    assert [path.name for path in WORKFLOWS if content(path)["permissions"] != {}] == []
    assert [name for name, job in jobs() if not isinstance(job.get("permissions"), dict)] == []
    assert [name for name, job in jobs() if "uses" not in job and "timeout-minutes" not in job] == []


def test_only_release_jobs_have_write_permissions() -> None:
    writing = {name for name, job in jobs() if "write" in job["permissions"].values()}
    assert writing == {
        "chart/publish",
        "image/publish",
        "release/attest",
        "release/chart",
        "release/image",
        "release/index",
        "release/publish",
    }
    for name in ("chart", "image"):
        assert content(ROOT / f".github/workflows/{name}.yaml")["jobs"]["publish"]["if"].startswith("${{ inputs.")


def test_scripts_contain_no_expressions() -> None:
    assert [step["run"] for step in steps() if "${{" in step.get("run", "")] == []


def test_checkouts_do_not_persist_credentials() -> None:
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert [step for step in checkouts if step.get("with", {}).get("persist-credentials") is not False] == []


def test_every_supported_python_is_tested() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', pyproject)
    matrix = content(ROOT / ".github/workflows/test.yaml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == supported


def test_release_publishes_only_after_tests() -> None:
    release = content(ROOT / ".github/workflows/release.yaml")["jobs"]

    def before(name: str) -> set[str]:
        needs = release[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*map(before, direct))

    for name in ("attest", "image", "chart", "index", "publish"):
        assert {"version", "test", "build"} <= before(name), name


def test_published_image_uses_the_commit_date() -> None:
    publish = content(ROOT / ".github/workflows/image.yaml")["jobs"]["publish"]["steps"]
    assert any("SOURCE_DATE_EPOCH=" in step.get("run", "") for step in publish)
    (build,) = (step["with"] for step in publish if step.get("id") == "build")
    assert {"type=image", "push=true", "rewrite-timestamp=true"} == set(build["outputs"].split(","))
    assert "push" not in build, "it would conflict with the outputs"


def test_make_targets_in_workflows_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {target for step in steps() for target in re.findall(r"^make (\w+)", step.get("run", ""), re.MULTILINE)}
    assert named
    assert named <= targets


def test_release_finds_the_version_in_each_file() -> None:
    """The release workflow greps three files for the version."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version
    chart = (ROOT / "deploy/helm/cognito-device-exporter/Chart.yaml").read_text("utf-8").splitlines()
    assert f"appVersion: {version[1]}" in chart
    assert "## [" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize("ecosystem", ["github-actions", "docker", "pip"])
def test_dependabot_watches(ecosystem: str) -> None:
    assert ecosystem in {update["package-ecosystem"] for update in content(DEPENDABOT)["updates"]}
