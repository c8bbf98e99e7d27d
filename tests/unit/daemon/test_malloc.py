"""Memory of glibc, as reported by malloc_info and by the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

from exporter.daemon.malloc import has_arenas

THREADS = 4

ARENAS = f"""
import ctypes, os, threading
from exporter.daemon.malloc import share_one_arena

print(share_one_arena(os.environ), flush=True)
barrier = threading.Barrier({THREADS})
def work():
    kept = [bytes(2000) for _ in range(100)]  # more than Python's own allocator takes
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""

HOLES = """
from pathlib import Path
from exporter.daemon.malloc import trim_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
kept = [bytes(20_000) for _ in range(1000)]
full = resident()
del kept[:-1]
free = resident()
trim_heap()
print(full - free, free - resident())
"""

only_glibc = pytest.mark.skipif(not has_arenas(), reason="the C library is not glibc, which has the arenas")


def run(program: str, **environ: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    return ended.stdout


def arenas(**environ: str) -> tuple[str, int]:
    """Return the result of `share_one_arena`, and the number of arenas with several threads."""
    shared, _, info = run(ARENAS, **environ).partition("\n")
    return shared, info.count("<heap ")


@only_glibc
def test_threads_share_one_arena() -> None:
    assert arenas() == ("True", 1)


@only_glibc
def test_arena_setting_of_the_environment_is_kept() -> None:
    assert arenas(MALLOC_ARENA_MAX="3") == ("False", 3)
    assert arenas(GLIBC_TUNABLES="glibc.malloc.arena_max=2") == ("False", 2)


@only_glibc
def test_threads_share_one_arena_despite_other_settings() -> None:
    assert arenas(GLIBC_TUNABLES="glibc.malloc.trim_threshold=1000000", MALLOC_ARENA_MAX="") == ("True", 1)


@only_glibc
def test_trim_returns_free_pages_below_used_ones() -> None:
    by_itself, given = map(int, run(HOLES).split())
    assert (by_itself < 100, given > 4000) == (True, True), "pages of 4 KiB"
