"""A chat with "last seen", tested as its author would: over hours and days, lost networks and restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from presenced.testing import TestServer
from tests.testing_package.applications.chat import Chat


@asynccontextmanager
async def chat_on(server: TestServer, **options: Any) -> AsyncIterator[Chat]:
    chat = await Chat.open(server.url_of("chat"), **options)
    try:
        yield chat
    finally:
        await chat.close()


async def test_last_seen_counts_minutes_hours_and_days() -> None:
    async with TestServer(heartbeat="4m") as server, chat_on(server) as chat:
        assert await chat.last_seen("anna") == "never seen"
        await chat.page_opened("anna", "tab")
        assert await chat.last_seen("anna") == "online"
        await server.advance(minutes=5)
        assert await chat.last_seen("anna") == "away"
        chat.key_pressed("anna", "tab")
        await server.settle()
        assert await chat.last_seen("anna") == "online"
        await chat.page_closed("anna", "tab")
        assert await chat.last_seen("anna") == "last seen just now"
        for length, words in (("1m", "1 minute"), ("9m", "10 minutes"), ("50m", "1 hour"), ("2d", "2 days")):
            await server.advance(length)
            assert await chat.last_seen("anna") == f"last seen {words} ago"


async def test_whoever_types_stops_typing_by_the_applications_own_timer() -> None:
    async with TestServer() as server, chat_on(server) as chat:
        await chat.page_opened("anna", "tab")
        chat.key_pressed("anna", "tab")
        await server.advance(5)
        chat.key_pressed("anna", "tab")
        await server.advance(5.999)
        assert "anna" in chat.typing
        await server.advance(0.001)
        assert "anna" not in chat.typing


async def test_messages_wait_for_who_is_away() -> None:
    async with TestServer() as server, chat_on(server) as chat:
        await chat.page_opened("anna", "tab")
        assert await chat.send("anna", "hello") == "delivered"
        await server.advance(minutes=5)
        assert await chat.send("anna", "are you there?") == "waiting"
        assert await chat.send("bob", "and you?") == "waiting"
        chat.key_pressed("anna", "tab")
        await chat.page_opened("bob", "tab")
        await server.settle()
        assert chat.delivered == {"anna": ["hello", "are you there?"], "bob": ["and you?"]}


async def test_a_page_that_is_reloaded_is_seen_by_nobody() -> None:
    async with TestServer(grace="15s") as server, chat_on(server) as chat:
        await chat.page_opened("anna", "tab")
        await chat.page_closed("anna", "tab", lost=True)
        await server.advance(10)
        await chat.page_opened("anna", "tab")
        await server.advance("1m")
        assert server.statuses_of("anna") == ["online"]
        await chat.page_closed("anna", "tab", lost=True)
        await server.advance("15s")
        assert server.history("anna")[-1][2:] == ("offline", "lost")


async def test_the_chat_survives_its_network_and_the_server() -> None:
    async with TestServer() as server, chat_on(server) as chat:
        await chat.page_opened("anna", "tab")
        await server.lose_link("chat")
        await server.until_connected(chat.presence)
        with server.freeze("chat"):
            await server.advance("40s")
        await server.advance("1m")
        await server.kill()
        await server.advance(3)
        server.start()
        await server.until_connected(chat.presence)
        await server.restart(down="5s")
        await server.until_connected(chat.presence)
        await server.advance("30s")
        assert server.statuses_of("anna") == ["online"]
        await server.advance("5m")
        assert await chat.last_seen("anna") == "away"
        assert await chat.send("anna", "hello") == "waiting"
        chat.key_pressed("anna", "tab")
        await server.settle()
        assert chat.delivered["anna"] == ["hello"]


async def test_tokens_of_the_chat_are_made_anew() -> None:
    async with TestServer(tokens=True) as server:
        made: list[datetime] = []

        def token() -> str:
            made.append(server.now)
            return server.token("chat", "service", expires_in="15m")

        async with chat_on(server, token=token) as chat:
            await chat.page_opened("anna", "tab")
            await server.advance("1h")
            assert len(made) >= 4 and chat.presence.state == "connected"
            with server.refuse("bad_token"):
                await server.lose_link("chat")
                await server.advance("1m")
                assert chat.presence.state == "connecting"
            await server.until_connected(chat.presence)


async def test_the_line_between_two_days() -> None:
    async with TestServer(now=datetime(2026, 3, 31, 23, 59, tzinfo=UTC)) as server, chat_on(server) as chat:
        assert chat.midnight() == datetime(2026, 3, 31, tzinfo=UTC)
        await server.advance("2m")
        assert chat.midnight() == datetime(2026, 4, 1, tzinfo=UTC)
