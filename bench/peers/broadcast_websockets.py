"""A WebSocket server that passes on what comes to /publish, written with `websockets`: python -P THIS_FILE PORT."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

watchers: set[ServerConnection] = set()


async def talk(link: ServerConnection) -> None:
    """One connection, to its end."""
    assert link.request is not None
    if link.request.path == "/publish":
        async for message in link:
            broadcast(watchers, message)
        return
    watchers.add(link)
    try:
        await link.wait_closed()
    finally:
        watchers.discard(link)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with serve(talk, "127.0.0.1", port, compression=None, ping_interval=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
