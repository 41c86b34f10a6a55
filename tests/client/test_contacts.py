"""What the client knows of contacts, told by a server that does what a test says: their presence, and the list."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import presenced
from presenced import AddressError, ContactChange, ContactEntry, RequestError
from presenced.client.protocol.list_parts import entries_of, parts_of
from presenced.limits import CONTACTS_PER_REQUEST_MAX, FRAME_BYTES_MAX, NAME_BYTES_MAX
from presenced.wire import messages
from presenced.wire.codec import encode
from presenced.wire.messages import (
    ClientMessage,
    ContactInfo,
    ContactList,
    ContactRecords,
    Done,
    Error,
    GetContacts,
    Hello,
    Presence,
    Record,
    ServerMessage,
    SetContacts,
    Unwatch,
    Watch,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.client.helpers import has_nothing, lose, take


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back without the jitter's wait, which the tests of the backoff measure."""
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


def record(user: str, status: Any = "online", version: int = 1) -> Record:
    return Record(user, status, "", "", 5, 0, "web", version)


def hidden(user: str) -> Record:
    return Record(user, "offline", "", "", 0, 0, "", 0)


def info(contact: str, subscription: Any = "both", **fields: Any) -> ContactInfo:
    plain = {"asked": False, "asks": False, "approved": False, "name": "", "groups": [], "note": ""}
    return ContactInfo(contact, subscription, **plain | fields)


