"""Several daemons at one address: the system deals out the connections among those that are ready."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from presenced.config import Settings, rules
from presenced.config.cluster_rules import sharing_needs_cluster
from presenced.ops.operations import Operations
from presenced.server.listeners import CannotListen
from presenced.server.server import Server

TRIES = 64


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """These daemons share no more than their address."""
    rules_left = tuple(rule for rule in rules.RULES if rule.broken is not sharing_needs_cluster)
    monkeypatch.setattr(rules, "RULES", rules_left)


def settings(port: int = 0, http: int = 0, *, is_shared: bool = True) -> Settings:
    return Settings(
        dev=True,
        listen=f"127.0.0.1:{port}",
        listen_shared=is_shared,
        http=f"127.0.0.1:{http}",
        http_own="127.0.0.1:0",
        drain_spread_ms=0,
        drain_timeout_ms=0,
    )


@asynccontextmanager
async def started(chosen: Settings) -> AsyncIterator[tuple[Server, Operations]]:
    server = Server(chosen)
    operations = Operations(server)
    await server.start(operations)
    try:
        yield server, operations
    finally:
        await server.stop()


async def knock(port: int) -> None:
    """Connect, and wait until a daemon has taken the connection: it speaks HTTP, or ends what says no hello."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert await reader.read(1)
    writer.close()


async def test_clients_are_dealt_out_among_two_and_go_to_the_one_that_is_left() -> None:
    async with started(settings()) as (first, _):
        async with started(settings(first.port)) as (second, _):
            assert second.port == first.port
            for _ in range(TRIES):
                await knock(first.port)
            assert first.stats.accepted + second.stats.accepted == TRIES
            assert first.stats.accepted and second.stats.accepted
        taken = first.stats.accepted
        for _ in range(TRIES):
            await knock(first.port)
        assert first.stats.accepted == taken + TRIES


async def test_who_does_not_share_takes_the_address_from_nobody() -> None:
    async with started(settings()) as (first, _):
        with pytest.raises(CannotListen):
            async with started(settings(first.port, is_shared=False)):
                raise AssertionError
    async with started(settings(is_shared=False)) as (alone, _):
        with pytest.raises(CannotListen):
            async with started(settings(alone.port)):
                raise AssertionError


async def test_http_is_shared_from_when_a_daemon_is_ready_until_it_drains() -> None:
    async with started(settings()) as (_, operations):
        assert operations.http is not None
        port = operations.http.port
        second = Operations(Server(settings(http=port)))
        await second.open()
        assert second.http is not None and second.http.port == port
        served: list[str] = []
        for each, name in ((operations, "first"), (second, "second")):
            assert each.http is not None
            for door in each.http.doors:
                _note(door, name, served)
        for _ in range(TRIES):
            await knock(port)
        assert set(served) == {"first"}, "one that is not ready was sent somebody"
        second.http.share()
        served.clear()
        for _ in range(TRIES):
            await knock(port)
        assert set(served) == {"first", "second"}
        second.http.stop_sharing()
        served.clear()
        for _ in range(TRIES):
            await knock(port)
        assert set(served) == {"first"}
        await second.close()


def _note(door: object, name: str, served: list[str]) -> None:
    inner = door.open  # type: ignore[attr-defined]

    def noted(call: object) -> None:
        served.append(name)
        inner(call)

    door.open = noted  # type: ignore[attr-defined]


async def test_each_has_an_address_of_its_own() -> None:
    async with started(settings()) as (first, operations):
        async with started(settings(first.port, operations.http.port if operations.http else 0)) as (second, _):
            urls = [[url for url in each.listeners if url.startswith("http")] for each in (first, second)]
            assert urls[0][0] == urls[1][0]
            assert len({url for both in urls for url in both}) == 3
            for url in (urls[0][1], urls[1][1]):
                await knock(int(url.rpartition(":")[2]))


async def test_what_was_claimed_and_never_shared_is_given_back() -> None:
    operations = Operations(Server(settings()))
    await operations.open()
    assert operations.http is not None
    port = operations.http.port
    await operations.close()
    with socket.socket() as another:
        another.bind(("127.0.0.1", port))
