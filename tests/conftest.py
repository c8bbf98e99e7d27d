"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import cache

import pytest
from botocore.loaders import create_loader
from hypothesis import HealthCheck, Phase, settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# `make fuzz`. Otherwise there are a hundred examples: others each time, and the same each time under CI=true, where
# Hypothesis itself sees to it that no push fails for what another has brought.
settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=False,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES") or 20_000),
    suppress_health_check=[HealthCheck.too_slow],
)

# `make mutants` asks only whether a test fails, the same way each time, and not for the simplest way to make it fail.
settings.register_profile("mutants", deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])

# A shell starts what it runs in the background with SIGINT ignored, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def shared_service_models() -> Iterator[None]:
    """Make all sessions of boto3 share AWS's service models, which take longer to read than most tests to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        yield
