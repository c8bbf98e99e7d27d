"""What a fault test promises and what it saw: one row of the table in `docs/reliability.md`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

LONG = bool(os.environ.get("FAULTS_RESULTS"))
"""Whether `make faults` runs: every row, more rounds, and a record of what was seen."""

ROUNDS = int(os.environ.get("FAULTS_ROUNDS") or (3 if LONG else 1))

SEED = int(os.environ.get("FAULTS_SEED") or 1)


@dataclass
class Row:
    """One fault; the counts are over all rounds."""

    name: str
    """The test."""
    fault: str = ""
    promised: str = ""
    rounds: int = 0
    scrapes: int = 0
    scrapes_failed: int = 0
    """Not answered, or answered with something that is neither a page nor the refusal that is promised."""
    scrapes_refused: int = 0
    """Answered 503 with Retry-After, where that is promised."""
    values_wrong: int = 0
    """Pages whose numbers were never true."""
    data_lost: int = 0
    """Pages without data that was known, and users or devices missing afterwards."""
    calls_failed: Counter[str] = field(default_factory=Counter)
    """Requests to AWS by the reason of their failure."""
    recovered_after: float | None = None
    """Seconds from the end of the fault to a page that is true and says so; of the slowest round."""
    wrong: list[str] = field(default_factory=list)
    """What was wrong, for whoever reads a failed test."""

    def is_about(self, fault: str, promised: str) -> None:
        """Say which fault, and what was promised."""
        self.fault, self.promised = fault, promised

    def each_round(self) -> Iterator[Random]:
        """A generator of numbers for each round; its seed stands in the output of a test that fails."""
        for number in range(ROUNDS):
            seed = f"{SEED}/{self.name}/{number}"
            print(f"round {number}: FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it with a failure
            self.rounds += 1
            yield Random(seed)

    def recovered(self, seconds: float) -> None:
        """A round has recovered after so many seconds."""
        self.recovered_after = max(seconds, self.recovered_after or 0.0)

    def assert_kept(self) -> None:
        """Nothing failed, nothing was wrong, nothing was lost."""
        assert not self.wrong, self.wrong[:3]
        assert (self.scrapes_failed, self.values_wrong, self.data_lost) == (0, 0, 0)
        assert self.rounds

    def write(self) -> None:
        """Add the row to the results of the run, where there are any."""
        path = os.environ.get("FAULTS_RESULTS")
        if path and self.fault:
            with Path(path).open("a", encoding="utf-8") as results:
                results.write(json.dumps(vars(self)) + "\n")
