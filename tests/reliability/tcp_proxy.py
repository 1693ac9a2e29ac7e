"""A TCP proxy that cuts connections: after so many bytes of what the client sends, or of what the server answers."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Literal

Cut = tuple[Literal["request", "response"], int]
"""In which direction, and after how many bytes of one connection."""


class CuttingProxy:
    """Listens on a port of its own and passes bytes on to another; each new connection asks `choose` where it is cut.

    choose: given the number of the connection; None lets it be.
    """

    def __init__(self, target: int, choose: Callable[[int], Cut | None]) -> None:
        self._target = target
        self._choose = choose
        self.connections = 0
        self.cuts = 0
        self.port = 0
        self._open: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        """Close what is open: a transport that the garbage collector finds open is a warning in whatever test runs then."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0.01)  # a transport closes its socket in the next turns of the loop

    async def _connection(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        cut = self._choose(self.connections)
        self.connections += 1
        self._open.append(to_client)
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            to_client.transport.abort()
            return
        self._open.append(to_server)

        def end() -> None:
            to_client.transport.abort()  # RST where something is unsent, as a lost connection looks like
            to_server.transport.abort()

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
            passed = 0
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    if limit is not None and passed + len(data) >= limit:
                        writer.write(data[: limit - passed])
                        await writer.drain()
                        self.cuts += 1
                        break
                    passed += len(data)
                    writer.write(data)
                    await writer.drain()
            end()

        await asyncio.gather(
            pass_on(client, to_server, cut[1] if cut is not None and cut[0] == "request" else None),
            pass_on(server, to_client, cut[1] if cut is not None and cut[0] == "response" else None),
        )

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@contextlib.contextmanager
def cutting(target: int, choose: Callable[[int], Cut | None]) -> Iterator[CuttingProxy]:
    """A proxy for the time of a block."""
    proxy = CuttingProxy(target, choose)
    try:
        yield proxy
    finally:
        proxy.close()
