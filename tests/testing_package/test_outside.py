"""Programs that reach the server over a real socket, and live by a clock of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from presenced.testing import TestServer, TestServerError
from presenced.wire.codec import decode_server, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Attach, ClientMessage, Done, Error, Goodbye, Hello, SetStatus, Welcome

JSON = [Subprotocol("presence.v1.json")]


class Program:
    """A client with a blocking socket, as one in another language may be. Its methods run in threads."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.reader = FrameReader(1 << 20)

    def say(self, *messages: ClientMessage) -> None:
        self.socket.sendall(b"".join(frame(encode(message)) for message in messages))

    def hear(self, kind: type) -> Any:
        """The next message of this kind."""
        while True:
            for payload in self.reader.take(1):
                message = decode_server(payload)
                if isinstance(message, kind):
                    return message
            data = self.socket.recv(65_536)
            if not data:
                raise EOFError
            self.reader.feed(data)


async def program(server: TestServer, hello: Hello) -> Program:
    made = await asyncio.to_thread(Program, server.port)
    made.say(hello)
    await asyncio.to_thread(made.hear, Welcome)
    return made


async def test_six_minutes_pass_for_a_program_that_cannot_know_of_it() -> None:
    async with TestServer(check=True) as server:
        anna = await program(server, Hello([1], "", "anna", "phone", idle_ms=0))
        backend = await program(server, Hello([1], "", "backend", "", role="service"))
        backend.say(Attach(1, 7, "bob", "web"))
        await asyncio.to_thread(backend.hear, Done)
        await server.advance(minutes=6)
        assert await server.status_of("anna") == "away"
        assert await server.status_of("bob") == "online", "no heartbeat of its backend could come in time"
        await server.advance(hours=2)
        assert await server.status_of("bob") == "online"
        watcher = await server.connect("watcher")
        async with watcher.watch("anna") as watch:
            await anext(watch)
            anna.say(SetStatus(1, "dnd"))
            assert (await anext(watch)).new.status == "dnd"
        anna.socket.close()
        backend.socket.close()


async def test_what_a_program_outside_answers_is_waited_for() -> None:
    async with TestServer(outside_s=1) as server:
        bob = await program(server, Hello([1], "", "bob", "phone"))
        anna = await server.connect("anna", idle=None)

        def answer() -> None:
            bob.say(SetStatus(1, "dnd"))
            bob.hear(Done)
            bob.say(SetStatus(2, "auto"))

        await asyncio.to_thread(answer)
        await server.settle()
        assert server.statuses_of("bob") == ["online", "dnd", "online"]
        assert (await anna.get_status("bob")).status == "online"
        bob.socket.close()


async def test_failures_befall_links_over_sockets_too() -> None:
    async with TestServer(grace="5s") as server:
        anna = await program(server, Hello([1], "", "anna", "phone"))
        with server.fail("set_status", "forbidden"):
            anna.say(SetStatus(1, "dnd"))
            assert (await asyncio.to_thread(anna.hear, Error)).code == "forbidden"
        with server.freeze("anna"):
            anna.say(SetStatus(2, "dnd"))
            await asyncio.to_thread(lambda: None)
            await server.advance(1)
            assert await server.status_of("anna") == "online"
        await asyncio.to_thread(anna.hear, Done)
        await server.lose_link("anna", code="kicked")
        assert (await asyncio.to_thread(anna.hear, Goodbye)).code == "kicked"
        anna.socket.close()
        with server.refuse("busy"):
            other = await asyncio.to_thread(Program, server.port)
            other.say(Hello([1], "", "anna", "phone"))
            assert (await asyncio.to_thread(other.hear, Goodbye)).code == "busy"
            other.socket.close()
        port = server.port
        await server.kill()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(Program, port)
        server.start()
        again = await program(server, Hello([1], "", "anna", "phone"))
        assert server.port == port and await server.status_of("anna") == "dnd"
        again.socket.close()


async def test_a_client_with_a_websocket_lives_through_six_minutes_and_a_restart() -> None:
    async with TestServer(grace="5s", heartbeat="4m", outside_s=1, check=True) as server:
        address = server.http_url.replace("http://", "ws://") + "/ws"

        def use() -> list[str]:
            """In a thread: the program waits for what the test makes happen."""
            told: list[str] = []
            with contextlib.suppress(ConnectionClosedError), connect(address, subprotocols=JSON) as link:
                link.send(json.dumps([1, [1], "", "bob", "tab", "browser", "", 0, "online", 0]))
                for message in link:
                    kind, *fields = json.loads(message)
                    if kind == 64:
                        link.send(json.dumps([9, 1, ["anna"]]))
                    elif kind == 71:
                        told.append(fields[0][1])
                        # It answers what it is told; the test waits for that before time goes on.
                        link.send(json.dumps([5, 2, "dnd", f"sees {told[-1]}"]))
            return told

        anna = await server.connect("anna")
        program_ends = asyncio.create_task(asyncio.to_thread(use))
        while await server.status_of("bob") == "offline":
            await asyncio.sleep(0)
        await server.advance(minutes=6)
        assert await server.status_of("anna") == "away"
        assert (await server.record_of("bob")).text == "sees away"
        assert server.statuses_of("bob") == ["online", "away", "dnd"]
        assert server.history("bob")[2].at == server.history("anna")[1].at
        with pytest.raises(TestServerError, match="there are anna/laptop, bob/tab"):
            await server.lose_link("carl")
        await server.lose_link("bob")
        told = await program_ends
        assert told[-1] == "away" and await server.status_of("bob") == "dnd"
        await server.restart()
        assert server.http_url.replace("http://", "ws://") + "/ws" == address
        await server.until_connected(anna)

        def come_again() -> None:
            """In a thread, as before. A link that is not closed has a thread that speaks in later tests."""
            with connect(address, subprotocols=JSON):
                pass

        again = asyncio.create_task(asyncio.to_thread(come_again))
        while not again.done():
            await asyncio.sleep(0)
        await again


async def test_a_backend_that_asks_over_http_is_on_the_servers_time() -> None:
    async with TestServer(heartbeat="4m", outside_s=0.5) as server:
        url = server.http_url

        def post(name: str, **fields: Any) -> dict[str, Any]:
            headers = {"Content-Type": "application/json", "Presence-User": "backend"}
            asked = urllib.request.Request(f"{url}/v1/{name}", json.dumps(fields).encode(), headers)
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.loads(answer.read())  # type: ignore[no-any-return]

        await server.connect("anna")
        assert (await asyncio.to_thread(post, "get_status", users=["anna"]))["records"][0]["status"] == "online"
        await server.advance(minutes=6)
        record = (await asyncio.to_thread(post, "get_status", users=["anna"]))["records"][0]
        assert (record["status"], record["since_ms"]) == ("away", server.now_ms - 60_000)
        await server.kill()
        with pytest.raises(urllib.error.URLError):
            await asyncio.to_thread(post, "get_status", users=["anna"])
        server.start()
        assert (await asyncio.to_thread(post, "get_status", users=["anna"]))["records"][0]["status"] == "away"
