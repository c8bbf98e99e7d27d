"""One file per mistake, next to the exact messages, and files that are not valid YAML."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from exporter.config.load import MAX_BYTES, load_settings
from exporter.errors import ConfigError
from exporter.identity import allowed_mode

DATA = Path(__file__).parents[2] / "data" / "config"
BROKEN = sorted(DATA.glob("*.yaml"))

ONE_POOL = "pools:\n  - id: eu-west-1_AbCdEfGhI\n"


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_file_reports_every_problem(path: Path) -> None:
    assert problems_of(path) == path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_file_reports_no_secret_or_user_name(path: Path) -> None:
    text = "\n".join(problems_of(path))
    assert "s3cret" not in text
    assert "alice" not in text.replace("user/alice", "")


def test_broken_files_are_complete() -> None:
    assert len(BROKEN) > 25
    assert {path.stem for path in BROKEN} == {path.stem for path in DATA.glob("*.txt")}


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "config.yaml") == [
        "config.yaml: cannot be read, expected a readable file (found: No such file or directory)"
    ]


def test_directory_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    assert problems_of(tmp_path / "config.yaml") == [
        "config.yaml: cannot be read, expected a readable file (found: Is a directory)"
    ]


def test_pipe_is_rejected_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    os.mkfifo(path)
    assert problems_of(path) == ["config.yaml: a pipe, expected a regular file"]
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    assert problems_of(link) == ["link.yaml: a pipe, expected a regular file"]


def test_pipe_with_content_is_rejected() -> None:
    reads, writes = os.pipe()
    try:
        os.write(writes, ONE_POOL.encode())
        path = Path(f"/proc/self/fd/{reads}")
        with pytest.raises(ConfigError) as caught:
            load_settings(path)
    finally:
        os.close(reads)
        os.close(writes)
    assert caught.value.problems == (f"{path}: a pipe, expected a regular file",)


def test_device_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(Path(os.devnull))
    assert caught.value.problems == (f"{os.devnull}: a device, expected a regular file",)


IN_A_NEW_SESSION = """
import os, sys
from pathlib import Path
from exporter.config.load import load_settings
from exporter.errors import ConfigError
try:
    load_settings(Path(sys.argv[1]))
except ConfigError as error:
    print(error)
try:
    os.open("/dev/tty", os.O_RDWR)
except OSError:
    print("no terminal")
