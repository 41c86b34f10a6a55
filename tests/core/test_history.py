"""When was who online: who may ask, and what is answered where nothing is known. What is on the pages is held against
the events in `test_event_runs`."""

from __future__ import annotations

import pytest

from presenced.core import event_queries
from presenced.core.parts import event_history, events as events_module
from presenced.core.parts.event_history import EventHistory
from presenced.core.policy import Policy
from presenced.wire.messages import Erase, Event, Follow, Following, GetHistory, HistoryPage, Kick, SetStatus, Subscribe
from tests.core.fake_link import FakeLink
from tests.core.world import WALL_MS, World

MINUTE_MS = 60_000


def ask(link: FakeLink, user: str = "", since_ms: int = 0, until_ms: int = 0) -> HistoryPage:
    return link.expect(GetHistory(link.next_id(), user, since_ms, until_ms), HistoryPage)


def stage(policy: Policy | None = None) -> tuple[World, FakeLink]:
    world = World(policy)
    return world, world.open("app", role="service")


def kinds(page: HistoryPage) -> list[str]:
    return [f"{event.kind} {event.reason}".strip() for event in page.events]


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is read of chunks from now on."""
    read: list[bytes] = []
    rows = event_queries.Rows

    class Counted(rows):  # type: ignore[misc, valid-type]
        def __init__(self, data: bytes) -> None:
            read.append(data)
            super().__init__(data)

    monkeypatch.setattr(event_queries, "Rows", Counted)
    return read


def test_a_user_asks_for_their_own_and_a_service_for_everybody() -> None:
    world, app = stage()
    laptop = world.open("bob/laptop")
    laptop.set_status("dnd", "lunch")
    expected = ["online", "status_change", "status_change", "text_change"]
    assert kinds(ask(laptop)) == kinds(ask(laptop, "bob")) == kinds(ask(app, "bob")) == expected
    assert laptop.refused(GetHistory(laptop.next_id(), "carol")) == "forbidden"
    assert laptop.refused(GetHistory(laptop.next_id(), "bob", WALL_MS, WALL_MS - 1)) == "bad_request"
    assert kinds(ask(app)) == [] and ask(app).user == "app"


def test_whom_a_service_does_not_see_is_answered_as_a_name_never_seen() -> None:
    world, app = stage()
    world.open("bob/laptop")
    bound = world.open("bound", role="service", rights={"see": ["carol"], "act": ["*"]})
    hidden, never = ask(bound, "bob"), ask(bound, "nobody")
    assert (hidden.before, hidden.events, hidden.next, hidden.begins_ms) == (None, [], 0, never.begins_ms)
    world.open("carol/laptop")
    assert kinds(ask(bound, "carol")) == ["online", "status_change"]


def test_contacts_are_no_part_of_it() -> None:
    world, app = stage()
    app.done(Subscribe(app.next_id(), "carol", "hi", "bob"))
    assert kinds(ask(app, "bob")) == kinds(ask(app, "carol")) == []


def test_when_knowledge_begins_is_told_to_the_minute_to_who_does_not_see_everybody() -> None:
    world, app = stage()
    assert ask(app, "bob").begins_ms == WALL_MS
    bound = world.open("bound", role="service", rights={"see": ["bob"]})
    for begins_ms in (ask(bound, "bob").begins_ms, ask(world.open("bob/laptop")).begins_ms):
        assert begins_ms % MINUTE_MS == 0 and 0 <= begins_ms - WALL_MS < MINUTE_MS
    quiet, app = stage(Policy(events_record="followed"))
    quiet.open("bob/laptop")
    assert ask(app, "bob") == HistoryPage(app._next_id, "bob", 0, None, [], 0)


def test_what_held_before_is_told_however_long_ago_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 2)
    world, app = stage()
    app.done(SetStatus(app.next_id(), "dnd", user="bob"))
    app.attach(1, "bob/web")
    for number in range(40):
        app.done(SetStatus(app.next_id(), text=str(number), user="bob"))
        app.done(SetStatus(app.next_id(), text=str(number), user="carol"))
    world.advance(20)
    page = ask(app, "bob", world.wall_ms)
    assert page.before is not None and (page.before.new, page.before.seq, page.before.at_ms) == ("dnd", 0, WALL_MS)
    assert page.events == []
    first = ask(app, "bob", WALL_MS)
    assert first.before is None, "it is in the span"


def test_a_page_reads_only_chunks_in_which_the_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 64)
    read = counted_reads(monkeypatch)
    world, app = stage()
    world.checks = False
    for number in range(3_000):
        app.say(SetStatus(app.next_id(), text=str(number), user=f"user{number % 50}"))
        if number in (100, 2_000):
            app.say(SetStatus(app.next_id(), text=str(number), user="bob"))
        world.turn()
    assert [event.new for event in ask(app, "bob").events] == ["100", "2000"]
    assert len(world.engine.events.history.chunks) > 40 and len(read) <= 3


@pytest.mark.parametrize("is_set_back", [False, True])
def test_a_page_reads_few_chunks_after_an_erasure_or_when_the_clock_was_set_back(
    is_set_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 4)
    read = counted_reads(monkeypatch)
    world, app = stage()
    world.checks = False
    for number in range(200):
        if is_set_back and number == 150:
            world.set_clock(WALL_MS + 75)
        for user in ("bob", "ann", "cid", "dan"):
            app.say(SetStatus(app.next_id(), text=str(number), user=user))
        world.advance(1)
    app.done(SetStatus(app.next_id(), text="x", user="zed"))
    app.say(Erase(app.next_id(), "zed"))
    world.turn()
    expected = sorted(range(200), key=lambda number: number - 74.5 if is_set_back and number >= 150 else number)
    found: list[Event] = []
    page = ask(app, "bob", 0, 2 * WALL_MS)
    while True:
        found += page.events
        assert len(read) <= event_queries.CHUNKS_MAX + 1
        if not page.next:
            break
        read.clear()
        since_ms = page.events[-1].at_ms
        page = app.expect(GetHistory(app.next_id(), "bob", since_ms, 2 * WALL_MS, page.next), HistoryPage)
    assert [event.new for event in found] == [str(number) for number in expected]


def test_of_somebody_who_was_erased_no_chunk_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 2)
    read = counted_reads(monkeypatch)
    cleaned: list[object] = []
    world, app = stage()
    app.attach(1, "bob/web")
    for number in range(60):
        app.done(SetStatus(app.next_id(), ("dnd", "away")[number % 2], str(number), user="bob"))
    world.advance(5)
    monkeypatch.setattr(EventHistory, "clean", lambda history, chunk: cleaned.append(chunk))
    app.say(Erase(app.next_id(), "bob"))
    app.say(GetHistory(app.next_id(), "bob"))
    app.say(GetHistory(app.next_id(), "bob", WALL_MS + 1))
    world.turn()
    assert sum(isinstance(message, HistoryPage) for message in app.messages) == 2
    assert len(cleaned) <= 2 * events_module.REWRITTEN_PER_TURN and read == []


def test_of_somebody_who_was_erased_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 3)
    world, app = stage()
    for number in range(10):
        app.done(SetStatus(app.next_id(), text=f"secret {number}", user=("bob", "carol")[number % 2]))
    app.say(Erase(app.next_id(), "bob"))
    app.say(GetHistory(app.next_id(), "bob"))
    world.turn()
    (page,) = [m for m in app.messages if isinstance(m, HistoryPage)]
    assert page.events == [] and len(ask(app, "carol").events) == 5
    app.done(SetStatus(app.next_id(), text="anew", user="bob"))
    assert [event.new for event in ask(app, "bob").events] == ["anew"]
    while world.engine.events.history.is_rewriting:
        world.turn()
    assert b"secret 2" not in b"".join(bytes(str(event_queries.Rows(c.data).all()), "utf-8") for c in
                                       world.engine.events.history.chunks)  # fmt: skip


@pytest.mark.parametrize("is_in_chunk", [False, True])
def test_the_farewell_of_an_erasure_is_no_part_of_it(is_in_chunk: bool) -> None:
    world, app = stage()
    app.expect(Follow(app.next_id()), Following)
    world.open("bob/laptop").set_status("dnd")
    app.done(Erase(app.next_id(), "bob"))
    world.advance(5)
    assert app.told.kinds("bob")[-3:] == ["offline kicked", "status_change", "erased"]
    if is_in_chunk:
        world.engine.events.history.seal()
    for place in (world, world.restarted(1_000)):
        asking = place.open("asking", role="service")
        assert (ask(asking, "bob").events, ask(asking, "bob", WALL_MS + 1).before) == ([], None)
    # Who comes back, and is kicked, has a history of this.
    world.open("bob/laptop")
    app.done(Kick(app.next_id(), "bob"))
    assert kinds(ask(app, "bob")) == ["online", "status_change", "offline kicked", "status_change kicked"]


def test_the_history_outlives_a_restart_and_a_store_that_was_set_back() -> None:
    world, app = stage()
    app.done(SetStatus(app.next_id(), text="x", user="bob"))
    for epoch in (0, 99):
        after = world.restarted(1_000, epoch=epoch)
        assert [event.new for event in ask(after.open("app", role="service"), "bob").events] == ["x"]
