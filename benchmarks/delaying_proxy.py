"""A link with a round trip: passes bytes between clients and a server, each some time later.

    python benchmarks/delaying_proxy.py --to 127.0.0.1:9000 --delay-ms 100

prints the port that it listens on, and runs until its standard input ends. What a client sends
comes to the server after the delay; answers come back at once. So a request takes its own time and
the delay, as on a link with such a round trip; a new connection takes one more, for TCP's
handshake. Throughput is not bounded.
"""

import argparse
import asyncio
import sys
from collections import deque
from contextlib import suppress

_READ_BYTES = 256 << 10


async def main(host: str, port: int, delay_s: float) -> None:
    """Serve until standard input ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay_s)
        try:
            from_server, to_server = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            forward(reader, to_server, delay_s), forward(from_server, writer, delay_s=0)
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    """Pass bytes on until either side closes; each piece leaves `delay_s` after it came."""
    loop = asyncio.get_running_loop()
    pieces: deque[bytes] = deque()

    def send() -> None:
        piece = pieces.popleft()
        if piece:
            writer.write(piece)
        else:
            writer.close()

    with suppress(OSError):
        while True:
            piece = await reader.read(_READ_BYTES)
            pieces.append(piece)
            if delay_s:
                loop.call_later(delay_s, send)
            else:
                send()
                await writer.drain()
            if not piece:
                return
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the server")
    parser.add_argument("--delay-ms", type=float, required=True, help="added to each request")
    arguments = parser.parse_args()
    name, _, number = arguments.to.rpartition(":")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(name, int(number), arguments.delay_ms / 1000))
