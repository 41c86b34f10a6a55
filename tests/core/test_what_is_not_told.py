"""Ways by which somebody was told what they may not see, or not told what they may, each as it was found."""

from __future__ import annotations

import pytest

from presenced.core.policy import Policy
from presenced.core.requests import HANDLERS
from presenced.core.rights import rights_of
from presenced.wire.messages import (
    Approve,
    Block,
    Command,
    CommandReply,
    ContactEntry,
    Erase,
    GetAudience,
    GetBlocked,
    GetContacts,
    HideFrom,
    Join,
    Leave,
    SetAudience,
    SetContacts,
    SetStatus,
    StatusRequest,
    Subscribe,
    Who,
)
from tests.core.fake_link import FakeLink
from tests.core.world import World


def narrow(world: World, part: str) -> FakeLink:
    """A service that is kept to the users of one part."""
    return world.open("shop", role="service", rights={"see": [f"*@{part}"]})


def say(app: FakeLink, user: str, status: StatusRequest | None = None, text: str | None = None) -> None:
    app.done(SetStatus(app.next_id(), status, text, user=user))


def spent(world: World, app: FakeLink, user: str) -> None:
    """The user has changed so often that the next change waits."""
    for number in range(15):
        say(app, user, ("dnd", "away")[number % 2])


# --- services that are kept to some users ------------------------------------------------------------------------


def test_a_list_that_is_set_gives_no_consent_for_users_of_others() -> None:
    world = World(Policy(grounds=("contacts",)))
    app = world.open("backend", role="service")
    app.attach(1, "bob@other/web")
    alice, shop = world.open("alice@acme/laptop"), narrow(world, "acme")
    for subscription in ("to", "from", "both"):
        entry = ContactEntry("bob@other", subscription)  # type: ignore[arg-type]
        assert shop.refused(SetContacts(shop.next_id(), "alice@acme", [entry])) == "forbidden"
    assert alice.get("bob@other").version == 0
    shop.done(Subscribe(shop.next_id(), "bob@other", "", "alice@acme"))
    app.done(Approve(app.next_id(), "alice@acme", "bob@other"))
    shop.done(SetContacts(shop.next_id(), "alice@acme", [ContactEntry("bob@other", "to", "Bob")]))
    assert alice.get("bob@other").status == "online", "what both have agreed to stays"


@pytest.mark.parametrize("text", ["who", "remove bob@other", "contacts"])
def test_a_command_tells_a_service_of_nobody_whom_it_does_not_see(text: str) -> None:
    world = World()
    app = world.open("backend", role="service")
    app.attach(1, "bob@other/web")
    world.open("alice@acme/laptop")
    app.done(SetContacts(app.next_id(), "alice@acme", [ContactEntry("bob@other")]))
    shop = narrow(world, "acme")
    reply = shop.expect(Command(shop.next_id(), f"/presence {text}", "alice@acme"), CommandReply)
    assert [record.user for record in reply.records] in ([], ["alice@acme"])
    assert text != "who" or reply.text.startswith("1 online: alice@acme")


# --- what a question costs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SetAudience, GetBlocked, GetAudience, GetContacts])
def test_what_is_refused_costs_the_same_whatever_there_is(kind: type) -> None:
    world = World()
    app, mallory = world.open("backend", role="service"), world.open("mallory/laptop")
    cost = HANDLERS[kind].cost
    assert cost is not None
    names = [f"u{number}" for number in range(200)]
    before = cost(world.engine, mallory.session, kind(1, user="bob"))
    # Four hundred turns: the state is looked at once they are over.
    world.checks = False
    app.done(SetContacts(app.next_id(), "bob", [ContactEntry(name) for name in names]))
    app.done(SetAudience(app.next_id(), always=names, user="bob"))
    for name in names:
        app.done(Block(app.next_id(), name, "bob"))
        app.watch("bob")
    world.checks = True
    world.turn()
    assert cost(world.engine, mallory.session, kind(1, user="bob")) == before
    bob = world.open("bob/laptop")
    assert cost(world.engine, bob.session, kind(1, user="bob")) > 0 or kind is SetAudience


