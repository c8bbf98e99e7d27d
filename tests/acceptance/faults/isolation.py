"""The program in a separate mount namespace, if root or the kernel allows it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.harness import Program, environment


@cache
def _can_unshare() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0


def _unshare() -> Sequence[str]:
    return ("unshare", "--map-root-user", "--mount")


def require_namespaces() -> None:
    """Skip the test if the kernel does not allow a mount namespace."""
    if not _can_unshare():
        pytest.skip("mount namespaces are unavailable")


@contextmanager
def isolated_program(text: str, directory: Path, sts_url: str, prepare: str, **environ: str) -> Iterator[Program]:
    """Like `tests.harness.serving_program`, after the shell commands `prepare` in the namespace."""
    (directory / "config.yaml").write_text(text, encoding="utf-8")
    stdout, stderr = directory / "stdout.txt", directory / "stderr.txt"
    flags = [f"--config.file={directory / 'config.yaml'}", "--web.listen-address=127.0.0.1:0", "--log.format=json"]
    shell = ["sh", "-ec", f'{prepare}\nexec "$@"', "sh", sys.executable, "-m", "exporter", "serve", *flags]
    with stdout.open("w") as out, stderr.open("w") as err:
        process = subprocess.Popen(
            [*_unshare(), *shell], stdout=out, stderr=err, text=True, env=environment(sts_url, **environ)
        )
    try:
        running = Program(process, stdout, stderr)
        running.wait_until_listening()
        yield running
    finally:
        process.kill()
        process.wait()


def within(running: Program, command: str) -> None:
    """Run a command in the program's namespaces."""
    enter = ["nsenter", "--target", str(running.process.pid), "--user", "--preserve-credentials", "--mount"]
    subprocess.run([*enter, "sh", "-ec", command], check=True, capture_output=True)
