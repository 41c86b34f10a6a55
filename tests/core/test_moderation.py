"""What services take away: tokens of before a moment, and links; who is told what, and what stays."""

from __future__ import annotations

import pytest

from presenced.core.model import GONE, GRACE
from presenced.core.records import TokensRevoked
from presenced.core.rights import EVERYBODY, Rights, compiled
from presenced.limits import REVOCATION_AHEAD_MS_MAX, REVOCATION_KEPT_MS
from presenced.wire.messages import Erase, Follow, Kick, Ping, Revoke, SetStatus, Taken
from tests.core.world import WALL_MS, FakeLink, World


def admin_of(world: World) -> FakeLink:
    admin = world.open("admin", role="admin")
    admin.watch("alice")
    return admin


def issued(world: World, address: str, issued_ms: int, **opened: object) -> FakeLink:
    """A link whose token says that it was made then."""
    link = world.open(address, **opened)  # type: ignore[arg-type]
    link.session.issued_ms = issued_ms
    return link


# --- revoke ---------------------------------------------------------------------------------------------------


def test_links_with_an_earlier_token_end_and_later_ones_stay() -> None:
    world = World()
    admin = admin_of(world)
    moment_ms = WALL_MS + 5_000
    early = issued(world, "alice/laptop", moment_ms - 1_000)
    unsaid = issued(world, "alice/phone", 0)
    same = issued(world, "alice/web", moment_ms)
    other = issued(world, "bob/laptop", 0)
    backend = issued(world, "alice", moment_ms - 1_000, role="service")
    admin.forget()
    admin.done(Revoke(admin.next_id(), "alice", moment_ms + 999))
    assert [link.ended for link in (early, unsaid, backend)] == ["token_revoked"] * 3
    assert same.open and other.open
    assert world.device("alice/laptop").state == GRACE and admin.pushes == [], "who gets a new token is back unseen"
    refuses = world.engine.revocations.refuses
    assert refuses("alice", 0) and refuses("alice", moment_ms - 1) and not refuses("alice", moment_ms)
    assert not refuses("bob", 0)


def test_now_is_the_servers_and_of_several_moments_the_latest_counts() -> None:
    world = World()
    admin = admin_of(world)
    admin.done(Revoke(admin.next_id(), "alice"))
    second_ms = world.wall_ms - world.wall_ms % 1_000
    for before_ms in (0, second_ms - 60_000):
        assert world.engine.revocations.refuses("alice", second_ms - 1), before_ms
        assert not world.engine.revocations.refuses("alice", second_ms), "made in this second: it can be used"
        admin.done(Revoke(admin.next_id(), "alice", before_ms))


def test_a_moment_far_ahead_is_refused_and_applies_nothing() -> None:
    world = World()
    admin = admin_of(world)
    laptop = world.open("alice/laptop")
    assert admin.refused(Revoke(admin.next_id(), "alice", world.wall_ms + REVOCATION_AHEAD_MS_MAX + 1)) == "bad_time"
    world.engine.set_read_only("read_only")
    assert admin.refused(Revoke(admin.next_id(), "alice")) == "read_only"
    assert laptop.open and not world.engine.revocations.refuses("alice", 0)
    world.engine.set_read_only("")
    admin.done(Revoke(admin.next_id(), "alice", world.wall_ms + REVOCATION_AHEAD_MS_MAX))
    assert laptop.ended == "token_revoked"


@pytest.mark.parametrize("way", ["log", "snapshot"])
def test_a_revocation_survives_a_restart_and_ends_after_its_year(way: str) -> None:
    world = World()
    admin = admin_of(world)
    admin.done(Revoke(admin.next_id(), "stranger"))
    assert "stranger" in world.engine.users, "also of somebody of whom nothing else is known"
    after = world.restarted(facts=world.log.facts if way == "log" else world.snapshot())
    assert after.engine.revocations.refuses("stranger", 0)
    moment_ms = WALL_MS - WALL_MS % 1_000
    assert [fact for fact in after.snapshot() if isinstance(fact, TokensRevoked)] == [
        TokensRevoked("stranger", moment_ms)
    ]
    later = world.restarted(REVOCATION_KEPT_MS + 2_000)
    revoked = [fact for fact in later.snapshot() if isinstance(fact, TokensRevoked)]
    assert not revoked and not later.engine.users, "no token should be so old"
    assert not later.engine.revocations.refuses("stranger", 0)


