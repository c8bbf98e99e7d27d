"""The script in docs/comparison.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from exporter.emulator import Emulator
from tests.harness import environment

COMPARISON = Path(__file__).parents[2] / "docs" / "comparison.md"


def test_documented_script_lists_every_device(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("one", users=130)
    (script,) = re.findall(r"^```python\n(.*?)^```", COMPARISON.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    text, replaced = re.subn(r'^POOL = ".*"$', f'POOL = "{pool_id}"', script, flags=re.MULTILINE)
    assert replaced == 1
    ended = subprocess.run(
        [sys.executable, "-c", text],
        env=environment(emulator.url, AWS_ENDPOINT_URL=emulator.url),
        capture_output=True,
        text=True,
        check=True,
    )
    listed = [tuple(line.split("\t")[:2]) for line in ended.stdout.splitlines()]
    there = [(name, device.key) for name, devices in emulator.truth(pool_id).users.items() for device in devices]
    assert sorted(listed) == sorted(there)
    assert len(listed) > 100
