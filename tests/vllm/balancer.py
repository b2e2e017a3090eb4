"""A balancer for two replicas, as small as one can be: connections in turn, over one that is down to the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from typing_extensions import Self


class Balancer:
    """Hands each new connection on the loopback to the next of *ports* that takes it."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._next = 0
        self._server: asyncio.Server | None = None
        self.connections: Counter[int] = Counter()
        """How many each port was given."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def base_url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            server, forth = await self._connect()
            await asyncio.gather(_pump(client, forth), _pump(server, back))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            back.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self._ports:
            port = self._ports[self._next % len(self._ports)]
            self._next += 1
            try:
                opened = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            self.connections[port] += 1
            return opened
        raise ConnectionRefusedError


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while block := await source.read(1 << 16):
            sink.write(block)
            await sink.drain()
    finally:
        sink.close()