class Directory:
    """What the fake server has of alice: the records of her contacts, and her list, in pages of two."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        self.records: list[list[Record]] = [[]]
        self.contacts: list[ContactInfo] = []
        self.removed: list[str] = []
        self.version = 10
        self.is_whole = True
        self.page_size = 2
        fake.answer = self.answer

    def answer(self, message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Hello) and message.contacts:
            last = len(self.records) - 1
            parts = [ContactRecords(1, 1, part, number < last) for number, part in enumerate(self.records)]
            return [*self.fake.plainly(message), *parts]
        if isinstance(message, GetContacts):
            behind = [one for one in self.contacts if one.contact > message.after]
            shown, rest = behind[: self.page_size], behind[self.page_size :]
            following = shown[-1].contact if rest else ""
            removed = [] if rest else self.removed
            return [ContactList(message.id, "alice", self.version, self.is_whole, following, shown, removed)]
        plain = self.fake.plainly(message)
        return plain or ([Done(message.id, 1)] if hasattr(message, "id") else [])

    def push(self, contact: ContactInfo, *, removed: bool = False) -> None:
        self.version += 1
        self.fake.link.send(messages.ContactChange("alice", self.version, contact, removed))


@pytest.fixture
async def fake() -> AsyncIterator[FakeServer]:
    async with fake_server() as fake:
        yield fake


@pytest.fixture
def directory(fake: FakeServer) -> Directory:
    return Directory(fake)


def steps(changes: list[presenced.Change]) -> list[tuple[str, str, str]]:
    return [(change.kind, change.user, change.new.status) for change in changes]


class TestPresenceOfContacts:
    async def test_a_snapshot_of_each_and_then_each_change(self, fake: FakeServer, directory: Directory) -> None:
        directory.records = [[record("bob")], [record("carol", "away"), hidden("dora")]]
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            snapshot = [("snapshot", "bob", "online"), ("snapshot", "carol", "away"), ("snapshot", "dora", "offline")]
            assert steps(await take(contacts, 3)) == snapshot
            fake.link.send(Presence(record("bob", "dnd", 2)), Presence(record("dora", "online", 3)))
            assert steps(await take(contacts, 2)) == [("status", "bob", "dnd"), ("online", "dora", "online")]
            assert contacts.records == {"bob": record("bob", "dnd", 2), "carol": record("carol", "away"),
                                        "dora": record("dora", "online", 3)}  # fmt: skip
            assert repr(contacts) == "<presenced.ContactsWatch>"
        assert not fake.of(Watch) and not fake.of(GetContacts)

    async def test_none_is_told_as_none(self, fake: FakeServer, directory: Directory) -> None:
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            assert contacts.records == {} and await has_nothing(contacts, me)

    async def test_it_has_to_be_asked_for_with_the_hello(self, fake: FakeServer, directory: Directory) -> None:
        async with presenced.connect(fake.url()) as me:
            with pytest.raises(AddressError, match="connect with contacts=True"):
                me.contacts()
        assert not fake.of(Hello)[0].contacts

    async def test_sight_that_is_lost_is_told_as_offline_whatever_its_version(
        self, fake: FakeServer, directory: Directory
    ) -> None:
        directory.records = [[record("bob", version=7)]]
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            await take(contacts, 1)
            fake.link.send(Presence(hidden("bob")))
            assert steps(await take(contacts, 1)) == [("offline", "bob", "offline")]
            fake.link.send(Presence(record("bob", "dnd", 3)))
            assert steps(await take(contacts, 1)) == [("online", "bob", "dnd")]

    async def test_contacts_come_and_go(self, fake: FakeServer, directory: Directory) -> None:
        directory.records = [[record("bob")]]
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            await take(contacts, 1)
            fake.link.send(Presence(record("carol")))
            directory.push(info("carol", "to"))
            assert steps(await take(contacts, 1)) == [("snapshot", "carol", "online")]
            directory.push(info("bob", "from"))
            fake.link.send(Presence(hidden("bob")))
            assert steps(await take(contacts, 1)) == [("offline", "bob", "offline")]
            assert list(contacts.records) == ["carol"]
            directory.push(info("carol", "none"), removed=True)
            assert steps(await take(contacts, 1)) == [("offline", "carol", "offline")]
            assert contacts.records == {} and await has_nothing(contacts, me)

    async def test_users_who_are_watched_by_name_are_not_taken_for_contacts(
        self, fake: FakeServer, directory: Directory
    ) -> None:
        directory.records = [[record("bob")]]
        fake.records = {"dora": record("dora"), "bob": record("bob")}
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            await take(contacts, 1)
            async with me.watch("dora", "bob") as named:
                await take(named, 2)
                fake.link.send(Presence(record("dora", "dnd", 2)), Presence(record("bob", "dnd", 3)))
                assert steps(await take(named, 2)) == [("status", "dora", "dnd"), ("status", "bob", "dnd")]
                assert steps(await take(contacts, 1)) == [("status", "bob", "dnd")]
            assert fake.of(Watch)[0].users == ["dora", "bob"]

    async def test_a_push_that_crosses_with_an_unwatch_is_no_contacts(
        self, fake: FakeServer, directory: Directory
    ) -> None:
        def crossing(message: ClientMessage) -> list[ServerMessage]:
            late: list[ServerMessage] = [Presence(record("dora", "dnd", 2))] if isinstance(message, Unwatch) else []
            return late + directory.answer(message)

        fake.answer = crossing
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            async with me.watch("dora"):
                pass
            assert await has_nothing(contacts, me)
            # After the reply nobody but a contact can be meant.
            fake.link.send(Presence(record("dora", "away", 3)))
            assert steps(await take(contacts, 1)) == [("snapshot", "dora", "away")]

    async def test_somebody_known_by_name_becomes_a_contact(self, fake: FakeServer, directory: Directory) -> None:
        fake.records = {"dora": record("dora")}
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            async with me.watch("dora"):
                directory.push(info("dora", "both"))
                assert steps(await take(contacts, 1)) == [("snapshot", "dora", "online")]

    async def test_a_new_link_tells_only_what_differs(self, fake: FakeServer, directory: Directory) -> None:
        directory.records = [[record("bob", version=9), record("carol", version=9), record("dora", version=9)]]
        async with presenced.connect(fake.url(), contacts=True) as me, me.contacts() as contacts:
            await take(contacts, 3)
            # The server was killed and counts from below; carol is no contact any longer.
            directory.records = [[record("bob", version=4)], [record("dora", "dnd", version=5)]]
            await lose(me, fake.link.drop)
            assert sorted(steps(await take(contacts, 2))) == [
                ("offline", "carol", "offline"),
                ("status", "dora", "dnd"),
            ]
            fake.link.send(Presence(record("bob", "away", 6)))
            assert steps(await take(contacts, 1)) == [("status", "bob", "away")]
            assert sorted(contacts.records) == ["bob", "dora"]
            assert await has_nothing(contacts, me)
        assert [hello.contacts for hello in fake.of(Hello)] == [True, True]

    async def test_the_end_of_the_client_ends_it(self, fake: FakeServer, directory: Directory) -> None:
        me = await presenced.connect(fake.url(), contacts=True)
        contacts = me.contacts()
        await contacts.start()
        await me.close()
        assert [change async for change in contacts] == []


class TestTheList:
    async def test_it_is_read_in_pages(self, fake: FakeServer, directory: Directory) -> None:
        directory.contacts = [info(name) for name in ("bob", "carol", "dora", "emil", "fred")]
        async with presenced.connect(fake.url()) as me:
            page = await me.get_contacts()
        assert page == presenced_page(10, directory.contacts, [], True)
        assert [(asked.since, asked.after) for asked in fake.of(GetContacts)] == [(0, ""), (0, "carol"), (0, "emil")]

    async def test_or_what_has_changed_since(self, fake: FakeServer, directory: Directory) -> None:
        directory.contacts, directory.removed, directory.is_whole = [info("bob", "to")], ["carol"], False
        async with presenced.connect(fake.url()) as me:
            assert await me.get_contacts(since=7) == presenced_page(10, [info("bob", "to")], ["carol"], False)
        assert fake.of(GetContacts)[0].since == 7

    async def test_changes_are_told_after_a_snapshot(self, fake: FakeServer, directory: Directory) -> None:
        directory.contacts = [info("bob"), info("carol", "none", asks=True, note="hello"), info("dora", "from")]
        async with presenced.connect(fake.url()) as me, me.contact_changes() as changes:
            told = await take(changes, 3)
            assert [(change.kind, change.contact) for change in told] == [
                *[("snapshot", "bob"), ("snapshot", "carol"), ("snapshot", "dora")]
            ]
            assert told[1].new is not None and told[1].new.note == "hello" and told[1].old is None
            directory.push(info("emil", "none", asks=True))
            directory.push(info("bob", "none"), removed=True)
            directory.push(info("carol", "from"))
            assert await take(changes, 3) == [
                ContactChange("request", "emil", None, info("emil", "none", asks=True)),
                ContactChange("removed", "bob", info("bob"), None),
                ContactChange("change", "carol", directory.contacts[1], info("carol", "from")),
            ]
            assert sorted(changes.contacts) == ["carol", "dora", "emil"]

    async def test_a_slow_reader_gets_the_latest(self, fake: FakeServer, directory: Directory) -> None:
        async with presenced.connect(fake.url()) as me, me.contact_changes() as changes:
            directory.push(info("bob", "none", asks=True))
            directory.push(info("bob", "from"))
            directory.push(info("carol", "none", asks=True))
            directory.push(info("carol", "none"), removed=True)
            await me.ping()
            assert await take(changes, 1) == [ContactChange("change", "bob", None, info("bob", "from"))]
            assert await has_nothing(changes, me)

    async def test_a_new_link_asks_for_what_has_changed_alone(self, fake: FakeServer, directory: Directory) -> None:
        directory.contacts = [info("bob"), info("carol")]
        async with presenced.connect(fake.url()) as me, me.contact_changes() as changes:
            await take(changes, 2)
            directory.push(info("bob", "to"))
            await take(changes, 1)
            directory.contacts, directory.removed, directory.is_whole = (
                [info("dora", "none", asks=True)],
                ["carol"],
                False,
            )
            directory.version = 15
            await lose(me, fake.link.drop)
            assert [(change.kind, change.contact) for change in await take(changes, 2)] == [
                *[("request", "dora"), ("removed", "carol")]
            ]
            assert [asked.since for asked in fake.of(GetContacts)] == [0, 11]

    async def test_a_whole_list_on_a_new_link_removes_who_is_not_in_it(
        self, fake: FakeServer, directory: Directory
    ) -> None:
        directory.contacts = [info("bob"), info("carol"), info("dora")]
        async with presenced.connect(fake.url()) as me, me.contact_changes() as changes:
            await take(changes, 3)
            directory.contacts, directory.version = [info("bob"), info("dora")], 20
            await lose(me, fake.link.drop)
            assert [(change.kind, change.contact) for change in await take(changes, 1)] == [("removed", "carol")]
            assert await has_nothing(changes, me)

    async def test_of_a_page_and_a_push_that_cross_the_later_counts(
        self, fake: FakeServer, directory: Directory
    ) -> None:
        directory.contacts = [info("bob"), info("carol")]

        def crossing(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, GetContacts):
                change = messages.ContactChange("alice", 11, info("bob", "to"), False)
                return [change, *directory.answer(message)]
            return directory.answer(message)

        fake.answer = crossing
        async with presenced.connect(fake.url()) as me, me.contact_changes() as changes:
            await take(changes, 2)
            assert changes.contacts["bob"].subscription == "to"

    async def test_two_readers_ask_once_and_the_second_gets_a_snapshot(
        self, fake: FakeServer, directory: Directory
    ) -> None:
        directory.contacts = [info("bob"), info("carol")]
        async with presenced.connect(fake.url()) as me, me.contact_changes() as first:
            await take(first, 2)
            async with me.contact_changes() as second:
                assert [change.kind for change in await take(second, 2)] == ["snapshot", "snapshot"]
            directory.push(info("bob", "to"))
            assert [change.kind for change in await take(first, 1)] == ["change"]
        assert len(fake.of(GetContacts)) == 1

    async def test_an_empty_list_has_no_version_and_is_known_all_the_same(
        self, fake: FakeServer, directory: Directory
    ) -> None:
        directory.version = 0
        async with presenced.connect(fake.url()) as me, me.contact_changes() as first, me.contact_changes() as second:
            directory.push(info("bob", "none", asks=True))
            assert [change.kind for change in (*await take(first, 1), *await take(second, 1))] == ["request"] * 2

    async def test_a_callback_gets_what_waits_and_what_comes(self, fake: FakeServer, directory: Directory) -> None:
        directory.contacts = [info("bob", "none", asks=True)]
        told: list[tuple[str, str]] = []
        async with presenced.connect(fake.url()) as me:

            async def answer(change: ContactChange) -> None:
                told.append((change.kind, change.contact))
                if change.new is not None and change.new.asks:
                    await me.approve(change.contact)

            end = me.on_contact(answer)
            await fake.until(lambda: fake.of(messages.Approve))
            directory.push(info("carol", "none", asks=True))
            await fake.until(lambda: len(fake.of(messages.Approve)) == 2)
            end()
            directory.push(info("dora", "none", asks=True))
            await me.ping()
        assert told == [("snapshot", "bob"), ("request", "carol")]
        assert [message.contact for message in fake.of(messages.Approve)] == ["bob", "carol"]

    async def test_a_refusal_ends_it(self, fake: FakeServer, directory: Directory) -> None:
        def refusing(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, GetContacts):
                return [Error(message.id, "bad_request", "no", 0)]
            return directory.answer(message)

        fake.answer = refusing
        async with presenced.connect(fake.url()) as me:
            with pytest.raises(RequestError):
                await me.contact_changes().start()

    async def test_without_await(self, fake: FakeServer, directory: Directory) -> None:
        directory.contacts, directory.records = [info("bob")], [[record("bob")]]

        def script() -> list[Any]:
            told, has_told = [], threading.Event()

            def tell(change: ContactChange) -> None:
                told.append(change.contact)
                has_told.set()

            with presenced.sync.connect(fake.url(), contacts=True) as me:
                me.on_contact(tell)
                assert has_told.wait(10)
                with me.contacts() as contacts, me.contact_changes() as changes:
                    seen = [next(contacts).user, next(changes).contact, list(contacts.records), list(changes.contacts)]
                me.show_to("bob")
                return [*told, *seen]

        assert await asyncio.to_thread(script) == ["bob", "bob", "bob", ["bob"], ["bob"]]


def presenced_page(version: int, contacts: list[ContactInfo], removed: list[str], is_whole: bool) -> Any:
    return presenced.ContactsPage(version, contacts, removed, is_whole)


class TestAWholeList:
    def test_parts_fit_a_frame_whatever_is_in_them(self) -> None:
        long = [
            ContactEntry(f"{number:05}".ljust(NAME_BYTES_MAX, "x"), "both", "n" * 64, ["g" * 64] * 8)
            for number in range(300)
        ]
        short = [ContactEntry(f"u{number}") for number in range(3000)]
        for entries in (long, short, long + short, []):
            parts = parts_of("alice", entries, FRAME_BYTES_MAX)
            assert [entry for part in parts for entry in part] == entries
            sizes = [len(encode(SetContacts(1, "alice", part, True))) for part in parts]
            assert max(sizes) <= FRAME_BYTES_MAX and max(map(len, parts)) <= CONTACTS_PER_REQUEST_MAX
            # Each part is as full as it can be.
            for part, following in zip(parts, parts[1:], strict=False):
                more = encode(SetContacts(2**31 - 1, "alice", [*part, following[0]], True))
                assert len(part) == CONTACTS_PER_REQUEST_MAX or len(more) > FRAME_BYTES_MAX - 8

    async def test_names_and_entries_go_as_parts_of_one_list(self, fake: FakeServer, directory: Directory) -> None:
        async with presenced.connect_service(fake.url("app", "")) as p:
            await p.set_contacts("alice", ["bob", ContactEntry("carol", "to", "Carol", ["work"])])
            await p.set_contacts("alice", (f"u{number}" for number in range(1500)))
        first, second, third = fake.of(SetContacts)
        assert first.contacts == [ContactEntry("bob", "both"), ContactEntry("carol", "to", "Carol", ["work"])]
        assert [(len(one.contacts), one.more) for one in (first, second, third)] == [
            (2, False),
            (1024, True),
            (476, False),
        ]

    async def test_a_lost_link_begins_it_anew(self, fake: FakeServer, directory: Directory) -> None:
        """The server forgets the parts that came on a lost link: the rest alone would be another list."""
        losses = [2]

        def losing(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, SetContacts) and losses and len(fake.of(SetContacts)) == losses[0]:
                losses.pop()
                fake.link.drop()
                return []
            return directory.answer(message)

        fake.answer = losing
        async with presenced.connect_service(fake.url("app", "")) as p:
            await p.set_contacts("alice", (f"u{number}" for number in range(3000)))
        sent = [(message.contacts[0].contact, message.more) for message in fake.of(SetContacts)]
        whole = [("u0", True), ("u1024", True), ("u2048", False)]
        assert sent == [*whole[:2], *whole]

    async def test_a_refusal_is_raised_and_no_other_part_is_sent(self, fake: FakeServer, directory: Directory) -> None:
        def refusing(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, SetContacts):
                return [Error(message.id, "contact_limit", "too many", 0)]
            return directory.answer(message)

        fake.answer = refusing
        async with presenced.connect_service(fake.url("app", "")) as p:
            with pytest.raises(RequestError) as caught:
                await p.set_contacts("alice", (f"u{number}" for number in range(3000)))
        assert caught.value.code == "contact_limit" and len(fake.of(SetContacts)) == 1

    async def test_a_smaller_frame_of_the_server_holds(self, fake: FakeServer, directory: Directory) -> None:
        fake.welcome = msgspec.structs.replace(fake.welcome, frame_bytes_max=4096)
        async with presenced.connect_service(fake.url("app", "")) as p:
            await p.set_contacts("alice", (f"user-{number}" for number in range(1000)))
        assert max(len(encode(message)) for message in fake.of(SetContacts)) <= 4096


class TestBadInput:
    """Refused before anything is sent."""

    @pytest.mark.parametrize(
        ("call", "code", "words"),
        [
            (lambda me: me.subscribe(""), "bad_name", "the contact name is empty"),
            (lambda me: me.subscribe("bob", note="x" * 257), "bad_contact", "longer than 256 bytes"),
            (lambda me: me.subscribe("bob", note="a\nb"), "bad_contact", "write it in one line"),
            (lambda me: me.approve("a b"), "bad_name", "a space"),
            (lambda me: me.set_contact("bob", name="x" * 65), "bad_contact", "longer than 64 bytes"),
            (lambda me: me.set_contact("bob", groups=["x"] * 2), "bad_contact", "named twice"),
            (lambda me: me.set_contact("bob", groups=[""]), "bad_contact", "empty"),
            (lambda me: me.set_contact("bob", groups="work"), "bad_contact", "not the string 'work'"),
            (lambda me: me.set_contact("bob", groups=map(str, range(9))), "bad_contact", "at most 8 groups"),
            (lambda me: me.set_audience(text="friends"), "bad_request", "everyone, contacts, nobody"),
            (lambda me: me.set_audience(never=["a b"]), "bad_name", "a space"),
            (
                lambda me: me.set_audience(never=[f"{n:04}".ljust(64, "x") for n in range(1000)]),
                "audience_limit",
                "name fewer",
            ),
            (lambda me: me.block(""), "bad_name", "empty"),
            (lambda me: me.show_to("a/b"), "bad_name", "a slash"),
        ],
    )
    async def test_of_a_user(self, fake: FakeServer, directory: Directory, call: Any, code: str, words: str) -> None:
        async with presenced.connect(fake.url()) as me:
            with pytest.raises(AddressError, match=words) as caught:
                await call(me)
        assert caught.value.code == code and [type(message).__name__ for message in fake.received] == ["Hello", "Bye"]

    @pytest.mark.parametrize("contacts", ["bob", ["bob", "a b"], ["bob", 7], ["bob", ContactEntry("")]])
    def test_of_a_list(self, contacts: Any) -> None:
        with pytest.raises(AddressError, match="entry 2|not the string"):
            entries_of(contacts)


async def test_each_act_is_the_message_of_its_name(fake: FakeServer, directory: Directory) -> None:
    """Of a user with no name of their own in it, and of a service with the user's."""
    blocked = messages.BlockList(0, "alice", ["bob"], ["carol"])
    audience = messages.AudienceInfo(0, "alice", "contacts", "nobody", "everyone", ["bob"], [])

    def answer(message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, messages.GetBlocked):
            return [msgspec.structs.replace(blocked, id=message.id)]
        if isinstance(message, messages.GetAudience):
            return [msgspec.structs.replace(audience, id=message.id)]
        return directory.answer(message)

    fake.answer = answer
    async with presenced.connect(fake.url()) as me, presenced.connect_service(fake.url("app", "")) as p:
        for calls, user in ((me, ()), (p, ("alice",))):
            device = ("web",) if user else ()
            await calls.subscribe(*user, "bob", "it is me")
            await calls.approve(*user, "bob")
            await calls.cancel(*user, "bob")
            await calls.unsubscribe(*user, "bob")
            await calls.set_contact(*user, "bob", name="Bob", groups=["work"])
            await calls.remove_contact(*user, "bob")
            await calls.block(*user, "bob")
            await calls.unblock(*user, "bob")
            await calls.hide_from(*user, "bob")
            await calls.show_again(*user, "bob")
            await calls.show_to(*user, *device, "bob")
            await calls.stop_showing(*user, *device, "bob")
            await calls.set_audience(*user, text="contacts", last_seen="nobody", always=["bob"])
            assert await calls.get_blocked(*user) == (["bob"], ["carol"])
            assert await calls.get_audience(*user) == ("contacts", "nobody", "everyone", ["bob"], [])
    for user, device in (("", ""), ("alice", "web")):
        wanted = [
            messages.Subscribe(0, "bob", "it is me", user),
            messages.Approve(0, "bob", user),
            messages.Cancel(0, "bob", user),
            messages.Unsubscribe(0, "bob", user),
            messages.SetContact(0, "bob", "Bob", ["work"], user),
            messages.RemoveContact(0, "bob", user),
            messages.Block(0, "bob", user),
            messages.Unblock(0, "bob", user),
            messages.HideFrom(0, "bob", user),
            messages.ShowAgain(0, "bob", user),
            messages.ShowTo(0, "bob", user, device),
            messages.StopShowing(0, "bob", user, device),
            messages.SetAudience(0, "contacts", "nobody", "everyone", ["bob"], [], user),
            messages.GetBlocked(0, user),
            messages.GetAudience(0, user),
        ]
        got = [message for message in fake.received if getattr(message, "user", None) == user]
        acts = [msgspec.structs.replace(message, id=0) for message in got if hasattr(message, "id")]
        assert acts == wanted