# --- kick -----------------------------------------------------------------------------------------------------


def test_all_devices_are_gone_at_once_and_watchers_see_it_in_the_same_turn() -> None:
    world = World()
    admin = admin_of(world)
    backend = world.open("backend", role="service")
    admin.say(Follow(admin.next_id()))
    world.turn()
    laptop, lost = world.open("alice/laptop"), world.open("alice/phone")
    lost.lose()
    backend.attach(7, "alice/tab")
    backend.attach(8, "bob/tab")
    admin.forget()
    admin.done(Kick(admin.next_id(), "alice"))
    assert laptop.ended == "kicked"
    assert [record.status for record in admin.pushes] == ["offline"]
    assert {device.state for device in world.user("alice").devices.values()} == {GONE}
    assert [(one.ref, one.why) for one in backend.messages if isinstance(one, Taken)] == [(7, "kicked")]
    assert backend.open and world.record("bob").status == "online"
    assert admin.told.kinds("alice")[-2:] == ["offline kicked", "status_change"]
    back = world.open("alice/laptop")
    assert back.open and admin.statuses("alice") == ["offline", "online"], "it keeps nobody out"


def test_what_a_kicked_link_says_in_the_same_turn_is_not_handled() -> None:
    world = World()
    admin = admin_of(world)
    laptop = world.open("alice/laptop")
    admin.say(Kick(admin.next_id(), "alice"))
    laptop.say(SetStatus(laptop.next_id(), "dnd", "I am here"))
    laptop.say(Ping(laptop.next_id()))
    world.turn()
    assert laptop.ended == "kicked" and laptop.messages[1:] == []
    assert world.record("alice").text == "" and not world.user("alice").claims


def test_a_services_links_are_kicked_by_its_name_and_its_devices_have_their_grace() -> None:
    world = World()
    admin = admin_of(world)
    backend, mixed = world.open("backend", role="service"), world.open("backend/tool", role="service", priority=-1)
    backend.attach(1, "alice/tab")
    admin.done(Kick(admin.next_id(), "backend"))
    assert (backend.ended, mixed.ended) == ("kicked", "kicked")
    assert world.device("alice/tab").state == GRACE and "backend" not in world.engine.users


def test_one_may_kick_oneself_and_is_answered_before() -> None:
    world = World()
    admin = admin_of(world)
    admin.done(Kick(admin.next_id(), "admin"))
    assert admin.ended == "kicked"


@pytest.mark.parametrize("message", [Revoke(9, "alice"), Kick(9, "alice"), Revoke(9, "self"), Kick(9, "self")])
def test_no_user_may_and_an_empty_name_is_nobody(message: Revoke | Kick) -> None:
    world = World()
    alice, me, admin = world.open("alice/laptop"), world.open("self/laptop"), admin_of(world)
    assert me.refused(message) == "forbidden"
    assert admin.refused(type(message)(9, "")) == "bad_name"
    assert alice.open and me.open and admin.open


@pytest.mark.parametrize(
    "rights",
    [Rights(EVERYBODY, compiled(["bob"])), Rights(EVERYBODY, EVERYBODY, only_read=True)],
    ids=["act", "only_read"],
)
def test_a_service_that_may_not_act_for_the_user_may_not(rights: Rights) -> None:
    world = World()
    admin, alice = admin_of(world), world.open("alice/laptop")
    admin.session.rights = rights
    for message in (Revoke(8, "alice"), Kick(9, "alice"), Erase(10, "alice")):
        assert admin.refused(message) == "forbidden"
    assert alice.open