def test_who_costs_a_user_the_same_however_many_are_hidden() -> None:
    world = World(Policy(grounds=("contacts",)))
    app, mallory = world.open("backend", role="service"), world.open("mallory/laptop")
    cost = HANDLERS[Who].cost
    assert cost is not None
    before = cost(world.engine, mallory.session, Who(1, limit=256))
    for number in range(70):
        app.attach(number + 1, f"u{number}/web")
    world.turn()
    assert cost(world.engine, mallory.session, Who(1, limit=256)) == before


# --- channels ----------------------------------------------------------------------------------------------------


def test_that_somebody_left_their_last_channel_is_told_though_spacing_waits() -> None:
    world = World(Policy(change_spacing_ms=200))
    app = world.open("backend", role="service")
    app.attach(1, "bob/web")
    app.done(Join(app.next_id(), "c", "bob", "web"))
    app.watch("bob")
    app.watch_channel("c")
    spent(world, app, "bob")
    app.done(Leave(app.next_id(), "c", "bob", "web"))
    app.forget()
    world.advance(1_000)
    assert app.told.room_events[-1] == ("c", "leave", "bob")
    assert not world.engine.channels.reports.news.is_pending
    told = len(app.pushes)
    world.advance(5_000)
    assert len(app.pushes) == told, "nothing is told again and again"


def test_nothing_is_kept_of_an_erased_member_whose_spacing_waits() -> None:
    world = World(Policy(change_spacing_ms=200))
    app = world.open("backend", role="service")
    app.attach(1, "bob/web")
    app.done(Join(app.next_id(), "c", "bob", "web"))
    app.watch_channel("c")
    spent(world, app, "bob")
    app.done(Erase(app.next_id(), "bob"))
    world.advance(1_000)
    assert app.told.room_events[-1] == ("c", "leave", "bob")
    assert not world.engine.channels.reports.news.is_pending


def test_a_member_who_appears_offline_and_one_who_has_gone_look_the_same() -> None:
    for leaves in (False, True):
        world = World(Policy(grounds=("channels",), change_spacing_ms=0))
        app = world.open("backend", role="service")
        app.attach(1, "bob/web")
        mallory = world.open("mallory/laptop")
        for user, device in (("bob", "web"), ("mallory", "laptop")):
            app.done(Join(app.next_id(), "c", user, device))
        mallory.watch("bob")
        assert mallory.view["bob"].status == "online"
        mallory.forget()
        if leaves:
            app.release(1, lost=False)
            world.turn()
        else:
            say(app, "bob", "offline")
        assert [record.version for record in mallory.pushes] == [0]
        mallory.forget()
        if leaves:
            app.attach(2, "bob/web")
            app.done(Join(app.next_id(), "c", "bob", "web"))
        else:
            say(app, "bob", "auto")
        world.turn()
        assert [record.status for record in mallory.pushes] == ["online"], "once"


def test_what_is_said_behind_leaving_is_not_told_with_it() -> None:
    world = World(Policy(grounds=("channels",), change_spacing_ms=200))
    app, mallory = world.open("backend", role="service"), world.open("mallory/laptop")
    app.attach(1, "bob/web")
    for user, device in (("bob", "web"), ("mallory", "laptop")):
        app.done(Join(app.next_id(), "c", user, device))
    mallory.watch_channel("c")
    spent(world, app, "bob")
    app.done(Leave(app.next_id(), "c", "bob", "web"))
    say(app, "bob", text="said behind it")
    world.advance(2_000)
    assert mallory.told.room_events[-1] == ("c", "leave", "bob")
    assert not [data for data in mallory.raw if b"said behind it" in data]


# --- watches -----------------------------------------------------------------------------------------------------


def test_lost_sight_is_told_to_who_was_not_told_the_last_of_a_face() -> None:
    world = World(Policy(change_spacing_ms=200))
    app, mallory = world.open("backend", role="service"), world.open("mallory/laptop")
    app.attach(1, "bob/web")
    app.done(SetAudience(app.next_id(), "nobody", "nobody", "nobody", user="bob"))
    mallory.watch("bob")
    spent(world, app, "bob")
    say(app, "bob", "offline")
    assert mallory.view["bob"].status != "offline", "that waits"
    app.done(HideFrom(app.next_id(), "mallory", "bob"))
    assert mallory.pushes[-1].version == 0


def test_rights_of_a_service_are_those_of_one_list() -> None:
    rights = rights_of({"see": ["*@acme"]}, "shop", "service")
    assert not rights.acts_for("bob@other") and rights.acts_for("alice@acme")
