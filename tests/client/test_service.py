"""Each call of a service against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import presenced
from presenced import Attachment, RequestError, Schedule
from presenced.errors import AddressError
from presenced.server.server import Server
from tests.client.helpers import attachments_of, has_nothing, running, service, session_of, take, url
from tests.support.until import eventually


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


@pytest.fixture
async def p(server: Server) -> AsyncIterator[presenced.Service]:
    async with service(server) as p:
        yield p


class TestStatus:
    async def test_of_one_and_of_many(self, p: presenced.Service) -> None:
        await p.attach("u1", "web", kind="browser")
        assert (await p.get_status("u1")).status == "online"
        statuses = await p.get_statuses(["u1", "nobody"])
        assert [(user, record.status) for user, record in statuses.items()] == [("u1", "online"), ("nobody", "offline")]

    async def test_set_and_end(self, p: presenced.Service) -> None:
        await p.attach("u1", "web")
        await p.set_status("u1", "dnd", text="busy", emoji="\U0001f3a7")
        record = await p.get_status("u1")
        assert (record.status, record.text, record.emoji) == ("dnd", "busy", "\U0001f3a7")
        await p.set_status("u1", "auto")
        record = await p.get_status("u1")
        assert (record.status, record.text) == ("online", "busy"), "text is independent of the status"

    async def test_it_ends_when_it_was_said_to(self, p: presenced.Service) -> None:
        await p.attach("u1", "web")
        async with p.watch("u1") as watch:
            await take(watch, 1)
            await p.set_status("u1", "dnd", until=0.05)
            assert [change.new.status for change in await take(watch, 2)] == ["dnd", "online"]

    async def test_text_is_set_and_cleared(self, p: presenced.Service) -> None:
        await p.set_text("u1", "lunch", emoji="\U0001f334", until=timedelta(hours=1))
        record = await p.get_status("u1")
        assert (record.status, record.text, record.emoji) == ("offline", "lunch", "\U0001f334")
        await p.clear_text("u1")
        record = await p.get_status("u1")
        assert (record.text, record.emoji) == ("", "")

    async def test_said_on_a_device_it_is_input_there(self, p: presenced.Service) -> None:
        await p.attach("u1", "web", idle=400)
        assert (await p.get_devices("u1"))[0].status == "away"
        await p.set_status("u1", "auto", device="web")
        assert (await p.get_devices("u1"))[0].status == "online"

    async def test_touch_moves_last_seen_alone(self, p: presenced.Service) -> None:
        await p.touch("u1")
        record = await p.get_status("u1")
        assert (record.status, record.last_seen_ms > 0) == ("offline", True)
        await p.attach("u1", "web")
        before = (await p.get_devices("u1"))[0].last_seen_ms
        await eventually(lambda: p.server_time_ms > before + 5)
        await p.touch("u1", "web")
        assert (await p.get_devices("u1"))[0].last_seen_ms > before


class TestDevices:
    async def test_come_as_they_describe_themselves(self, p: presenced.Service) -> None:
        await p.attach("u1", "web", kind="browser", name="Firefox", priority=5, status="chat")
        (info,) = await p.get_devices("u1")
        assert (info.device, info.kind, info.name, info.priority) == ("web", "browser", "Firefox", 5)
        assert (info.status, info.state, info.primary) == ("chat", "connected", True)
        assert p.attached == [("u1", "web")]

    async def test_leave_with_and_without_grace(self, p: presenced.Service) -> None:
        await p.attach_many([("u1", "web"), ("u2", "web")])
        await p.detach("u1", "web")
        await p.detach("u2", "web", lost=True)
        assert [(await p.get_devices(user))[0].state for user in ("u1", "u2")] == ["gone", "grace"]
        assert p.attached == [] and not attachments_of(p)._by_ref
        with pytest.raises(RequestError, match="u1/web is not attached by this client") as caught:
            await p.detach("u1", "web")
        assert caught.value.code == "no_such_device"

    async def test_attaching_again_changes_what_it_is(self, p: presenced.Service) -> None:
        await p.attach("u1", "web", name="old")
        await p.attach("u1", "web", name="new", status="dnd")
        (info,) = await p.get_devices("u1")
        assert (info.name, info.status, info.state) == ("new", "dnd", "connected")

    async def test_status_name_and_priority_can_be_set(self, p: presenced.Service) -> None:
        await p.attach("u1", "web")
        await p.set_device_status("u1", "web", "dnd")
        await p.rename_device("u1", "web", "Work")
        await p.set_device("u1", "web", priority=-1)
        (info,) = await p.get_devices("u1")
        assert (info.name, info.priority) == ("Work", -1)
        assert (await p.get_status("u1")).status == "offline", "a negative priority never makes a user available"
        held = attachments_of(p).get("u1", "web")
        assert (held.status, held.name, held.priority) == ("dnd", "Work", -1)

    async def test_one_that_is_gone_can_be_forgotten(self, p: presenced.Service) -> None:
        await p.attach("u1", "web")
        with pytest.raises(RequestError, match="is live"):
            await p.forget_device("u1", "web")
        await p.detach("u1", "web")
        await p.forget_device("u1", "web")
        assert await p.get_devices("u1") == []

    async def test_too_many_are_refused_one_by_one(self, p: presenced.Service) -> None:
        devices = [Attachment("u1", f"d{number}", "browser") for number in range(17)]
        refused = await p.attach_many(devices)
        assert {names: error.code for names, error in refused.items()} == {("u1", "d16"): "device_limit"}
        assert len(p.attached) == 16
        with pytest.raises(RequestError, match="live devices"):
            await p.attach("u1", "d16")
        assert len(p.attached) == len(attachments_of(p)._by_ref) == 16

    async def test_idleness_is_told_at_once_when_it_matters(self, p: presenced.Service) -> None:
        async with p.watch("u1") as watch:
            await p.attach("u1", "web")
            p.idle("u1", "web", timedelta(minutes=6))
            await eventually(lambda: watch.records["u1"].status == "away")
            p.active("u1", "web")
            await eventually(lambda: watch.records["u1"].status == "online")
        with pytest.raises(RequestError):
            p.active("u1", "phone")

    async def test_heartbeats_without_reports_keep_alive_and_claim_no_input(self) -> None:
        """Else each device would always be the one used last, and what is done on one would not make it primary."""
        async with running(heartbeat_ms=50) as server, service(server) as p:
            await p.attach_many([("u1", "web"), ("u1", "phone")])
            await p.record_activity("u1", "message", device="phone")
            before = {info.device: info.last_active_ms for info in await p.get_devices("u1")}
            ends_ms = p.server_time_ms + 4 * p.welcome.timeout_ms
            await eventually(lambda: p.server_time_ms > ends_ms)
            devices = await p.get_devices("u1")
            moved_ms = [info.last_active_ms - before[info.device] for info in devices]
            assert max(moved_ms) < p.welcome.timeout_ms, "not exactly 0: the wall clock is read anew now and then"
            assert [info.state for info in devices] == ["connected", "connected"]
            p.active("u1", "web")
            await p.ping()
            assert (await p.get_devices("u1"))[0].last_active_ms > before["web"]


class TestClaims:
    async def test_are_stacked_by_rank(self, p: presenced.Service) -> None:
        await p.attach("u1", "web")
        await p.add_claim("u1", "standup", "calendar", "away", until=timedelta(minutes=30))
        await p.add_claim("u1", "call-7", "call", "dnd", until=datetime.now(UTC) + timedelta(hours=1))
        assert [(claim.claim, claim.source) for claim in await p.get_claims("u1")] == [
            ("call-7", "call"),
            ("standup", "calendar"),
        ]
        ends_ms = [claim.until_ms - p.server_time_ms for claim in await p.get_claims("u1")]
        assert 3_500_000 < ends_ms[0] <= 3_601_000 and 1_700_000 < ends_ms[1] <= 1_801_000
        assert (await p.get_status("u1")).status == "dnd"
        await p.end_claim("u1", "call-7")
        assert (await p.get_status("u1")).status == "away"
        await p.end_claim("u1", "call-7")

    async def test_what_cannot_be_is_refused(self, p: presenced.Service) -> None:
        past = datetime.now(UTC) - timedelta(minutes=1)
        with pytest.raises(RequestError) as caught:
            await p.add_claim("u1", "call-7", "call", "dnd", until=past)
        assert caught.value.code == "claim_past"
        attempts: list[Any] = [
            lambda: p.add_claim("u1", "call-7", "whim", "dnd"),  # type: ignore[arg-type]
            lambda: p.add_claim("u1", "call-7", "call", "auto"),  # type: ignore[arg-type]
            lambda: p.add_claim("u1", "call-7", "call", "dnd", until=-1),
            lambda: p.add_claim("u1", "call-7", "call", "dnd", until=datetime.now()),
            lambda: p.add_claim("u1", "a b", "call", "dnd"),
        ]
        for attempt in attempts:
            with pytest.raises(AddressError):
                await attempt()
        assert await p.get_claims("u1") == []

    async def test_a_schedule_is_set_read_and_cleared(self, p: presenced.Service) -> None:
        assert await p.get_schedule("u1") is None
        await p.attach("u1", "web")
        await p.set_schedule("u1", "Europe/Berlin", [("mon-fri", "18:00", "08:00")])
        assert await p.get_schedule("u1") == Schedule("Europe/Berlin", [("mon-fri", "18:00", "08:00")], "dnd")
        await p.set_schedule("u1", "UTC", [("mon-sun", "00:00", "24:00")], status="away")
        assert (await p.get_status("u1")).status == "away"
        await p.clear_schedule("u1")
        assert await p.get_schedule("u1") is None and (await p.get_status("u1")).status == "online"
        with pytest.raises(RequestError) as caught:
            await p.set_schedule("u1", "Europe/Nowhere", [("mon", "18:00", "08:00")])
        assert caught.value.code == "bad_schedule"


class TestActivity:
    async def test_newest_first_by_limit_and_since(self, p: presenced.Service) -> None:
        await p.attach("u1", "phone")
        await p.record_activity("u1", "login", at=timedelta(hours=2))
        await p.record_activity("u1", "message", channel="general", device="phone", payload='{"id": 7}')
        await p.record_activity("u1", "edit", at=datetime.now(UTC) - timedelta(hours=1))
        found = await p.get_activity("u1")
        assert [done.activity for done in found] == ["message", "edit", "login"]
        assert (found[0].channel, found[0].device, found[0].payload) == ("general", "phone", '{"id": 7}')
        assert [done.activity for done in await p.get_activity("u1", limit=1)] == ["message"]
        since = timedelta(minutes=90)
        assert [done.activity for done in await p.get_activity("u1", since=since)] == ["message", "edit"]

    async def test_what_cannot_be_is_refused(self, p: presenced.Service) -> None:
        attempts: list[Any] = [
            lambda: p.record_activity("u1", ""),
            lambda: p.record_activity("u1", "message", payload="x" * 1025),
            lambda: p.record_activity("u1", "message", at=5),  # type: ignore[arg-type]
            lambda: p.record_activity("u1", "message", at=datetime.now()),
            lambda: p.record_activity("u1", "message", at=timedelta(days=31)),
            lambda: p.record_activity("u1", "message", device="phone"),
            lambda: p.record_activity("u1", "message", channel="a b"),
            lambda: p.get_activity("u1", limit=0),
        ]
        codes = []
        for attempt in attempts:
            with pytest.raises(presenced.PresenceError) as caught:
                await attempt()
            codes.append(caught.value.code)
        assert codes[-4:] == ["bad_time", "no_such_device", "bad_channel", "bad_request"]
        assert await p.get_activity("u1") == []


class TestChannels:
    async def test_members_counts_and_pages(self, p: presenced.Service) -> None:
        names = [f"u{number:03}" for number in range(300)]
        assert await p.attach_many((name, "web") for name in names) == {}
        await asyncio.gather(*[p.join(name, "web", "general") for name in names[:280]])
        assert [record.user for record in await p.get_online_users()] == names
        assert [record.user for record in await p.get_online_users(channel="general")] == names[:280]
        assert [record.user async for record in p.online_users("general")] == names[:280]
        assert (await p.count_online(), await p.count_online("general"), await p.count_online("empty")) == (300, 280, 0)
        await p.set_status("u001", "dnd")
        page = await p.get_members("general", after="u000", limit=2)
        assert (page.total, page.counts["dnd"], page.counts["online"], page.next) == (280, 1, 279, "u002")
        assert [record.user for record in page.records] == ["u001", "u002"]
        async with p.watch_channel("general") as watch:
            assert [change.user for change in await take(watch, 280)] == names[:280]
            assert watch.is_complete and watch.counts["dnd"] == 1

    async def test_a_watch_tells_of_joins_changes_and_leaves(self, p: presenced.Service) -> None:
        await p.attach_many([("u1", "web"), ("u2", "web")])
        await p.join("u1", "web", "general")
        async with p.watch_channel("general") as watch:
            await p.join("u2", "web", "general")
            await p.set_status("u1", "dnd")
            await p.ping()
            await take(watch, 2)
            await p.leave("u1", "web", "general")
            await p.detach("u2", "web")
            changes = await take(watch, 2)
            assert sorted((change.kind, change.user) for change in changes) == [("leave", "u1"), ("leave", "u2")]
            assert (watch.total, watch.members, sum(watch.counts.values())) == (0, {}, 0)
        with pytest.raises(RequestError) as caught:
            await p.join("u9", "web", "general")
        assert caught.value.code == "no_such_device"
        with pytest.raises(AddressError):
            p.watch_channel("a b")


class TestBeingTold:
    async def test_watch_all_has_everybody_and_then_every_change(self, p: presenced.Service) -> None:
        await p.attach_many((f"u{number:03}", "web") for number in range(300))
        async with p.watch_all() as watch, p.watch("u005") as other:
            assert {change.kind for change in await take(watch, 300)} == {"snapshot"}
            await p.attach("new", "web")
            await p.set_status("u005", "dnd")
            assert [(change.user, change.kind) for change in await take(watch, 2)] == [
                ("new", "online"),
                ("u005", "status"),
            ]
            await take(other, 1)
            await watch.aclose()
            await p.set_status("u005", "away")
            assert [change.new.status for change in await take(other, 1)] in (["away"], ["dnd"])
            await eventually(lambda: other.records["u005"].status == "away")

    async def test_events_in_their_order_with_cursors(self, p: presenced.Service) -> None:
        async with p.events() as events:
            started = events.cursor
            await p.attach("u1", "web")
            await p.set_text("u1", "hi")
            await p.detach("u1", "web")
            told = await take(events, 5)
        assert [(event.kind, event.user, event.old, event.new, event.reason) for event in told] == [
            ("online", "u1", "offline", "online", ""),
            ("status_change", "u1", "offline", "online", ""),
            ("text_change", "u1", "", "hi", ""),
            ("offline", "u1", "online", "offline", "bye"),
            ("status_change", "u1", "online", "offline", "bye"),
        ]
        async with p.events(told[1].cursor) as rest, p.events(started) as again:
            assert await take(rest, 3) == told[2:]
            assert await take(again, 5) == told
            assert rest.cursor == told[-1].cursor

    async def test_callbacks_by_kind_until_ended(self, p: presenced.Service) -> None:
        told: list[tuple[str, str]] = []
        asked: list[str] = []

        async def ask(event: presenced.Event) -> None:
            asked.append((await p.get_status(event.user)).user)

        ends = [p.on(kind, lambda event: told.append((event.kind, event.new))) for kind in ("online", "offline")]
        ends += [p.on("text_change", ask), p.on("status_change", ask)]
        await p.attach("u1", "web")
        await p.set_text("u1", "x")
        await p.detach("u1", "web")
        await eventually(lambda: len(told) == 2 and len(asked) == 3)
        assert told == [("online", "online"), ("offline", "offline")]
        for end in ends:
            end()
        await p.attach("u1", "web")
        await p.ping()
        assert len(told) == 2 and not p._connection.events._feeds
        with pytest.raises(AddressError, match="is not an event"):
            p.on("statusChange", print)  # type: ignore[arg-type]

    async def test_a_callback_that_raises_is_reported_and_hurts_nobody(self, p: presenced.Service) -> None:
        reported: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
        seen: list[str] = []

        def plain(event: presenced.Event) -> None:
            raise ValueError("plain")

        async def waiting(event: presenced.Event) -> None:
            raise ValueError("async")

        for callback in (plain, waiting, lambda event: seen.append(event.new)):
            p.on("status_change", callback)
        await p.attach("u1", "web")
        await p.set_status("u1", "dnd")
        await eventually(lambda: len(reported) == 4 and len(seen) == 2)
        assert sorted(reported) == ["async", "async", "plain", "plain"] and seen == ["online", "dnd"]

    async def test_users_may_not_follow_or_act_for_others(self, server: Server) -> None:
        async with presenced.connect(url(server, "alice")) as me:
            impostor: Any = presenced.Service.__new__(presenced.Service)
            impostor.__dict__ = me.__dict__
            for attempt in (
                lambda: presenced.Service.set_status(impostor, "bob", "dnd"),
                lambda: presenced.Service.get_devices(impostor, "bob"),
                lambda: take(presenced.Service.events(impostor), 1),
                lambda: take(presenced.Service.watch_all(impostor), 1),
            ):
                with pytest.raises(RequestError) as caught:
                    await attempt()
                assert caught.value.code == "forbidden"


class TestSyncAndCommands:
    async def test_sync_of_somebodys_devices(self, server: Server, p: presenced.Service) -> None:
        assert (await p.get_sync_status("u1")).total == 0
        async with presenced.connect(url(server, "u1", "a")), presenced.connect(url(server, "u1", "b")) as second:
            await eventually(lambda: second.own is not None)
            pushed: list[int] = []
            second.on_own(lambda state: pushed.append(state.version))
            await eventually(lambda: pushed)
            count = len(pushed)
            await p.sync("u1")
            await eventually(lambda: len(pushed) > count)
            assert pushed[-1] == pushed[-2]

    async def test_what_a_person_types(self, p: presenced.Service) -> None:
        await p.attach("u1", "web")
        answer = await p.command("u1", '/presence status "in a meeting" for 30m', device="web")
        assert answer.ok and "in a meeting" in answer.text and answer.records[0].text == "in a meeting"
        assert (await p.command("u1", "/presence devices")).devices[0].device == "web"
        answer = await p.command("u1", "/presence dance")
        assert (answer.ok, answer.verb) == (False, "help")
        with pytest.raises(AddressError):
            await p.command("u1", "x" * 1025)


async def test_wrong_names_are_refused_before_anything_is_sent(p: presenced.Service) -> None:
    attempts: list[Any] = [
        lambda: p.attach("", "web"),
        lambda: p.attach("u1", "a/b"),
        lambda: p.attach("u1", "web", kind="x" * 65),
        lambda: p.attach("u1", "web", priority=128),
        lambda: p.attach("u1", "web", status="offline"),  # type: ignore[arg-type]
        lambda: p.attach("u1", "web", idle=-1),
        lambda: p.join("", "web", "general"),
        lambda: p.leave("u1", "web", ""),
        lambda: p.get_devices(""),
        lambda: p.set_status("", "dnd"),
        lambda: p.sync(""),
        lambda: p.set_device("u1", "", status="dnd"),
        lambda: p.get_members("general", limit=257),
    ]
    before = session_of(p)._last_id
    for attempt in attempts:
        with pytest.raises(AddressError):
            await attempt()
    assert session_of(p)._last_id == before and p.attached == []
    with pytest.raises(AddressError, match="is not a cursor"):
        p.events("yesterday")
    devices = [(f"u{number}", "web") for number in range(3_000)]
    devices[2_345] = ("u\u202e", "web")
    with pytest.raises(AddressError, match=r"device 2346 of 3000, 'u\\u202e' and 'web': the user name holds U\+202E"):
        await p.attach_many(devices)


async def test_a_service_has_no_device(server: Server) -> None:
    with pytest.raises(AddressError, match="names no device"):
        await presenced.connect_service(url(server, "chat", "web"))


async def test_nothing_is_left_waiting(p: presenced.Service) -> None:
    await p.attach("u1", "web")
    async with p.watch("u1") as watch:
        await take(watch, 1)
        assert await has_nothing(watch, p)
    await p.ping()
    assert not session_of(p)._pending and not session_of(p)._waiting and not session_of(p)._statements


async def test_a_device_that_is_held_shows_what_it_is(p: presenced.Service) -> None:
    await p.attach("u1", "web")
    assert repr(attachments_of(p).devices["u1", "web"]) == "<AttachedDevice u1/web, ref 1, attached>"