"""


def test_terminal_is_rejected_and_does_not_become_controlling() -> None:
    ours, theirs = pty.openpty()
    try:
        name = os.ttyname(theirs)
        command = [sys.executable, "-c", IN_A_NEW_SESSION, name]
        done = subprocess.run(command, start_new_session=True, capture_output=True, text=True, timeout=60, check=True)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.splitlines() == [f"{name}: a device, expected a regular file", "no terminal"]


def test_link_to_a_regular_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there.yaml").write_text(ONE_POOL, encoding="utf-8")
    (tmp_path / "config.yaml").symlink_to("there.yaml")
    assert load_settings(tmp_path / "config.yaml").pools


def test_file_in_latin_1_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(ONE_POOL.encode() + "# Ü\n".encode("latin-1"))
    assert problems_of(path) == ["config.yaml:3: not text, expected UTF-8"]


def test_file_above_one_mebibyte_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(ONE_POOL + "#" * MAX_BYTES, encoding="utf-8")
    assert problems_of(path) == ["config.yaml: too large, expected at most 1 MiB"]


def test_file_of_one_mebibyte_is_read_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(ONE_POOL + "#" * (MAX_BYTES - len(ONE_POOL)), encoding="utf-8")
    assert len(load_settings(path).pools) == 1
    os.truncate(path, 64 * MAX_BYTES)
    tracemalloc.start()
    try:
        assert problems_of(path) == ["config.yaml: too large, expected at most 1 MiB"]
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("text", "line"), [(b"\xff", 1), (b"\n\xff", 2), (b"a: b\n\n# \xff\n\n", 3)])
def test_invalid_utf_8_reports_its_line(tmp_path: Path, text: bytes, line: int) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    assert problems_of(path) == [f"config.yaml:{line}: not text, expected UTF-8"]


@pytest.mark.parametrize(("text", "line"), [("\a\n\n", 1), ("\n\a\n", 2), ("a: b\n\n# \a\n\n", 3)])
def test_control_character_reports_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert problems_of(path) == [f"config.yaml:{line}: a control character, expected printable text"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('a: 1\nb: "\\U00110000"\n', "2:7"),
        ('a: "\\UFFFFFFFF"\n', "1:7"),
        (f"%YAML {'1' * 5000}.1\n---\na: 1\n", "1:7"),
    ],
)
def test_huge_number_reports_its_place(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert problems_of(path) == [f"config.yaml:{place}: not YAML: a number that is too large"]


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "\\ud83d\\ude00"])
@pytest.mark.parametrize(("text", "place"), [('a: "x{}"\n', "1:4"), ('a: b\n"{}": c\n', "2:1")])
def test_lone_surrogate_is_rejected(tmp_path: Path, half: str, text: str, place: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text.format(half), encoding="utf-8")
    assert problems_of(path) == [f"config.yaml:{place}: half of a surrogate pair, expected the character itself"]


@pytest.mark.parametrize("neighbour", ["\\ud7ff", "\\ue000", "\\U0001F600"])
def test_other_escaped_characters_are_accepted(tmp_path: Path, neighbour: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f'{ONE_POOL}    users: {{usernames: ["{neighbour}"]}}\n', encoding="utf-8")
    (pool,) = load_settings(path).pools
    assert pool.users.usernames == (neighbour.encode().decode("unicode_escape"),)


def test_duplicate_key_does_not_hide_later_problems(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{ONE_POOL}    detail: pool\n    detail: user\n    refresh_interval: 5\n", encoding="utf-8")
    assert [problem.split(": ")[1] for problem in problems_of(path)] == ["pools[0].detail", "pools[0].refresh_interval"]


def key_file_problem(directory: Path) -> list[str]:
    path = directory / "config.yaml"
    path.write_text(f"{ONE_POOL}    detail: user\n    identity_key_file: identity.key\n", encoding="utf-8")
    return problems_of(path)


def test_key_file_readable_by_others_is_rejected(tmp_path: Path) -> None:
    key = tmp_path / "identity.key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o644)
    allowed = allowed_mode(key.stat().st_uid)
    assert key_file_problem(tmp_path) == [
        (
            "config.yaml:4: pools[0].identity_key_file: cannot use key file: "
            f"expected mode {allowed:04o} or stricter, found 0644: others could read the key"
        )
    ]


def test_key_file_too_short_is_rejected(tmp_path: Path) -> None:
    key = tmp_path / "identity.key"
    key.touch(mode=0o600)
    key.write_bytes(b"short\n")
    assert key_file_problem(tmp_path) == [
        ("config.yaml:4: pools[0].identity_key_file: cannot use key file: expected a key of at least 16 bytes, found 5")
    ]


def test_problem_of_the_defaults_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    pools = "".join(f"  - id: eu-west-1_Pool{number}\n" for number in range(20))
    path.write_text(f"defaults:\n  identity_key_file: gone\npools:\n{pools}", encoding="utf-8")
    assert problems_of(path) == [
        (
            "config.yaml:2: defaults.identity_key_file: cannot use key file: "
            "expected a readable file (found: No such file or directory)"
        )
    ]


def test_invalid_key_causes_no_further_problems(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        ONE_POOL + "    detail: user\n    identity_key_file: 5\n    external_id: s3cret\n    role_arn: wrong\n",
        encoding="utf-8",
    )
    assert [problem.split(": ")[1] for problem in problems_of(path)] == [
        "pools[0].identity_key_file",
        "pools[0].role_arn",
    ]
