"""TCP proxy between exporter and emulator that simulates network faults."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from random import Random
from threading import Event, Thread

_CHUNK = 1 << 18
"""Responses of the emulator are written in one piece and are shorter than this."""

_ABORTIVE = struct.pack("ii", 1, 0)


class NetworkFault(Enum):
    """Fault at a random position of a response."""

    RESET = "the connection is reset"
    TRUNCATION = "the connection is closed"
    STALL = "nothing more comes"


@dataclass(frozen=True, slots=True)
class Network:
    """Current state of the network."""

    share: float = 0.0
    """Share of responses with a fault."""
    mischief: NetworkFault = NetworkFault.RESET
    latency: float = 0.0
    """Seconds by which every response is delayed."""


NO_FAULT = Network()


class Proxy:
    """Forwards connections to one port of loopback; `network` may be set at any time."""

    def __init__(self, target: int, seed: int, port: int = 0) -> None:
        self.network = NO_FAULT
        self.struck = 0
        """Responses that were not forwarded completely."""
        self._target = target
        self._random = Random(seed)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = Event()
        self._thread = Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut_all(self) -> None:
        """Close all open connections."""
        self._loop.call_soon_threadsafe(self._cancel)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accepted, sock=self._listener))
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()
        server.close()
        self._cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connected(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, backward = await asyncio.open_connection("127.0.0.1", self._target)
        requests = asyncio.ensure_future(_pass_on(reader, backward))
        serving = asyncio.current_task()
        assert serving is not None
        requests.add_done_callback(lambda _: serving.cancel())  # the client has left
        try:
            while answer := await onward.read(_CHUNK):
                network = self.network
                await asyncio.sleep(network.latency)
                if self._random.random() < network.share:
                    self.struck += 1
                    writer.write(answer[: self._random.randrange(len(answer))])
                    await self._strike(network.mischief, writer)
                    return
                writer.write(answer)
                await writer.drain()
        finally:
            requests.cancel()
            backward.transport.abort()
            writer.close()

    @staticmethod
    async def _strike(mischief: NetworkFault, writer: asyncio.StreamWriter) -> None:
        if mischief is NetworkFault.STALL:
            await asyncio.Event().wait()  # until the client leaves, or the proxy is closed
        elif mischief is NetworkFault.RESET:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
            writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


@contextmanager
def proxied(target: int, seed: int, port: int = 0) -> Iterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy(target, seed, port)
    try:
        yield proxy
    finally:
        proxy.close()
