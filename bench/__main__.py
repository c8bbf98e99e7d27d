"""Command that runs all measurements, prints the table and writes bench/RESULTS.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.errors import NotMeasured
from bench.host import description
from bench.lab import FULL, QUICK, Lab
from bench.processes import Children
from bench.processes_under_test import Launcher
from bench.report import NOT_MEASURED, exit_code, render
from bench.stages import STAGES, run

RESULTS = Path(__file__).parent / "RESULTS.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return 0 if all targets are met, 1 if one is missed, 2 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument(
        "--quick", action="store_true", help="run small and short, even on a busy machine; not for results"
    )
    parser.add_argument("--only", action="append", choices=STAGES, help="run only this stage; repeatable")
    parser.add_argument("--busy", action="store_true", help="accept measurements that other programs have disturbed")
    parser.add_argument("--output", type=Path, help="output file; by default, only a complete run writes RESULTS.md")
    options = parser.parse_args(arguments)
    complete = not (options.quick or options.only or options.busy)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Children() as children:
        scale = QUICK if options.quick else FULL
        lab = Lab(Launcher(children, Path(directory)), scale, tolerant=options.quick or options.busy, log=_log)
        try:
            lab.require_quiet()
        except NotMeasured as error:
            _log(f"NOT MEASURED: {error}")
            return NOT_MEASURED
        rows = run({name: STAGES[name] for name in options.only or STAGES}, lab)
    text = render(rows, machine=description(), go=_go_version(), others=lab.max_other_cores)
    sys.stdout.write(text)
    _log(f"{time.monotonic() - started:.0f} s in total")
    output = options.output or (RESULTS if complete else None)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    return exit_code(rows)


def _go_version() -> str:
    try:
        done = subprocess.run(["go", "version"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S607 - the first go on the PATH
    except (OSError, subprocess.SubprocessError):
        return "no Go"
    return done.stdout.split()[2].replace("go", "Go ")


def _log(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
