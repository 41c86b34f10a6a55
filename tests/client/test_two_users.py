"""Two users, a service and the real server: who sees whom, as their programs are told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import presenced
from presenced import Change, ContactChange, ContactEntry, RequestError
from presenced.server.server import Server
from tests.client.helpers import drop_links, has_nothing, lose, running, service, take, url
from tests.support.until import PATIENCE_S, eventually


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back without the jitter's wait, which the tests of the backoff measure."""
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Users see their contacts, and nobody else."""
    async with running(grounds=("contacts",)) as server:
        yield server


def steps(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(change.kind, change.user, change.new.status) for change in changes]


def kinds(changes: list[ContactChange]) -> list[tuple[str, str]]:
    return [(change.kind, change.contact) for change in changes]


async def test_a_friendship_from_the_request_to_its_end(server: Server) -> None:
    async with presenced.connect(url(server, "bob")) as bob:
        await bob.set_status("dnd", text="in a meeting")
        async with (
            presenced.connect(url(server, "alice"), contacts=True) as alice,
            alice.contacts() as seen,
            alice.contact_changes() as list_of_alice,
            bob.contact_changes() as list_of_bob,
            service(server) as app,
            app.events() as events,
        ):
            assert (await alice.get_status("bob")).status == "offline" and await alice.count_online() == 1
            # Alice asks, and bob is told who and why.
            await alice.subscribe("bob", note="it is me, alice")
            (request,) = await take(list_of_bob, 1)
            assert request.kind == "request" and request.new is not None and request.new.note == "it is me, alice"
            assert kinds(await take(list_of_alice, 1)) == [("change", "bob")]
            (event,) = await take(events, 1)
            assert (event.kind, event.user, event.new, event.reason) == (
                *("contact_request", "bob", "alice", "it is me, alice"),
            )
            assert await has_nothing(seen, alice, bob)
            # Bob approves: his presence is there at once, also in the answers.
            await bob.approve("alice")
            assert steps(await take(seen, 1)) == [("snapshot", "bob", "dnd")]
            assert seen.records["bob"].text == "in a meeting"
            assert [record.user for record in await alice.get_online_users()] == ["alice", "bob"]
            assert [(info.contact, info.subscription) for info in (await alice.get_contacts()).contacts] == [
                ("bob", "to")
            ]
            assert [(info.contact, info.subscription) for info in (await bob.get_contacts()).contacts] == [
                ("alice", "from")
            ]
            assert (await bob.get_status("alice")).status == "offline"
            # A block hides each from the other, and its end shows what holds.
            await bob.block("alice")
            assert steps(await take(seen, 1)) == [("offline", "bob", "offline")]
            assert await bob.get_blocked() == (["alice"], [])
            await bob.unblock("alice")
            assert steps(await take(seen, 1)) == [("online", "bob", "dnd")]
            # So does hiding, and the audience leaves out what is not for everybody.
            await bob.hide_from("alice")
            assert steps(await take(seen, 1)) == [("offline", "bob", "offline")]
            await bob.show_again("alice")
            assert steps(await take(seen, 1)) == [("online", "bob", "dnd")]
            await bob.set_audience(text="nobody")
            assert steps(await take(seen, 1)) == [("text", "bob", "dnd")] and seen.records["bob"].text == ""
            await bob.set_audience(text="nobody", always=["alice"])
            assert steps(await take(seen, 1)) == [("text", "bob", "dnd")]
            assert seen.records["bob"].text == "in a meeting"
            # Bob takes it back, and alice sees him no longer.
            await bob.cancel("alice")
            assert steps(await take(seen, 1)) == [("offline", "bob", "offline")]
            assert seen.records == {} and await has_nothing(seen, alice, bob)


async def test_a_device_is_shown_to_a_stranger_and_while_its_user_appears_offline(server: Server) -> None:
    async with presenced.connect(url(server, "bob")) as bob, presenced.connect(url(server, "alice")) as alice:
        async with alice.watch("bob") as watch:
            assert steps(await take(watch, 1)) == [("snapshot", "bob", "offline")]
            await bob.show_to("alice")
            assert steps(await take(watch, 1)) == [("online", "bob", "online")]
            await bob.set_status("offline")
            assert await has_nothing(watch, bob, alice)
            await bob.stop_showing("alice")
            assert steps(await take(watch, 1)) == [("offline", "bob", "offline")]
            with pytest.raises(RequestError) as caught:
                await bob.show_to("bob")
            assert caught.value.code == "bad_request"


async def test_a_lost_link_heals_with_what_differs(server: Server) -> None:
    async with (
        service(server) as app,
        presenced.connect(url(server, "bob")),
        presenced.connect(url(server, "carol")) as carol,
        presenced.connect(url(server, "alice"), contacts=True) as alice,
        alice.contacts() as seen,
        alice.contact_changes() as changes,
    ):
        await app.set_contacts("alice", ["bob", ContactEntry("carol", "both", "Carol", ["work"]), "dora"])
        assert sorted(steps(await take(seen, 3))) == [
            *[("snapshot", "bob", "online"), ("snapshot", "carol", "online"), ("snapshot", "dora", "offline")]
        ]
        assert len(await take(changes, 3)) == 3
        mine = next(link for link in server.links if link.session is not None and link.session.user_name == "alice")
        # What happens while she is away is told when she is back, and nothing else.
        await carol.set_status("dnd")
        assert steps(await take(seen, 1)) == [("status", "carol", "dnd")]
        may_return = asyncio.Event()
        original = alice._connection.reconnect._open_link

        async def held_back(*args: object, **options: object) -> object:
            await may_return.wait()
            return await original(*args, **options)  # type: ignore[arg-type]

        alice._connection.reconnect._open_link = held_back  # type: ignore[method-assign, assignment]
        await lose(alice, mine.abort)
        await app.remove_contact("alice", "bob")
        await carol.set_status("away")
        await app.subscribe("emil", "alice", "hello")
        may_return.set()
        assert sorted(steps(await take(seen, 2))) == [("offline", "bob", "offline"), ("status", "carol", "away")]
        assert sorted(kinds(await take(changes, 2))) == [("removed", "bob"), ("request", "emil")]
        assert await has_nothing(seen, alice) and await has_nothing(changes, alice)
        assert list(changes.contacts) == ["carol", "dora", "emil"] and sorted(seen.records) == ["carol", "dora"]


async def test_a_whole_list_of_several_parts_holds_at_once_or_not_at_all(server: Server) -> None:
    names = [f"u{number:04}" for number in range(2500)]
    async with service(server) as app, presenced.connect(url(server, "alice"), contacts=True) as alice:
        await app.set_contacts("alice", ["old"])
        with pytest.raises(RequestError) as caught:
            await app.set_contacts("alice", [*names, "alice"])
        assert caught.value.code == "bad_request"
        assert [info.contact for info in (await alice.get_contacts()).contacts] == ["old"]
        await app.set_contacts("alice", names)
        page = await alice.get_contacts()
        assert [info.contact for info in page.contacts] == names and page.is_whole
        assert [info.contact for info in (await app.get_contacts("u0007")).contacts] == ["alice"]
        async with alice.contacts() as seen:
            await eventually(lambda: len(seen.records) == 2500)
        await alice.set_contact("u0001", name="One")
        changed = await alice.get_contacts(since=page.version)
        assert [info.name for info in changed.contacts] == ["One"] and not changed.is_whole and not changed.removed


async def test_a_thousand_contacts_come_with_the_login(server: Server) -> None:
    names = [f"u{number:03}" for number in range(600)]
    async with service(server) as app:
        await app.set_contacts("alice", names)
        await app.attach_many((name, "web") for name in names[:300])
        async with presenced.connect(url(server, "alice"), contacts=True) as alice, alice.contacts() as seen:
            told = await take(seen, 600)
            assert sum(change.new.status == "online" for change in told) == 300
            drop_links(server)
            async with asyncio.timeout(PATIENCE_S):
                await alice.ping()
            assert await has_nothing(seen, alice)
