"""Events reach a receiver, each at least once and in order per user, whatever it answers."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from presenced.ops.threads import in_thread
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.webhooks.http_client import HttpClient
from presenced.webhooks.lanes import Cursor, Lanes
from presenced.webhooks.payloads import delivery_of
from presenced.webhooks.plan import Plan
from presenced.webhooks.resolver import Resolver
from presenced.webhooks.sender import Sender
from presenced.wire.messages import Following, Goodbye
from tests.support.tiers import samples
from tests.support.until import eventually
from tests.webhooks.feed import EPOCH, Feed, event
from tests.webhooks.receiver import OK, SECRET_LINE, Posted, Receiver, status, take_all
from tests.webhooks.stand import plan, posting


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    yield made
    await made.close()


async def test_an_event_as_it_is_posted(receiver: Receiver) -> None:
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url)) as webhooks:
        feed.add("zoë")
        await eventually(lambda: feed.position == 1)
        status = webhooks.status()
    (posted,) = receiver.posted
    assert posted.path == "/in?k=1"
    assert posted.headers["host"] == f"localhost:{receiver.port}"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["webhook-id"] == f"evt_{EPOCH}_1"
    assert json.loads(posted.body) == {
        "type": "text_change",
        "id": f"evt_{EPOCH}_1",
        "timestamp": "2026-01-01T00:00:00.001Z",
        "data": {
            "user": "zoë",
            "old": "old",
            "new": "new 1",
            "reason": "",
            "old_emoji": "",
            "new_emoji": "",
            "at_ms": EPOCH + 1,
            "epoch": EPOCH,
            "seq": 1,
        },
    }
    assert (status.state, status.accepted, status.requests, status.behind, status.held) == ("delivering", 1, 1, 0, 0)


async def test_only_wanted_events_are_posted_and_the_others_are_acknowledged(receiver: Receiver) -> None:
    url = await receiver.open()
    feed = Feed()
    chosen = plan(url, kinds=("online", "erased"), users=("bob", "support-*"))
    async with posting(feed, chosen):
        for user in ("bob", "alice", "support-1", ""):
            for kind in ("online", "offline", "erased"):
                feed.add(user, kind)
        await eventually(lambda: feed.position == 12)
    told = {(one["data"]["user"], one["type"]) for posted in receiver.posted for one in posted.events}
    assert told == {(user, kind) for user in ("bob", "support-1") for kind in ("online", "erased")}


class Moody:
    """Answers as chance will have it, and knows what it has accepted."""

    def __init__(self, draw: random.Random, *, well: float) -> None:
        self.accepted: dict[str, list[int]] = defaultdict(list)
        self._draw = draw
        self._well = well

    async def __call__(self, posted: Posted, writer: asyncio.StreamWriter) -> bytes | None:
        mood = self._draw.random()
        if mood < self._well:
            self._accept(posted)
            return OK if self._draw.random() < 0.8 else status(200, "Connection: close", body=b"thanks")
        await asyncio.sleep(self._draw.random() * 0.01)
        choice = self._draw.randrange(8)
        if choice == 0:
            # It has taken them, and nobody hears of it.
            self._accept(posted)
            return None
        if choice == 1:
            return None
        if choice == 2:
            await asyncio.sleep(0.2)
            return status(200)
        if choice == 3:
            return b"HTTP/1.1 2"
        if choice == 4:
            return status(429, "Retry-After: 0")
        return status(self._draw.choice([500, 503, 400, 302, 404]), body=b"no" * 100)

    def _accept(self, posted: Posted) -> None:
        for one in posted.events:
            self.accepted[one["data"]["user"]].append(one["data"]["seq"])


def first_times(seqs: list[int]) -> list[int]:
    """Each number where it came first."""
    return list(dict.fromkeys(seqs))


@pytest.mark.parametrize("seed", range(samples(8)))
async def test_each_event_arrives_and_in_order_per_user(receiver: Receiver, seed: int) -> None:
    draw = random.Random(seed)
    moody = Moody(draw, well=draw.choice([0.3, 0.7, 0.95]))
    receiver.answer = moody
    url = await receiver.open()
    feed = Feed()
    expected: dict[str, list[int]] = defaultdict(list)
    chosen = plan(url, batch=draw.choice([1, 1, 5, 40]), concurrency=draw.choice([1, 3, 8]), timeout_ms=150)
    async with posting(feed, chosen) as webhooks:
        for _ in range(300):
            user = f"u{draw.randrange(12)}"
            expected[user].append(feed.add(user).seq)
            if draw.random() < 0.05:
                await asyncio.sleep(0)
            if draw.random() < 0.01 and feed.links:
                feed.links[0].end(Goodbye("kicked", ""))
        moody._well = 0.95
        await eventually(lambda: feed.position == feed.seq)
        assert webhooks.status().dead_letters == 0
    # The receiver takes an event again that it has taken, and it never takes a later one of a user before an earlier.
    assert {user: first_times(seqs) for user, seqs in moody.accepted.items()} == expected


async def test_different_users_leave_side_by_side_and_one_user_does_not(receiver: Receiver) -> None:
    under_way: list[str] = []
    most = 0
    go_on = asyncio.Event()

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        nonlocal most
        user = posted.events[0]["data"]["user"]
        assert user not in under_way
        under_way.append(user)
        most = max(most, len(under_way))
        await go_on.wait()
        under_way.remove(user)
        return OK

    receiver.answer = answer
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url, concurrency=3)):
        for user in ("a", "a", "b", "c", "d", "a"):
            feed.add(user)
        await eventually(lambda: len(under_way) == 3)
        go_on.set()
        await eventually(lambda: feed.position == 6)
    assert most == 3


async def test_it_stops_reading_while_the_receiver_is_down_and_goes_on_from_what_is_kept(receiver: Receiver) -> None:
    async def refuse(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return status(500)

    receiver.answer = refuse
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url, batch=100)) as webhooks:
        for number in range(5_000):
            feed.add(f"u{number % 700}")
        await eventually(lambda: feed.links[0].is_on_hold and webhooks.status().state == "failing")
        assert 1_000 <= webhooks.status().held < 1_000 + 50
        assert (feed.position, webhooks.status().behind) == (0, 5_000)
        receiver.answer = take_all
        await eventually(lambda: feed.position == 5_000)
        assert webhooks.status().state == "delivering"
    accepted = first_times([one["data"]["seq"] for posted in receiver.posted for one in posted.events])
    assert sorted(accepted) == list(range(1, 5_001))


async def test_lost_events_are_told_before_those_that_come_after(receiver: Receiver) -> None:
    url = await receiver.open()
    feed = Feed()
    for _ in range(10):
        feed.add("a")
    feed.begins = 5
    feed.position = 2
    refusals = 3

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        nonlocal refusals
        if refusals == 3:
            feed.add("a")
        refusals -= 1
        return status(500) if refusals >= 0 else OK

    receiver.answer = answer
    async with posting(feed, plan(url, give_up_after_ms=0)) as webhooks:
        await eventually(lambda: feed.position == 11)
        assert (webhooks.status().gaps, webhooks.status().dead_letters) == (1, 0)
    told = [(posted.events[0]["type"], posted.events[0]["id"]) for posted in receiver.posted]
    assert told == [("events_lost", f"lost_{EPOCH}_10")] * 4 + [("text_change", f"evt_{EPOCH}_11")]
    assert receiver.posted[0].events[0]["data"] == {"epoch": EPOCH, "seq": 10}


async def test_a_dead_letter_is_counted_and_logged_and_the_next_event_of_the_user_leaves(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return status(422) if posted.events[0]["data"]["seq"] == 2 else OK

    receiver.answer = answer
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url, give_up_after_ms=40)) as webhooks:
        for user in ("a", "a", "a", "b"):
            feed.add(user)
        await eventually(lambda: feed.position == 4)
        found = webhooks.status()
    assert (found.dead_letters, found.accepted, found.error) == (1, 3, "the receiver said 422")
    assert found.failures["4xx"] >= 1  # a busy machine tries once in that time
    assert f"dead letter evt_{EPOCH}_2 of a after" in caplog.text


async def test_410_ends_it_until_a_reload(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    async def gone(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return status(410)

    receiver.answer = gone
    url = await receiver.open()
    feed = Feed()
    chosen = plan(url)
    async with posting(feed, chosen) as webhooks:
        feed.add("a")
        await eventually(lambda: webhooks.status().state == "gone")
        feed.add("a")
        assert not feed.links
        assert "410 (gone)" in caplog.text
        posted = len(receiver.posted)
        receiver.answer = take_all
        webhooks.adopt(chosen)
        await eventually(lambda: feed.position == 2)
    assert [one.events[0]["data"]["seq"] for one in receiver.posted[posted:]] == [1, 2]


async def test_a_reload_waits_for_no_pause(receiver: Receiver) -> None:
    async def busy(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return status(429, "Retry-After: 3600")

    receiver.answer = busy
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url, retry_ms=600_000, retry_max_ms=600_000)) as webhooks:
        feed.add("a")
        await eventually(lambda: webhooks.status().state == "failing")
        receiver.answer = take_all
        webhooks.adopt(plan(url))
        await eventually(lambda: feed.position == 1)
        assert (webhooks.status().state, webhooks.status().failing_wall_ms) == ("delivering", 0)


async def test_nothing_is_acknowledged_while_the_server_takes_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("presenced.webhooks.follower.ACKNOWLEDGE_S", 0.001)
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url)) as webhooks:
        await eventually(lambda: webhooks.status().state == "delivering")
        link = feed.links[0]
        link.takes_nothing = True
        feed.add("a")
        await eventually(lambda: link.looks >= 3)
        assert (feed.position, webhooks.status().accepted) == (0, 1)
        link.takes_nothing = False
        await eventually(lambda: feed.position == 1)


async def test_another_program_that_follows_under_the_name_is_told_of_and_left_alone(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url)) as webhooks:
        feed.add("a")
        await eventually(lambda: feed.position == 1)
        feed.links[0].tell(Following(0, 0, 0, False))
        await eventually(lambda: webhooks.status().state == "taken")
        assert not feed.links
        webhooks.adopt(plan(url))
        feed.add("a")
        await eventually(lambda: feed.position == 2)
    assert "another program follows as webhooks of presenced" in caplog.text


async def test_all_secrets_sign_and_a_reload_exchanges_them(receiver: Receiver) -> None:
    url = await receiver.open()
    feed = Feed()
    other = "whsec_" + "b3RoZXIgc2VjcmV0IG90aGVyIHNlY3JldCBvdGhlcg=="
    async with posting(feed, plan(url, secrets=f"{other}\n{SECRET_LINE}\n")) as webhooks:
        feed.add("a")
        await eventually(lambda: feed.position == 1)
        webhooks.adopt(plan(url))
        feed.add("a")
        await eventually(lambda: feed.position == 2)
    # The receiver verifies each; the old secret of the two has gone.
    assert [len(one.headers["webhook-signature"].split(" ")) for one in receiver.posted] == [2, 1]


@asynccontextmanager
async def about_to_post(chosen: Plan, *users: str) -> AsyncIterator[tuple[Lanes, Sender]]:
    """A sender that has taken an event of each user, and has begun no request: each waits for a pass of the loop."""
    lanes = Lanes(chosen.rules, lambda: 0.0)
    sender = Sender(chosen, lanes, HttpClient(Resolver(in_thread), "test"), SYSTEM_CLOCKS, lambda: None)
    for seq, user in enumerate(users, 1):
        lanes.add(delivery_of(event(seq, user), EPOCH), Cursor(EPOCH, seq))
    sender.pump()
    try:
        yield lanes, sender
    finally:
        await sender.close()


async def test_a_reload_from_batches_to_single_events_loses_none_that_was_to_be_in_one(receiver: Receiver) -> None:
    url = await receiver.open()
    async with about_to_post(plan(url, batch=10), "a", "b", "c") as (lanes, sender):
        chosen = plan(url)
        sender.adopt(chosen)
        lanes.adopt(chosen.rules)
        await eventually(lambda: not lanes.held)
    assert sorted(json.loads(posted.body)["data"]["user"] for posted in receiver.posted) == ["a", "b", "c"]


async def test_no_request_is_begun_after_a_stop(receiver: Receiver) -> None:
    """The position has been acknowledged by then: what was posted now would be posted again after the next start."""
    async with about_to_post(plan(await receiver.open(), concurrency=2), "a", "b", "c") as (lanes, sender):
        sender.stop()
        for _ in range(20):
            await asyncio.sleep(0)
        assert (sender.requests, lanes.held) == (0, 3)


async def test_a_stop_waits_for_what_is_under_way(receiver: Receiver) -> None:
    go_on = asyncio.Event()

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        await go_on.wait()
        return OK

    receiver.answer = answer
    url = await receiver.open()
    feed = Feed()
    async with posting(feed, plan(url)) as webhooks:
        feed.add("a")
        feed.add("a")
        await eventually(lambda: receiver.posted)
        webhooks.stop()
        assert feed.links
        go_on.set()
        await eventually(lambda: not feed.links)
    assert (feed.position, len(receiver.posted)) == (1, 1)


async def test_the_test_event(receiver: Receiver) -> None:
    url = await receiver.open()
    async with posting(Feed(), plan(url)) as webhooks:
        good = await webhooks.test()
        await receiver.close()
        webhooks.adopt(plan(f"http://127.0.0.1:{receiver.port}/"))
        bad = await webhooks.test()
    assert (good.ok, good.status, good.error, good.receiver) == (True, 204, "", f"http://localhost:{receiver.port}")
    assert receiver.posted[0].events[0]["type"] == "test"
    assert (bad.ok, bad.status) == (False, 0)
    assert bad.error.startswith("no connection to 127.0.0.1")
