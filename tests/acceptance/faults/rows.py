"""Promise and result of a fault test: one row of the table in `docs/reliability.md`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

LONG = bool(os.environ.get("FAULTS_RESULTS"))
"""True under `make faults`: every row, more rounds, and a record of the results."""

ROUNDS = int(os.environ.get("FAULTS_ROUNDS") or (3 if LONG else 1))

SEED = int(os.environ.get("FAULTS_SEED") or 1)


@dataclass
class Row:
    """Result for one fault, over all rounds."""

    name: str
    """Name of the test."""
    fault: str = ""
    promised: str = ""
    rounds: int = 0
    scrapes: int = 0
    scrapes_failed: int = 0
    """Scrapes without a response, or with neither a page nor a promised 503."""
    scrapes_refused: int = 0
    """Scrapes with a promised 503 with Retry-After."""
    values_wrong: int = 0
    """Pages with values that were never correct."""
    data_lost: int = 0
    """Pages without known data, and users or devices missing afterwards."""
    calls_failed: Counter[str] = field(default_factory=Counter)
    """Failed requests to AWS by reason."""
    recovered_after: float | None = None
    """Seconds from the end of the fault to a correct page, in the slowest round."""
    wrong: list[str] = field(default_factory=list)
    """Descriptions of errors, for the output of a failed test."""

    def describe(self, fault: str, promised: str) -> None:
        """Set the fault and the promise."""
        self.fault, self.promised = fault, promised

    def each_round(self) -> Iterator[Random]:
        """Yield a random generator for each round; a failed test prints its seed."""
        for number in range(ROUNDS):
            seed = f"{SEED}/{self.name}/{number}"
            print(f"round {number}: FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it with a failure
            self.rounds += 1
            yield Random(seed)

    def recovered(self, seconds: float) -> None:
        """Record the recovery time of a round."""
        self.recovered_after = max(seconds, self.recovered_after or 0.0)

    def assert_kept(self) -> None:
        """Assert that no scrape failed, no value was wrong and no data was lost."""
        assert not self.wrong, self.wrong[:3]
        assert (self.scrapes_failed, self.values_wrong, self.data_lost) == (0, 0, 0)
        assert self.rounds

    def write(self) -> None:
        """Append the row to the results of `make faults`."""
        path = os.environ.get("FAULTS_RESULTS")
        if path and self.fault:
            with Path(path).open("a", encoding="utf-8") as results:
                results.write(json.dumps(vars(self)) + "\n")
