"""Environment of a soak: changing pools, failing calls, and the expected values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from threading import Event, Lock, Thread
from urllib.parse import urlsplit

from exporter.emulator import Emulator, Fault, PoolTruth, Rule
from exporter.emulator.demo import PoolActivity
from tests.acceptance.faults.proxy import NO_FAULT, Network, NetworkFault, proxied
from tests.truth import counts

EVENT_SECONDS = 1.0
THIRD = 0.034
FAULTS = (Rule(Fault.THROTTLED, share=THIRD), Rule(Fault.SERVER_ERROR, share=THIRD))
RESETS = Network(THIRD, NetworkFault.RESET)
"""Together with the two faults, one call in ten fails."""


class SteadyLife(PoolActivity):
    """Changes a pool without growing it, because growth would look like a leak."""

    def __init__(self, emulator: Emulator, pool_id: str, random: Random) -> None:
        super().__init__(emulator, pool_id, random)
        self._truth = partial(emulator.truth, pool_id)
        self._usual = self._devices()

    def _devices(self) -> int:
        return int(sum(counts(self._truth()).values(), 0.0))

    def add_device(self) -> None:
        """Add a device unless there are enough."""
        if self._devices() < self._usual:
            super().add_device()
        else:
            super().forget_device()

    def forget_device(self) -> None:
        """Remove a device unless there are few."""
        if self._devices() > self._usual:
            super().forget_device()
        else:
            super().add_device()


class World:
    """Two pools behind a proxy; from `start` to `calm`, they change and one call in ten fails."""

    def __init__(self, emulator: Emulator, seed: int, users: int, port: int) -> None:
        self._emulator = emulator
        self.emulator_url = emulator.url
        self.pool_ids = (
            emulator.seed_pool("soak-device", users=users),
            emulator.seed_pool("soak-pool", users=users * 2 // 3),
        )
        self._proxying = proxied(port, seed)
        self._proxy = self._proxying.__enter__()
        self._activities = [SteadyLife(emulator, pool_id, Random(f"{seed}/{pool_id}")) for pool_id in self.pool_ids]
        self._ended = Event()
        self._lock = Lock()
        self._thread = Thread(target=self._run, name="world", daemon=True)
        self.events = 0

    @property
    def url(self) -> str:
        """Endpoint URL of Cognito."""
        return self._proxy.url

    def start(self) -> None:
        """Start changes and faults."""
        self._emulator.faults.rules, self._proxy.network = FAULTS, RESETS
        self._thread.start()

    def calm(self) -> None:
        """Stop changes and faults."""
        self._ended.set()
        self._thread.join()
        self._emulator.faults.rules, self._proxy.network = (), NO_FAULT

    def close(self) -> None:
        self._ended.set()
        self._proxying.__exit__(None, None, None)

    def truth(self, pool_id: str) -> PoolTruth:
        return self._emulator.truth(pool_id)

    def _run(self) -> None:
        while not self._ended.wait(EVENT_SECONDS):
            for life in self._activities:
                life.run_random_event()
                self.events += 1


@contextmanager
def world(seed: int, users: int) -> Iterator[World]:
    """Yield a world without changes and faults until it is started."""
    with Emulator(seed=seed, keep_requests=1000) as emulator:
        port = urlsplit(emulator.url).port
        if port is None:  # for mypy: the emulator always has one
            raise ValueError(emulator.url)
        made = World(emulator, seed, users, port)
        try:
            yield made
        finally:
            made.close()
