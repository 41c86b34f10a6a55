"""What users do about their contacts, over the messages of the protocol: what each side has, and who is told."""

from __future__ import annotations

import pytest

from presenced.core.records import ContactSet, ContactsSet
from presenced.core.roster import LISTED, TO
from presenced.wire.messages import (
    Approve,
    Block,
    Cancel,
    ContactChange,
    ContactEntry,
    ContactInfo,
    ContactList,
    Follow,
    Following,
    GetContacts,
    RemoveContact,
    SetContact,
    SetContacts,
    Subscribe,
    Unblock,
    Unsubscribe,
)
from tests.core.world import FakeLink, World


class Parties:
    """Alice and bob, each with a link that is told of contacts, and a service that follows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app = world.open("app", role="service")
        self.app.expect(Follow(self.app.next_id()), Following)
        self.alice, self.bob = world.open("alice/laptop"), world.open("bob/laptop")
        for link in (self.alice, self.bob):
            contacts(link)

    def events(self) -> list[tuple[str, str, str, str, str]]:
        told = [(e.kind, e.user, e.old, e.new, e.reason) for e in self.app.told.events if e.kind.startswith("contact")]
        self.app.told.events.clear()
        return told


@pytest.fixture
def parties() -> Parties:
    return Parties(World())


def contacts(link: FakeLink, since: int = 0, user: str = "") -> ContactList:
    return link.expect(GetContacts(link.next_id(), since, user=user), ContactList)


def words(info: ContactInfo) -> str:
    """A contact as one line."""
    flags = [word for word in ("asked", "asks", "approved") if getattr(info, word)]
    named = [*([info.name] if info.name else []), *info.groups, *([repr(info.note)] if info.note else [])]
    return " ".join([info.contact, info.subscription, *flags, *named])


def listed(link: FakeLink, user: str = "") -> list[str]:
    return [words(info) for info in contacts(link, user=user).contacts]


def changes(link: FakeLink) -> list[str]:
    """What the link was told of its list since the last call."""
    told = [message for message in link.messages if isinstance(message, ContactChange)]
    link.forget()
    return [("- " if message.removed else "") + words(message.contact) for message in told]


def test_a_request_is_made_and_granted(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    alice.done(Subscribe(alice.next_id(), "bob", "hi, alice here"))
    assert (listed(alice), listed(bob)) == (["bob none asked"], ["alice none asks 'hi, alice here'"])
    assert (changes(alice), changes(bob)) == (["bob none asked"], ["alice none asks 'hi, alice here'"])
    assert parties.events() == [("contact_request", "bob", "", "alice", "hi, alice here")]
    bob.done(Approve(bob.next_id(), "alice"))
    assert (changes(alice), changes(bob)) == (["bob to"], ["alice from"])
    assert parties.events() == [
        ("contact_change", "bob", "none", "from", "alice"),
        ("contact_change", "alice", "none", "to", "bob"),
    ]
    bob.done(Subscribe(bob.next_id(), "alice"))
    alice.done(Approve(alice.next_id(), "bob"))
    assert (listed(alice), listed(bob)) == (["bob both"], ["alice both"])


def test_what_is_repeated_is_silent(parties: Parties) -> None:
    alice, bob, log = parties.alice, parties.bob, parties.world.log
    acts = [
        (alice, Subscribe(alice.next_id(), "bob", "hi")),
        (bob, Approve(bob.next_id(), "alice")),
        (alice, Subscribe(alice.next_id(), "bob", "again, and nothing to ask for")),
        (alice, SetContact(alice.next_id(), "bob", "Bobby", ["work"])),
        (bob, Cancel(bob.next_id(), "alice")),
        (alice, Unsubscribe(alice.next_id(), "bob")),
        (alice, Approve(alice.next_id(), "bob")),
        (alice, RemoveContact(alice.next_id(), "bob")),
    ]
    for link, act in acts:
        link.done(act)
        before = len(log.facts), parties.world.engine.ledger.version
        for one in (alice, bob):
            one.forget()
        parties.events()
        link.done(act)
        assert (len(log.facts), parties.world.engine.ledger.version) == before, f"{act} repeated is logged"
        assert not changes(alice) and not changes(bob) and not parties.events(), f"{act} repeated is told"


def test_another_note_replaces_the_first_and_is_no_new_request(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    alice.done(Subscribe(alice.next_id(), "bob", "one"))
    alice.done(Subscribe(alice.next_id(), "bob", "two"))
    assert listed(bob) == ["alice none asks 'two'"]
    assert [event[0] for event in parties.events()] == ["contact_request"]


def test_an_approval_is_kept_until_it_is_used_or_taken_back(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    bob.done(Approve(bob.next_id(), "alice"))
    assert (listed(alice), listed(bob)) == ([], ["alice none approved"])
    alice.done(Subscribe(alice.next_id(), "bob"))
    assert (listed(alice), listed(bob)) == (["bob to"], ["alice from"])
    alice.done(Unsubscribe(alice.next_id(), "bob"))
    alice.done(Subscribe(alice.next_id(), "bob"))
    assert listed(alice) == ["bob none asked"], "it was used up"
    bob.done(Cancel(bob.next_id(), "alice"))
    bob.done(Approve(bob.next_id(), "alice"))
    bob.done(Cancel(bob.next_id(), "alice"))
    assert (listed(alice), listed(bob)) == ([], [])


def test_who_is_removed_keeps_the_other_in_the_list(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    parties.app.done(SetContacts(parties.app.next_id(), "alice", [ContactEntry("bob", "both", "Bobby", ["work"])]))
    parties.alice.forget()
    alice.done(RemoveContact(alice.next_id(), "bob"))
    assert (listed(alice), listed(bob)) == ([], ["alice none"])
    assert changes(alice) == ["- bob none"]
    bob.done(RemoveContact(bob.next_id(), "alice"))
    assert listed(bob) == [] and "bob none" not in listed(alice)


def test_a_name_and_groups_are_the_users_own(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    alice.done(SetContact(alice.next_id(), "bob", "Bobby", ["work", "chess"]))
    assert (listed(alice), listed(bob)) == (["bob none Bobby work chess"], [])
    alice.done(SetContact(alice.next_id(), "bob", groups=[]))
    assert listed(alice) == ["bob none Bobby"]
    alice.done(SetContact(alice.next_id(), "bob", ""))
    assert listed(alice) == ["bob none"], "it stays in the list"


def test_a_blocked_request_looks_like_any_other_to_who_asks_and_is_seen_after_the_block(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    bob.done(Block(bob.next_id(), "alice"))
    alice.forget()
    alice.done(Subscribe(alice.next_id(), "bob", "hi"))
    of_blocking = [message for message in alice.messages if isinstance(message, ContactChange)]
    alice.done(Subscribe(alice.next_id(), "nobody", "hi"))
    of_unknown = [message for message in alice.messages if isinstance(message, ContactChange)][1:]
    assert [words(m.contact).replace("bob", "nobody") for m in of_blocking] == [words(m.contact) for m in of_unknown]
    assert (listed(bob), changes(bob)) == ([], [])
    assert parties.events() == [("contact_request", "nobody", "", "alice", "hi")]
    bob.done(Unblock(bob.next_id(), "alice"))
    assert changes(bob) == ["alice none asks 'hi'"] and listed(bob) == ["alice none asks 'hi'"]
    assert parties.events() == [("contact_request", "bob", "", "alice", "hi")]
    bob.done(Block(bob.next_id(), "alice"))
    assert changes(bob) == ["- alice none"] and listed(bob) == [] and listed(alice)[0] == "bob none asked"


def test_a_block_holds_back_what_was_approved_before(parties: Parties) -> None:
    alice, bob = parties.alice, parties.bob
    bob.done(Approve(bob.next_id(), "alice"))
    bob.done(Block(bob.next_id(), "alice"))
    alice.done(Subscribe(alice.next_id(), "bob"))
    assert listed(alice) == ["bob none asked"]
    bob.done(Unblock(bob.next_id(), "alice"))
    assert (listed(alice), listed(bob)) == (["bob to"], ["alice from"])


def test_a_list_is_set_as_a_whole_in_one_fact(parties: Parties) -> None:
    alice, bob, app, log = parties.alice, parties.bob, parties.app, parties.world.log
    bob.done(Subscribe(bob.next_id(), "alice", "hi"))
    alice.done(SetContact(alice.next_id(), "zoe"))
    alice.done(Subscribe(alice.next_id(), "carol"))
    log.facts.clear()
    entries = [ContactEntry("carol"), ContactEntry("dave", "from", "Dave", ["x"]), ContactEntry("carol", "to")]
    app.done(SetContacts(app.next_id(), "alice", entries))
    assert listed(alice) == ["bob none asks 'hi'", "carol to", "dave from Dave x"], "what bob asked is not answered"
    assert listed(app, "carol") == ["alice from"] and listed(app, "dave") == ["alice to"]
    assert [type(fact) for fact in log.facts if isinstance(fact, ContactSet | ContactsSet)] == [ContactsSet]
    log.facts.clear()
    app.done(SetContacts(app.next_id(), "alice", entries))
    assert not log.facts, "the same list again"
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("bob")]))
    assert (listed(alice), listed(bob)) == (["bob both"], ["alice both"]), "and now it is answered"
    assert listed(app, "carol") == ["alice none"], "whoever is not named is removed"


def test_a_list_comes_in_parts_and_counts_when_it_is_complete(parties: Parties) -> None:
    alice, app = parties.alice, parties.app
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("bob"), ContactEntry("carol")], more=True))
    app.done(SetContacts(app.next_id(), "bob", [ContactEntry("dave")]))
    assert listed(alice) == []
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("bob", "to")], continues=True))
    assert listed(alice) == ["bob to", "carol both"]


def test_a_list_that_is_begun_anew_takes_nothing_of_the_one_that_was_given_up(parties: Parties) -> None:
    alice, app = parties.alice, parties.app
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("bob")], more=True))
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("carol")], more=True))
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("dave")], continues=True))
    assert listed(alice) == ["carol both", "dave both"]
    assert app.refused(SetContacts(app.next_id(), "alice", [], continues=True)) == "bad_request"
    assert listed(alice) == ["carol both", "dave both"]


def test_a_part_that_is_refused_spoils_the_list_to_its_end(parties: Parties) -> None:
    alice, app = parties.alice, parties.app
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("bob")]))
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("carol")], more=True))
    bad = SetContacts(app.next_id(), "alice", [ContactEntry("a/b")], more=True, continues=True)
    assert app.refused(bad) == "bad_name"
    for more in (True, False):
        rest = SetContacts(app.next_id(), "alice", [ContactEntry("dave")], more, continues=True)
        assert app.refused(rest) == "bad_request"
    assert listed(alice) == ["bob both"]
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry("dave")]))
    assert listed(alice) == ["dave both"], "a list from the start is a list again"


def test_each_change_of_a_list_that_is_set_has_a_version_of_its_own(parties: Parties) -> None:
    alice, app = parties.alice, parties.app
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry(name) for name in ("bob", "carol", "dave")]))
    told = [message for message in alice.messages if isinstance(message, ContactChange)]
    versions = [message.version for message in told]
    assert versions == sorted(set(versions))
    for place, message in enumerate(told):
        later = contacts(alice, message.version)
        assert not later.is_whole and [info.contact for info in later.contacts] == ["bob", "carol", "dave"][place + 1 :]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Subscribe(1, ""), "bad_name"),
        (Subscribe(1, "a/b"), "bad_name"),
        (Subscribe(1, "alice"), "bad_request"),
        (Subscribe(1, "bob", "x" * 257), "bad_contact"),
        (Subscribe(1, "bob", "two\nlines"), "bad_contact"),
        (Approve(1, "alice"), "bad_request"),
        (Cancel(1, "alice"), "bad_request"),
        (Unsubscribe(1, "a b"), "bad_name"),
        (RemoveContact(1, "alice"), "bad_request"),
        (SetContact(1, "bob", "x" * 65), "bad_contact"),
        (SetContact(1, "bob", "\x07"), "bad_contact"),
        (SetContact(1, "bob", groups=[""]), "bad_contact"),
        (SetContact(1, "bob", groups=["a", "a"]), "bad_contact"),
        (SetContact(1, "bob", groups=["x" * 65]), "bad_contact"),
        (SetContact(1, "bob", groups=[str(number) for number in range(9)]), "bad_contact"),
        (SetContacts(1, "alice", [ContactEntry("bob")]), "forbidden"),
        (GetContacts(1, user="bob"), "forbidden"),
    ],
)
def test_what_is_wrong_changes_nothing(parties: Parties, message: Subscribe, code: str) -> None:
    facts = len(parties.world.log.facts)
    assert parties.alice.refused(message) == code
    assert len(parties.world.log.facts) == facts and listed(parties.alice) == []


def test_wrong_entries_are_named_by_their_place_and_change_nothing(parties: Parties) -> None:
    app = parties.app
    for entry, code in (
        (ContactEntry("alice"), "bad_request"),
        (ContactEntry("a b"), "bad_name"),
        (ContactEntry("bob", groups=["x", "x"]), "bad_contact"),
    ):
        assert app.refused(SetContacts(app.next_id(), "alice", [ContactEntry("carol"), entry])) == code
    assert listed(parties.alice) == []


def test_a_list_is_set_of_a_user_who_is_named(parties: Parties) -> None:
    for app in (parties.app, parties.world.open("app/desk", role="service")):
        assert app.refused(SetContacts(app.next_id(), "", [ContactEntry("carol")])) == "bad_name"
        assert listed(app, "app") == []


def test_a_service_does_all_of_it_for_anybody(parties: Parties) -> None:
    app = parties.app
    app.done(Subscribe(app.next_id(), "yan", "hi", "xi"))
    app.done(Approve(app.next_id(), "xi", "yan"))
    app.done(SetContact(app.next_id(), "yan", "Y", user="xi"))
    assert listed(app, "xi") == ["yan to Y"] and listed(app, "yan") == ["xi from"]
    app.done(RemoveContact(app.next_id(), "xi", "yan"))
    app.done(RemoveContact(app.next_id(), "yan", "xi"))
    assert "xi" not in parties.world.engine.users and "yan" not in parties.world.engine.users, (
        "nothing is known of them"
    )


def test_a_full_list_takes_nobody_else(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.core.parts.contacts.CONTACTS_MAX", 2)
    alice, bob, app = parties.alice, parties.bob, parties.app
    alice.done(SetContact(alice.next_id(), "carol"))
    alice.done(Subscribe(alice.next_id(), "dave"))
    bob.done(Subscribe(bob.next_id(), "alice"))
    for message in (
        Subscribe(alice.next_id(), "bob"),
        Approve(alice.next_id(), "bob"),
        SetContact(alice.next_id(), "bob"),
        Approve(alice.next_id(), "eve"),
    ):
        assert alice.refused(message) == "contact_limit"
    assert app.refused(SetContacts(app.next_id(), "eve", [ContactEntry("alice")])) == "contact_limit"
    assert listed(app, "eve") == []
    alice.done(SetContact(alice.next_id(), "dave", "Dave"))
    alice.done(RemoveContact(alice.next_id(), "carol"))
    alice.done(Approve(alice.next_id(), "bob"))


def test_the_oldest_request_makes_room(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.core.parts.contacts.CONTACT_REQUESTS_MAX", 2)
    app, bob = parties.app, parties.bob
    for name in ("xi", "carol", "dave"):
        app.done(Subscribe(app.next_id(), "bob", "", name))
    assert listed(bob) == ["carol none asks", "dave none asks"]
    assert listed(app, "xi") == [], "who was refused does not ask any longer"


def test_pages_in_order_of_name(parties: Parties) -> None:
    alice, app = parties.alice, parties.app
    names = [f"u{number:03}" for number in range(600)]
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry(name, "to") for name in reversed(names)]))
    found: list[str] = []
    after, pages = "", 0
    while pages == 0 or after:
        page = alice.expect(GetContacts(alice.next_id(), after=after), ContactList)
        found += [info.contact for info in page.contacts]
        after, pages = page.next, pages + 1
        assert page.is_whole
    assert found == names and pages == 3


def test_changes_since_a_version(parties: Parties) -> None:
    alice, app = parties.alice, parties.app
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry(name, "to") for name in ("bob", "carol", "dave")]))
    version = contacts(alice).version
    assert contacts(alice, version).contacts == []
    app.done(Unsubscribe(app.next_id(), "bob", "alice"))
    app.done(RemoveContact(app.next_id(), "carol", "alice"))
    app.done(SetContact(app.next_id(), "erin", "E", user="alice"))
    later = contacts(alice, version)
    assert not later.is_whole
    assert ([words(info) for info in later.contacts], later.removed) == (["bob none", "erin none E"], ["carol"])
    assert contacts(alice, later.version + 1).is_whole, "a version that the list never had"
    for number in range(257):
        app.done(SetContact(app.next_id(), "erin", f"E{number}", user="alice"))
    assert contacts(alice, later.version).is_whole, "too many changes ago"


def test_a_version_holds_over_a_restart_if_nothing_has_changed(parties: Parties) -> None:
    parties.alice.done(SetContact(parties.alice.next_id(), "bob"))
    version = contacts(parties.alice).version
    world = parties.world.restarted()
    alice = world.open("alice/laptop")
    assert not contacts(alice, version).is_whole
    alice.done(SetContact(alice.next_id(), "carol"))
    later = contacts(alice, version)
    assert not later.is_whole and [info.contact for info in later.contacts] == ["carol"]


def test_a_link_that_does_not_read_is_told_what_it_missed(parties: Parties) -> None:
    alice, app = parties.alice, parties.app
    alice.fill()
    for name in ("bob", "carol", "bob", "dave"):
        app.done(SetContact(app.next_id(), name, f"{name}'s name", user="alice"))
        app.done(SetContact(app.next_id(), name, "", user="alice"))
    app.done(RemoveContact(app.next_id(), "carol", "alice"))
    alice.forget()
    alice.drain()
    told = [message for message in alice.messages if isinstance(message, ContactChange)]
    assert [("- " if m.removed else "") + words(m.contact) for m in told] == ["bob none", "dave none", "- carol none"]
    assert [m.version for m in told] == sorted(m.version for m in told)
    assert told[-1].version == contacts(alice).version


def test_only_links_that_asked_are_told_and_only_of_their_own(parties: Parties) -> None:
    phone, app = parties.world.open("alice/phone"), parties.app
    contacts(app, user="alice")
    parties.alice.done(SetContact(parties.alice.next_id(), "bob"))
    assert changes(phone) == [] and changes(app) == [] and changes(parties.alice) == ["bob none"]


def test_what_is_known_survives_a_restart_from_log_and_snapshot(parties: Parties) -> None:
    app = parties.app
    app.done(
        SetContacts(app.next_id(), "alice", [ContactEntry("bob", "both", "B", ["x"]), ContactEntry("carol", "to")])
    )
    for number in range(3):
        app.done(Subscribe(app.next_id(), "alice", f"note {number}", f"user{2 - number}"))
    parties.bob.done(Approve(parties.bob.next_id(), "zoe"))
    users = parties.world.engine.users
    before = {name: user.contacts.contacts for name, user in users.items() if user.contacts is not None}
    assert before["alice"] == {"bob": users["alice"].contacts.contact("bob"), "carol": TO | LISTED, **{  # type: ignore[union-attr]
        f"user{2 - number}": users["alice"].contacts.contact(f"user{2 - number}") for number in range(3)  # type: ignore[union-attr]
    }}  # fmt: skip
    for facts in (None, parties.world.snapshot(), [*parties.world.snapshot(), *parties.world.log.facts]):
        world = parties.world.restarted(facts=facts)
        after = {name: user.contacts.contacts for name, user in world.engine.users.items() if user.contacts is not None}
        assert after == before
        alice = world.engine.users["alice"].contacts
        assert alice is not None and list(alice.asking or ()) == ["user2", "user1", "user0"], "the oldest first"
        assert alice.version == users["alice"].contacts.version  # type: ignore[union-attr]


def test_who_is_erased_is_in_nobodys_list(parties: Parties) -> None:
    world, alice, bob, app = parties.world, parties.alice, parties.bob, parties.app
    app.done(
        SetContacts(app.next_id(), "alice", [ContactEntry("bob"), ContactEntry("carol", "to"), ContactEntry("dave")])
    )
    alice.done(Subscribe(alice.next_id(), "erin", "hi"))
    app.done(SetContact(app.next_id(), "alice", "A", user="zoe"))
    bob.watch("alice")
    changes(bob)
    world.engine.contacts.erase(world.user("alice"), world.now_ms)
    world.turn()
    assert changes(bob) == ["- alice none"]
    assert [listed(app, name) for name in ("alice", "bob", "carol", "dave", "erin", "zoe")] == [[]] * 6
    assert world.engine.contacts.pairs.contacts == world.engine.contacts.pairs.requests == 0
