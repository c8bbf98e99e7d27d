"""Child processes, and their CPU time and memory as reported by the kernel."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import NotMeasured

ROOT = Path(__file__).parent.parent

STOP_SECONDS = 10.0


class Child:
    """Running program."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        self.started = time.monotonic()
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - the benchmark's own programs
                command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, stderr=stderr
            )
        self._stdout = self._process.stdout

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all threads, to the nanosecond. Raise `NotMeasured` if the process has ended."""
        self.require_alive()
        # The CPU clock of another process on Linux, see clock_getcpuclockid(3). /proc/PID/stat has steps of 10 ms.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    @property
    def resident_bytes(self) -> int:
        """Resident memory."""
        return self._status("VmRSS")

    def first_line(self) -> str:
        """Return the first line of standard output. The program writes only one."""
        if self._stdout is None:  # for type checking only: stdout is a pipe
            return ""
        return self._stdout.readline().decode().strip()

    def require_alive(self) -> None:
        """Raise `NotMeasured` with the end of the log if the process has ended."""
        code = self._process.poll()
        if code is not None:
            tail = self._log.read_text(errors="replace").strip()[-600:]
            raise NotMeasured(f"{self.name} ended with exit code {code}", tail)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the process during the context, so that others have the machine to themselves."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Terminate the process."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._stdout is not None:
            self._stdout.close()

    def wait(self) -> None:
        """Wait for the process to exit."""
        self._process.wait(STOP_SECONDS)

    def is_running(self) -> bool:
        """Return True if the process is running."""
        return self._process.poll() is None

    def _status(self, field: str) -> int:
        self.require_alive()
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024


class Children:
    """All processes that the benchmark has started. As a context manager, it terminates them."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for child in self._children:
                stack.callback(child.stop)
        self._children = []

    @contextmanager
    def running(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Child]:
        """Run a program during the context."""
        child = Child(name, command, environment, log)
        self._children.append(child)
        try:
            yield child
        finally:
            child.stop()

    def cpu_seconds(self) -> float:
        """Return the CPU time of this process and all its children, including those that have ended."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        running = sum(child.cpu_seconds for child in self._children if child.is_running())
        return time.process_time() + ended.ru_utime + ended.ru_stime + running


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a measured program: dummy AWS credentials and no user settings."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TMPDIR", "HOME"}}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": "AKIABENCHBENCHBENCH0",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
        **more,
    }
