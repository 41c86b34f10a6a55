"""How many requests are on their way at a time, and that none runs out of time before it has left."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
import pytest

import presenced
from presenced.client.protocol.send_window import LEAST, SendWindow
from presenced.wire.messages import (
    AddActivity,
    ClientMessage,
    Done,
    Error,
    Get,
    Hello,
    ServerMessage,
    SetStatus,
)
from tests.client.fake_server import FakeServer, listening
from tests.client.helpers import running, url
from tests.support.until import PATIENCE_S, eventually


class Asked(NamedTuple):
    id: int


def window(units_per_s: int, wanted: frozenset[int] | None = None) -> SendWindow[Asked]:
    return SendWindow(units_per_s, lambda request: wanted is None or request.id in wanted)


def test_without_a_pace_nothing_waits() -> None:
    free = window(0)
    assert all(free.put([Asked(number)]) for number in range(10_000)) and not free.is_waiting


def test_half_a_second_of_the_pace_is_on_its_way() -> None:
    paced = window(50)
    left = sum(len(paced.put([Asked(number)])) for number in range(1_000))
    assert left == 25 and paced.is_waiting
    assert paced.take() == []
    paced.answered(0)
    paced.answered(7)
    assert paced.take() == [Asked(25), Asked(26)], "in the order in which they were put"
    assert sum(len(window(1).put([Asked(number)])) for number in range(100)) >= LEAST, "a slow pace is no standstill"


def test_what_belongs_together_leaves_together_even_if_it_is_more_than_fits() -> None:
    paced = window(50)
    paced.put([Asked(0)])
    assert paced.put([Asked(number) for number in range(1, 60)]) == ()
    assert paced.put([Asked(99)]) == (), "nothing overtakes"
    paced.answered(0)
    assert paced.take() == [Asked(number) for number in range(1, 60)]


def test_what_nobody_wants_any_more_is_not_sent() -> None:
    paced = window(2, frozenset({LEAST + 1}))
    for number in range(LEAST + 2):
        paced.put([Asked(number)])
    paced.answered(0)
    assert paced.take() == [Asked(LEAST + 1)]


@pytest.mark.slow
async def test_two_thousand_questions_at_once_are_all_answered() -> None:
    """At the real server's pace all of them take six seconds, and each may take four."""
    async with running(rate=200) as server:
        async with presenced.connect(url(server, "alice"), request_timeout_s=4.0) as me:
            answers = await asyncio.gather(*[me.get_status("bob") for _ in range(2_000)], return_exceptions=True)
            assert me.welcome.rate_units_per_s == 200
        assert not [answer for answer in answers if isinstance(answer, BaseException)]


@pytest.fixture
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


class Holding(FakeServer):
    """Answers hello, and other requests when a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.welcome = msgspec.structs.replace(self.welcome, rate_units_per_s=50)
        self.answer = lambda message: self.plainly(message) if isinstance(message, Hello) else []

    def let(self, message: ClientMessage) -> None:
        replies: list[ServerMessage] = self.plainly(message)
        if isinstance(message, AddActivity):
            replies = [Done(message.id, 1)]
        self.link.send(*replies)


async def test_time_runs_from_the_moment_at_which_a_request_leaves() -> None:
    async with listening(Holding()) as server:
        async with presenced.connect(server.url(), request_timeout_s=0.5) as me:
            asked = [asyncio.ensure_future(me.get_status(f"u{number}")) for number in range(26)]
            await server.until(lambda: len(server.of(Get)) == 25)
            done, _ = await asyncio.wait(asked[:25])
            assert {type(one.exception()) for one in done} == {presenced.RequestTimeout}
            assert not asked[25].done(), "it has not left"
            server.let(server.of(Get)[0])
            await server.until(lambda: len(server.of(Get)) == 26)
            server.let(server.of(Get)[25])
            assert (await asked[25]).user == "u25"


async def test_what_has_not_left_is_sent_on_the_next_link_even_if_it_must_not_be_sent_twice(quick_return: None) -> None:
    async with listening(Holding()) as server:
        async with presenced.connect(server.url()) as me:
            recorded = [asyncio.ensure_future(me.record_activity(f"a{number}")) for number in range(30)]
            await server.until(lambda: len(server.of(AddActivity)) == 25)
            server.answer = lambda message: (
                [Done(message.id, 1)] if isinstance(message, AddActivity) else server.plainly(message)
            )
            server.link.drop()
            async with asyncio.timeout(PATIENCE_S):
                outcomes = await asyncio.gather(*recorded, return_exceptions=True)
        lost = [number for number, outcome in enumerate(outcomes) if outcome is not None]
        assert lost == list(range(25)), "those may have been applied"
        assert [message.activity for message in server.of(AddActivity)[25:]] == [
            f"a{number}" for number in range(25, 30)
        ]


async def test_without_a_link_time_runs_from_its_loss(quick_return: None) -> None:
    async with listening(Holding()) as server:
        async with presenced.connect(server.url(), request_timeout_s=0.3) as me:
            waiting = [asyncio.ensure_future(me.get_status(f"u{number}")) for number in range(30)]
            await server.until(lambda: len(server.of(Get)) == 25)
            server.answer = lambda message: []
            server.link.drop()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} <= {presenced.ConnectionLost, presenced.RequestTimeout}
            assert me.state == "connecting"


async def test_a_question_that_nobody_waits_for_is_not_asked_and_a_statement_is() -> None:
    async with listening(Holding()) as server:
        async with presenced.connect(server.url()) as me:
            first = [asyncio.ensure_future(me.get_status(f"u{number}")) for number in range(25)]
            late = [asyncio.ensure_future(me.get_status("late")), asyncio.ensure_future(me.set_status("dnd"))]
            await server.until(lambda: len(server.of(Get)) == 25)
            for one in late:
                one.cancel()
            await asyncio.wait(late)
            server.link.send(Error(server.of(Get)[0].id, "read_only", "no"))
            await server.until(lambda: server.of(SetStatus))
            assert len(server.of(Get)) == 25
            for one in first:
                one.cancel()
            await eventually(lambda: all(one.done() for one in first))
            assert isinstance(first[0].exception(), presenced.RequestError)
