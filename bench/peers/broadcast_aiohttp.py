"""A WebSocket server that passes on what comes to /publish, written with `aiohttp`: python -P THIS_FILE PORT."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

watchers: set[web.WebSocketResponse] = set()


async def opened(request: web.Request) -> web.WebSocketResponse:
    """The connection that a request becomes."""
    link = web.WebSocketResponse(compress=False)
    await link.prepare(request)
    return link


async def publish(request: web.Request) -> web.WebSocketResponse:
    """Pass on what is said, to the end of the connection."""
    link = await opened(request)
    async for message in link:
        for watcher in watchers:
            await watcher.send_str(message.data)
    return link


async def watch(request: web.Request) -> web.WebSocketResponse:
    """Be told, to the end of the connection."""
    link = await opened(request)
    watchers.add(link)
    try:
        async for _ in link:
            pass
    finally:
        watchers.discard(link)
    return link


async def main(port: int) -> None:
    """Serve until the process is ended."""
    application = web.Application()
    application.add_routes([web.get("/publish", publish), web.get("/watch", watch)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
