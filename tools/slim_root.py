"""Script that removes everything from an image's root file system that the exporter does not need.

The Dockerfile runs it with the image's own Python. It keeps Python, the Debian packages with libraries that Python or
an extension module links to, and those in `ALWAYS`. It removes all other packages with their files and their entries in
dpkg's status, which scanners read.

The argument is a directory with further extension modules. Their libraries stay, but the directory is removed.
"""

from __future__ import annotations

import compileall
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from py_compile import PycInvalidationMode

ALWAYS = frozenset(
    {
        "base-files",  # directories, /etc/os-release
        "ca-certificates",  # for TLS connections to AWS
        "libc6",
        "libgcc-s1",  # libc loads it by name when a thread is canceled
        "netbase",  # /etc/services
        "tzdata",
    }
)
ROOT = Path("/")
STATUS = Path("/var/lib/dpkg/status")
LISTS = Path("/var/lib/dpkg/info")
STDLIB = Path(sysconfig.get_path("stdlib"))

_UNUSED_IN_STDLIB = (
    "config-*",
    "ensurepip",
    "idlelib",
    "lib-dynload/_curses*",
    "lib-dynload/_dbm*",
    "lib-dynload/_gdbm*",
    "lib-dynload/_test*",
    "lib-dynload/_tkinter*",
    "lib-dynload/_xx*",
    "lib-dynload/readline*",
    "lib-dynload/xx*",
    "pydoc_data",
    "site-packages/*",
    "test",
    "tkinter",
    "turtledemo",
)
_UNOWNED = (
    "etc/*-",
    "etc/alternatives",
    "etc/apt",
    "etc/ca-certificates*",
    "root/.[!.]*",
    "root/*",
    "usr/local/bin/[!p]*",
    "usr/local/bin/*-config",
    "usr/local/bin/pip*",
    "usr/local/bin/pydoc*",
    "usr/local/include",
    "usr/local/lib/pkgconfig",
    "usr/local/share/*",
    "usr/local/src",
    "var/backups/*",
    "var/cache/*",
    "var/lib/apt",
    "var/log/*",
)
_UNUSED_IN_PACKAGES = (
    "usr/lib/*/gconv",  # Python has its own character sets
    "usr/share/doc/*/[!c]*",
    "usr/share/doc/*/changelog*",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
)


def main(directory: Path) -> None:
    """Slim the root file system of the running image."""
    for pattern in (*_UNOWNED, *_UNUSED_IN_PACKAGES):
        _remove(ROOT.glob(pattern))
    for pattern in _UNUSED_IN_STDLIB:
        _remove(STDLIB.glob(pattern))
    needed = _needed_files([STDLIB, directory])
    owned = {package: _files_of(package) for package in _installed()}
    _keep_packages({name for name, files in owned.items() if name in ALWAYS or files & needed}, owned)
    _remove([directory])
    _remove(path for folder in ("usr/bin", "usr/sbin") for path in (ROOT / folder).iterdir() if not path.exists())
    # A read-only root cannot cache bytecode at run time, and hash-based bytecode contains no date.
    compileall.compile_dir(STDLIB, quiet=2, force=True, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def _needed_files(directories: Iterable[Path]) -> set[str]:
    """Return Python's own files and the libraries that Python and the extension modules link to."""
    program = Path(sys.executable)
    extensions = [path for directory in directories for path in directory.rglob("*.so*")]
    listing = ["/usr/bin/ldd", *map(str, (program, *extensions))]
    linked = subprocess.run(listing, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own files
    libraries = {Path(path) for path in re.findall(r"(/\S+) \(0x", linked)}
    modules = {path for path in STDLIB.rglob("*") if path.is_file()}
    files = {program, *libraries, *modules}
    return {_merged(str(path)) for path in files | {path.resolve() for path in files}}


def _installed() -> list[str]:
    return re.findall(r"^Package: (\S+)$", STATUS.read_text(encoding="utf-8"), re.MULTILINE)


def _files_of(package: str) -> frozenset[str]:
    lists = [path for path in LISTS.glob(f"{package}*.list") if path.stem.partition(":")[0] == package]
    paths = (line for path in lists for line in path.read_text(encoding="utf-8").splitlines())
    return frozenset(map(_merged, paths))


def _merged(path: str) -> str:
    """Return the canonical path of a file: Debian has /lib in /usr and uses both paths."""
    return re.sub(r"^/(?=(?:bin|sbin|lib|lib64)/)", "/usr/", path)


def _keep_packages(kept: set[str], owned: dict[str, frozenset[str]]) -> None:
    stays = frozenset[str]().union(*(files for name, files in owned.items() if name in kept))
    goes = frozenset[str]().union(*owned.values()) - stays
    for path in map(Path, sorted(goes, reverse=True)):  # the contents of a directory precede it
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    _remove(path for path in LISTS.iterdir() if path.stem.partition(":")[0] not in kept)
    _remove(path for path in LISTS.iterdir() if path.suffix not in {".list", ".md5sums"})
    entries = STATUS.read_text(encoding="utf-8").strip().split("\n\n")
    remaining = [entry for entry in entries if entry.partition("\n")[0].removeprefix("Package: ") in kept]
    STATUS.write_text("\n\n".join([*remaining, ""]), encoding="utf-8")


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # a link may list it twice


if __name__ == "__main__":
    main(Path(sys.argv[1]))
