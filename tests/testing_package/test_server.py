"""`TestServer`: time that the test moves, the same in each run, and nothing left behind."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import presenced
from presenced.config.settings import SettingsError
from presenced.testing import StandstillError, TestServer, TestServerError

START = datetime(2026, 1, 5, 9, tzinfo=UTC)


async def test_after_five_minutes_without_input_she_is_away_to_the_millisecond() -> None:
    async with TestServer(check=True) as server:
        anna = await server.connect("anna")
        await server.advance(minutes=4, seconds=59.999)
        assert await server.status_of("anna") == "online"
        await server.advance(0.001)
        assert await server.status_of("anna") == "away"
        anna.active()
        assert await server.status_of("anna") == "online"
        assert server.now == START + timedelta(minutes=5)


async def test_six_minutes_take_a_few_steps_and_no_time() -> None:
    async with TestServer() as server:
        await server.connect("anna")
        await server.connect("bob")
        before_s, steps = time.process_time(), server._clock.steps
        await server.advance(minutes=6)
        assert server._clock.steps - steps < 100, "a step for each heartbeat and deadline, and not for each millisecond"
        assert time.process_time() - before_s < 1


async def test_everything_on_the_loop_goes_off_in_its_turn() -> None:
    seen: list[tuple[float, str]] = []
    async with TestServer() as server:
        await server.connect("anna")
        begun_ms = server.now_ms

        def note(what: str) -> None:
            seen.append(((server.now_ms - begun_ms) / 1000, what))

        async def application() -> None:
            await asyncio.sleep(299)
            note("the application's own timer")
            async with asyncio.timeout(2):
                await bob.await_status("anna", statuses=["away"], timeout=60)
            note("anna is away")
            await asyncio.sleep(1)
            note("another timer, which began then")

        bob = await server.connect("bob", idle=None)
        asyncio.get_running_loop().call_later(300.5, note, "half a second later")
        task = asyncio.create_task(application())
        await server.advance("10m")
        assert task.done()
    assert seen == [
        (299, "the application's own timer"),
        (300, "anna is away"),
        (300.5, "half a second later"),
        (301, "another timer, which began then"),
    ]


async def trace() -> list[Any]:
    """What a watcher sees and clients go through while links are lost and the server is stopped and killed."""
    seen: list[Any] = []
    async with TestServer(grace="5s", seed=7) as server:
        clients = [await server.connect(name, kind="desktop") for name in ("anna", "bob", "carl")]
        for client in clients:
            client.on_state(lambda state, reason, of=client: seen.append((server.now_ms, of.user, state)))  # type: ignore[misc]
        watcher = await server.connect_service()

        async def watch() -> None:
            async for change in watcher.watch_all():
                seen.append((server.now_ms, change.kind, change.new))

        task = asyncio.create_task(watch())
        await server.advance(minutes=3)
        await server.lose_link("anna")
        await server.advance(minutes=4)
        await server.restart(down="2s")
        await server.advance(minutes=1)
        await server.kill()
        await server.advance(20)
        server.start()
        clients[1].active()
        await server.advance(hours=2)
        seen += [server.history(client.user) for client in clients]
        task.cancel()
    return seen


async def test_two_runs_of_a_test_are_alike() -> None:
    first = await trace()
    assert len(first) > 30
    assert await trace() == first


async def test_another_seed_throws_other_dice() -> None:
    async def comes_back(seed: int) -> int:
        async with TestServer(seed=seed) as server:
            anna = await server.connect("anna")
            await server.lose_link(anna)
            await server.until_connected(anna)
            return server.now_ms

    assert len({await comes_back(seed) for seed in range(5)}) > 1


async def test_two_servers_side_by_side_share_the_clock_and_nothing_else() -> None:
    async with TestServer(away_after="1m") as first, TestServer(away_after="1h") as second:
        anna, other = await first.connect("anna"), await second.connect("anna")
        await first.advance(minutes=10)
        assert (await first.status_of("anna"), await second.status_of("anna")) == ("away", "online")
        assert first.now == second.now == START + timedelta(minutes=10)
        await second.kill()
        assert (anna.state, other.state) == ("connected", "connecting")
        assert first.url != second.url
    async with TestServer(now=datetime(2030, 6, 1, tzinfo=UTC)) as third, TestServer() as fourth:
        assert (third.now.year, fourth.now.year) == (2030, 2026)


async def test_an_application_that_is_given_an_address_is_on_the_same_clock() -> None:
    async with TestServer() as server:
        anna = await presenced.connect(server.url_of("anna", "laptop"), idle=0)
        async with presenced.connect_service(server.url_of("backend")) as backend:
            await server.advance(minutes=5)
            assert (await backend.get_status("anna")).status == "away"
        await anna.close()
        assert [change.reason for change in server.history("anna")] == ["", "", "bye"]


async def test_what_needs_no_time_happens_while_the_test_awaits() -> None:
    async with TestServer() as server:
        anna, bob = await server.connect("anna"), await server.connect("bob")
        async with bob.watch("anna") as watch:
            assert (await anext(watch)).new.status == "online"
            await anna.set_status("dnd", text="busy", until=60)
            assert (await anext(watch)).new.text == "busy"
            await server.advance(60)
            assert (await anext(watch)).new.status == "online"
        assert server.now == START + timedelta(minutes=1)


async def test_what_a_user_has_shown_is_there_to_compare() -> None:
    async with TestServer(grace="10s") as server:
        async with server.connect("anna") as anna:
            await server.advance(minutes=5)
            await anna.set_status("dnd")
        await server.settle()
        assert [(change.new, change.reason) for change in server.history("anna")] == [
            ("online", ""),
            ("away", ""),
            ("dnd", ""),
            ("offline", "bye"),
        ]
        assert server.history("anna")[1].at == START + timedelta(minutes=5)
        assert server.history("nobody") == []
        assert (await server.record_of("nobody")).since_ms == 0
        assert (await server.record_of("anna")).last_seen_ms == server.now_ms


async def test_a_long_history_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.testing.history.EVENTS_MAX", 7)
    async with TestServer(change_spacing=0) as server:
        anna = await server.connect("anna", idle=None)
        for _ in range(100):
            await anna.set_status("dnd")
            await anna.set_status("online")
        assert len(server.history("anna")) == 201


async def test_until_goes_no_further_than_it_must() -> None:
    async with TestServer() as server:
        await server.connect("anna")
        engine = server._running().server.engine
        await server.until(lambda: engine.users["anna"].record.status == "away")
        assert server.now == START + timedelta(minutes=5)
        with pytest.raises(AssertionError, match="within 10s"):
            await server.until(lambda: False, within="10s")
        assert server.now == START + timedelta(minutes=5, seconds=10)
        with pytest.raises(ZeroDivisionError):
            await server.until(lambda: 1 / 0)
        await server.advance_to(START + timedelta(hours=1))
        assert server.now == START + timedelta(hours=1)


async def test_a_day_of_a_schedule_with_its_zone() -> None:
    async with TestServer(now=datetime(2026, 7, 7, 5, 59, tzinfo=UTC)) as server:
        anna = await server.connect("anna", idle=None)
        await anna.set_schedule("Europe/Berlin", [("mon-fri", "18:00", "08:00")])
        await server.advance(hours=11)
        told = [(change.at.hour, change.new) for change in server.history("anna")]
    assert told == [(5, "online"), (5, "dnd"), (6, "online"), (16, "dnd")]


async def test_tokens_end_and_are_renewed_by_the_servers_clock() -> None:
    async with TestServer(tokens=True) as server:
        with pytest.raises(presenced.AuthError, match="no token"):
            await server.connect("anna", token="")
        anna = await server.connect("anna", token=server.token("anna", expires_in="1h"))
        asked: list[datetime] = []

        def token() -> str:
            asked.append(server.now)
            return server.token("bob", expires_in="1h")

        bob = await server.connect("bob", idle=None, token=token)
        service = await server.connect_service()
        await server.advance("3h")
        assert anna.state == "closed" and anna.reason is not None and anna.reason.code == "token_expired"
        assert bob.state == "connected" and len(asked) >= 3
        assert (await service.get_status("bob")).status != "offline"
        with pytest.raises(presenced.RequestError, match="act"):
            narrow = await server.connect_service(
                "narrow", token=server.token("narrow", "service", presence={"act": ["carl"]})
            )
            await narrow.attach("anna", "web")


async def test_nothing_is_left_behind() -> None:
    loop = asyncio.get_running_loop()
    before, began_s = asyncio.all_tasks(), loop.time()
    fired: list[float] = []
    loop.call_later(0.01, lambda: fired.append(loop.time()))
    selector = loop._selector  # type: ignore[attr-defined]
    async with TestServer() as server:
        service = await server.connect_service()
        await service.attach("anna", "web")
        service.on("offline", lambda event: None)
        await server.connect("bob", contacts=True)
        assert server.port
        await server.advance(hours=1)
        assert fired, "what was planned before goes by the virtual clock meanwhile"
        loop.call_later(0.02, lambda: fired.append(loop.time()))
    assert asyncio.all_tasks() == before
    assert loop._selector is selector  # type: ignore[attr-defined]
    assert "time" not in vars(loop) and "create_connection" not in vars(loop)
    assert service.state == "closed"
    assert loop.time() - began_s < 60
    await asyncio.sleep(0.03)
    assert len(fired) == 2 and fired[1] - began_s < 60


async def test_the_test_is_told_if_everybody_waits_for_a_clock_that_stands_still() -> None:
    with pytest.raises(StandstillError, match=r"the next timer is due in 0\.5 s.*advance") as caught:
        async with TestServer(patience_s=0.05):
            await asyncio.sleep(0.5)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()
    async with TestServer(patience_s=0.5) as server:
        anna = await server.connect("anna", idle=None)
        # The clock may be far behind real time, as long as somebody has something to do.
        await asyncio.to_thread(time.sleep, 0.7)
        await server.advance(1)
        assert anna.state == "connected"


async def test_somebody_who_cancels_the_test_is_not_mistaken_for_a_standstill() -> None:
    async def test() -> None:
        async with TestServer() as server:
            await server.connect("anna")
            await asyncio.Event().wait()

    task = asyncio.create_task(test())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_time_passes_while_a_thread_works() -> None:
    async with TestServer() as server:
        began = server.now

        async def application() -> None:
            await asyncio.sleep(10)
            await asyncio.to_thread(time.sleep, 0.05)
            assert server.now == began + timedelta(seconds=10)

        task = asyncio.create_task(application())
        await server.advance(60)
        await task


async def test_what_is_busy_without_end_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.testing.clock.PASSES_MAX", 1_000)

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async with TestServer() as server:
        task = asyncio.create_task(spin())
        with pytest.raises(StandstillError, match="ready again in each of 1,000 passes"):
            await server.advance(1)
        task.cancel()


async def test_what_cannot_work_is_said() -> None:
    new = TestServer()
    for use in (lambda: new.connect("anna"), lambda: new.now, lambda: new.url, lambda: new.freeze("anna")):
        with pytest.raises(TestServerError, match="not open yet"):
            use()
    async with new as server:
        with pytest.raises(TestServerError, match="only goes forward"):
            await server.advance(minutes=-1)
        with pytest.raises(TestServerError, match="not negative"):
            await server.advance(-1)
        with pytest.raises(TestServerError, match="no unit"):
            await server.advance("5")
        with pytest.raises(TestServerError, match="only goes forward"):
            await server.advance_to(START - timedelta(seconds=1))
        with pytest.raises(TestServerError, match="runs already"):
            server.start()
        with pytest.raises(TestServerError, match="is open; make another"):
            server.open()
        advancing = asyncio.create_task(server.advance(minutes=1))
        await asyncio.sleep(0)
        with pytest.raises(TestServerError, match="another task is moving the clock"):
            await server.advance(1)
        await advancing
        await server.stop()
        with pytest.raises(TestServerError, match="not running"):
            await server.status_of("anna")
        with pytest.raises(presenced.ConnectionLost, match="cannot reach"):
            await server.connect("anna")
        connecting = server.connect("anna")
    with pytest.raises(TestServerError, match="is closed"):
        await server.advance(1)
    with pytest.raises(TestServerError, match="is closed"):
        await connecting
    with pytest.raises(TestServerError, match="is closed; make another one"):
        async with server:
            pass
    await server.close()
    with pytest.raises(TestServerError, match="did you mean away_after"):
        TestServer(awy_after=5)
    with pytest.raises(TestServerError, match="time zone"):
        TestServer(now=datetime(2026, 1, 1))
    with pytest.raises(SettingsError, match="grounds"):
        TestServer(grounds=["nobody"])
    with pytest.raises(SettingsError, match="would be away from 5m after each heartbeat"):
        TestServer(heartbeat="5m")
    with pytest.raises(TestServerError, match="seconds, a timedelta"):
        TestServer(grace=None)


def test_a_loop_whose_clock_cannot_be_moved_is_refused() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def use() -> None:
        async with TestServer():
            pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with pytest.raises(TestServerError, match=r"clock of uvloop\.Loop cannot be moved"):
            runner.run(use())


def test_a_program_without_a_loop_is_told_what_there_is_for_it() -> None:
    with pytest.raises(TestServerError, match="no asyncio loop runs here.*BlockingTestServer"):
        TestServer().open()


async def test_a_turn_that_fails_fails_the_test() -> None:
    async with TestServer() as server:
        await server.connect("anna")
        server._running().server.pacing.fail(ZeroDivisionError("made up"))
        server._running()._failed(ZeroDivisionError("made up"))
        with pytest.raises(ZeroDivisionError, match="made up"):
            await server.advance(1)
        server._running().failure = None


async def test_its_own_sentences_do_not_leave_out_who_it_is() -> None:
    server = TestServer()
    assert repr(server) == "<TestServer, new>"
    async with server:
        assert repr(server) == "<TestServer at 2026-01-05 09:00:00 UTC, running>"
    assert repr(server) == "<TestServer, closed>"
