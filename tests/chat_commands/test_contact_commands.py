"""What people type about contacts and about who may see them: each command, its sentence, its data and its effect."""

from __future__ import annotations

import pytest

from presenced.core.policy import Policy
from presenced.wire.messages import (
    BlockList,
    ContactEntry,
    ContactList,
    GetBlocked,
    GetContacts,
    SetAudience,
    SetContacts,
)
from tests.chat_commands.typed import typed
from tests.core.world import FakeLink, World


def stage() -> tuple[World, FakeLink, FakeLink, FakeLink]:
    """A world where users see their contacts alone, a chat bot's service, and alice and bob online."""
    world = World(Policy(grounds=("contacts",)))
    return world, world.open("bot", role="service"), world.open("alice/laptop"), world.open("bob/phone")


def subscriptions(link: FakeLink) -> dict[str, str]:
    answer = link.expect(GetContacts(link.next_id()), ContactList)
    waits = {"asked": "asked", "asks": "asks", "approved": "approved"}
    return {
        info.contact: " ".join([info.subscription, *(word for word in waits if getattr(info, word))])
        for info in answer.contacts
    }


def test_two_people_become_contacts_and_part() -> None:
    _, bot, alice, bob = stage()
    reply = typed(bot, "/presence add bob", "alice")
    assert (reply.ok, reply.verb, reply.text) == (True, "add", "You have asked to see bob, who has to allow it")
    assert reply.records == [] and subscriptions(bob) == {"alice": "none asks"}
    assert typed(bob, "contacts").text == "1 contact: alice (asks to see you)"
    assert typed(bob, "allow alice").text == "You let alice see you"
    reply = typed(alice, "add bob")
    assert reply.text == "bob lets you see them" and [record.user for record in reply.records] == ["bob"]
    assert (subscriptions(alice), subscriptions(bob)) == ({"bob": "to"}, {"alice": "from"})
    assert typed(alice, "who").text == "2 online: alice (online), bob (online)"
    assert typed(bot, "who", "bob").text == "1 online: bob (online)"
    assert typed(alice, "remove bob").text == "You do not see bob as a contact any longer"
    assert typed(alice, "who").text == "1 online: alice (online)"


def test_what_is_allowed_before_it_is_asked_is_granted_at_once_and_can_be_denied() -> None:
    _, _, alice, bob = stage()
    assert typed(bob, "allow alice").text == "alice has not asked to see you yet; when they do, it is allowed"
    assert typed(bob, "contacts").text == "1 contact: alice (may see you when they ask)"
    assert typed(alice, "add bob").text == "bob lets you see them"
    for _ in range(2):
        assert typed(bob, "deny alice").text == "You do not let alice see you as a contact"
        assert typed(alice, "who").text == "1 online: alice (online)"


def test_contacts_are_listed_with_who_asks_first() -> None:
    _, bot, alice, _ = stage()
    assert typed(alice, "contacts").text == "You have no contacts; add NAME asks to see somebody"
    entries = [
        ContactEntry("bob"),
        ContactEntry("carol", "from"),
        ContactEntry("dora", "to"),
        ContactEntry("emil", "none"),
    ]
    bot.done(SetContacts(bot.next_id(), "alice", entries))
    typed(bot, "add alice", "zoe")
    reply = typed(alice, "contacts")
    assert reply.text == (
        "5 contacts: zoe (asks to see you); bob (you see each other); carol (they see you); dora (you see them); "
        "emil (neither sees the other)"
    )
    assert [(record.user, record.status) for record in reply.records] == [("bob", "online"), ("dora", "offline")]
    bot.done(SetContacts(bot.next_id(), "alice", [ContactEntry(f"u{number:02}") for number in range(30)]))
    reply = typed(alice, "contacts")
    assert reply.text.startswith("31 contacts: zoe (") and reply.text.endswith("; ...") and len(reply.records) == 19


def test_block_and_hide_and_their_ends() -> None:
    _, bot, alice, bob = stage()
    bot.done(SetContacts(bot.next_id(), "alice", [ContactEntry("bob")]))
    steps = (
        ("block bob", "You and bob do not see each other; they are not told", 1, 1),
        ("unblock bob", "You do not block bob", 2, 2),
        ("hide bob", "bob sees you as offline; they are not told", 2, 1),
        ("unhide bob", "You do not hide from bob", 2, 2),
    )
    for text, said, mine, theirs in steps:
        for _ in range(2):
            assert typed(alice, text).text == said
            assert typed(alice, "who").text.startswith(f"{mine} online")
            assert typed(bob, "who").text.startswith(f"{theirs} online")
    answer = alice.expect(GetBlocked(alice.next_id()), BlockList)
    assert (answer.blocked, answer.hidden) == ([], [])


def test_the_audience_is_told() -> None:
    _, _, alice, _ = stage()
    said = "You show your text to everyone, last seen to everyone and your device to everyone"
    assert typed(alice, "audience").text == said
    alice.done(SetAudience(alice.next_id(), "contacts", "nobody", "everyone", ["dora", "carol"], ["mallory"]))
    assert typed(alice, "audience").text == (
        "You show your text to your contacts, last seen to nobody and your device to everyone; "
        "always all of it to carol, dora; never any of it to mallory"
    )


VERBS = ("add", "allow", "deny", "remove", "block", "unblock", "hide", "unhide")


@pytest.mark.parametrize("verb", VERBS)
def test_what_cannot_be_done_gets_a_sentence_and_changes_nothing(verb: str) -> None:
    world, bot, alice, _ = stage()
    before = (world.snapshot(), len(world.log.facts))
    for text, said in (
        (verb, f"{verb} takes one user after it: {verb} NAME"),
        (f"{verb} bob carol", f"{verb} takes one user after it: {verb} NAME"),
        (f"{verb} a/b", "a slash"),
        (f"{verb} alice", f"{verb} is about another user, and 'alice' is you"),
    ):
        reply = typed(alice, text)
        assert not reply.ok and said in reply.text and reply.verb == verb
    assert not typed(bot, f"{verb} alice", "alice").ok
    assert (world.snapshot(), len(world.log.facts)) == before


@pytest.mark.parametrize("verb", VERBS)
def test_it_is_saved_or_declined(verb: str) -> None:
    world, _, alice, _ = stage()
    world.log.refusal = "read_only"
    world.turn()
    reply = typed(alice, f"{verb} bob")
    assert not reply.ok and "full" in reply.text
    assert typed(alice, "contacts").ok and typed(alice, "audience").ok


def test_names_of_whom_nothing_is_known_leave_nothing_behind() -> None:
    world, bot, _, _ = stage()
    for verb in ("deny", "remove", "unblock", "unhide"):
        assert typed(bot, f"{verb} nobody", "ghost").ok
    for text in ("contacts", "audience"):
        assert typed(bot, text, "ghost").ok
    assert not {"nobody", "ghost"} & set(world.engine.users)


def test_while_memory_is_short_nothing_more_is_kept() -> None:
    world, _, alice, _ = stage()
    world.engine.set_memory_level(1)
    for verb in ("add", "allow", "block", "hide"):
        assert not typed(alice, f"{verb} carol").ok
    assert typed(alice, "deny carol").ok and "carol" not in world.engine.users
