"""Soak test with changing pools and failing calls: `python -m tests.acceptance.soak --duration 1h`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from exporter.config.values import parse_duration
from tests.acceptance.soak.findings import SoakResults, markdown
from tests.acceptance.soak.run import Plan, soak

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; return 0 if every promise was kept, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--duration", type=_seconds, default=3600.0, help="how long, such as 1h (the default) or 90m")
    parser.add_argument("--sweep-every", type=_seconds, default=60.0, help="refresh_interval (1m)")
    parser.add_argument("--reload-every", type=_seconds, help="interval of SIGHUP; never by default")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another life of the pools")
    parser.add_argument(
        "--output", type=Path, help="write the results to this file in Markdown, and to another in JSON"
    )
    options = parser.parse_args(arguments)
    plan = Plan(options.duration, options.sweep_every, options.reload_every, options.seed)
    found = SoakResults(plan.warm_up, plan.sweep_every, plan.duration)
    interrupted = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # otherwise the program would keep running
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        try:
            soak(plan, Path(directory), found, _say)
        except KeyboardInterrupt:
            interrupted = True
    text = markdown(found)
    sys.stdout.write(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
        options.output.with_suffix(".json").write_text(json.dumps(found.as_dict(), indent=1) + "\n", encoding="utf-8")
    if interrupted:
        return INTERRUPTED
    return 1 if found.faults() else 0


def _seconds(text: str) -> float:
    return parse_duration(text) / 1000


def _say(text: str) -> None:
    sys.stderr.write(f"soak: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
