"""Blocks, hiding, devices that are shown, and audiences: what is kept, what is refused, and what survives."""

from __future__ import annotations

import random

import pytest

from presenced import limits
from presenced.core.faces import is_same
from presenced.core.model import GONE, User
from presenced.core.parts.privacy import PrivacySettings
from presenced.core.parts.showings import Showings
from presenced.core.policy import Policy
from presenced.core.privacy import EVERYTHING, Audience
from presenced.core.records import AudienceSet, BlockSet, DeviceSet, Fact, HidingSet, ShowingSet
from presenced.wire.messages import (
    AudienceInfo,
    Block,
    BlockList,
    ClientMessage,
    Forget,
    GetAudience,
    GetBlocked,
    HideFrom,
    SetAudience,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Unblock,
)
from tests.core.world import FakeLink, World

KINDS = (BlockSet, HidingSet, ShowingSet, AudienceSet)
NAMES = ("alice", "bob", "carol", "dave")
AUDIENCES = (
    EVERYTHING,
    Audience(text="contacts"),
    Audience("nobody", "contacts", "everyone", frozenset({"bob"}), frozenset({"bob", "never-seen"})),
)


def facts(world: World) -> list[Fact]:
    """What was logged of all this."""
    return [fact for fact in world.log.facts if isinstance(fact, KINDS)]


def blocked(link: FakeLink, user: str = "") -> tuple[list[str], list[str]]:
    link.forget()
    answer = link.expect(GetBlocked(link.next_id(), user), BlockList)
    return answer.blocked, answer.hidden


# --- what is kept, and told of ------------------------------------------------------------------------------------


def test_blocks_and_hiding_are_listed_in_order_until_they_are_taken_back() -> None:
    world = World()
    alice = world.open("alice/laptop")
    for name in ("zoe", "bob"):
        alice.done(Block(alice.next_id(), name))
        alice.done(HideFrom(alice.next_id(), name))
    alice.done(HideFrom(alice.next_id(), "carol"))
    assert blocked(alice) == (["bob", "zoe"], ["bob", "carol", "zoe"])
    assert dict.fromkeys(("alice",)) == world.user("bob").privacy.unseen  # type: ignore[union-attr]
    alice.done(Unblock(alice.next_id(), "bob"))
    assert world.user("bob").privacy is not None, "she still hides"
    alice.done(ShowAgain(alice.next_id(), "bob"))
    assert "bob" not in world.engine.users, "nothing is known of bob any longer"
    assert blocked(alice) == (["zoe"], ["carol", "zoe"])
    assert (world.engine.privacy.blocks, world.engine.privacy.hidings) == (1, 2)


def test_a_viewer_whom_nobody_has_seen_yet_is_shown_the_device_when_they_come() -> None:
    world = World()
    alice = world.open("alice/laptop")
    alice.done(ShowTo(alice.next_id(), "bob"))
    alice.done(SetStatus(alice.next_id(), "offline"))
    assert [world.open(f"{name}/x").get("alice").status for name in ("bob", "carol")] == ["online", "offline"]


def test_what_is_said_twice_is_said_once() -> None:
    world = World()
    alice = world.open("alice/laptop")
    said: list[ClientMessage] = [
        Block(101, "bob"),
        HideFrom(102, "bob"),
        ShowTo(103, "carol"),
        SetAudience(104, "nobody", never=["dave"]),
        StopShowing(105, "carol"),
        ShowAgain(106, "bob"),
        Unblock(107, "bob"),
        SetAudience(108),
    ]
    for number, message in enumerate(said, 1):
        for _ in range(2):
            alice.forget()
            alice.done(message)
            assert len(facts(world)) == number, message
    assert world.user("alice").privacy is None, "nothing is said any longer"


def test_an_audience_is_set_as_a_whole() -> None:
    world = World()
    alice = world.open("alice/laptop")
    alice.done(SetAudience(2, "contacts", "nobody", "contacts", ["zoe", "bob"], ["bob"]))
    told = alice.expect(GetAudience(3), AudienceInfo)
    assert told == AudienceInfo(3, "alice", "contacts", "nobody", "contacts", ["bob", "zoe"], ["bob"])
    alice.done(SetAudience(4, device="nobody"))
    told = alice.expect(GetAudience(5), AudienceInfo)
    assert told == AudienceInfo(5, "alice", "everyone", "everyone", "nobody", [], [])
    alice.done(SetAudience(6))
    assert world.user("alice").privacy is None


def test_a_service_says_all_of_it_for_anybody_and_a_user_for_nobody_else() -> None:
    world = World()
    app, alice = world.open("app", role="service"), world.open("alice/laptop")
    app.done(Block(2, "bob", "carol"))
    app.done(HideFrom(3, "dave", "carol"))
    app.done(ShowTo(4, "carol", "alice", "laptop"))
    app.done(SetAudience(5, "nobody", user="carol"))
    assert blocked(app, "carol") == (["bob"], ["dave"])
    assert app.expect(GetAudience(7, "carol"), AudienceInfo).text == "nobody"
    assert blocked(app, "never-seen") == ([], [])
    assert app.expect(GetAudience(9, "never-seen"), AudienceInfo).never == []
    for message in (Block(2, "x", "bob"), Unblock(3, "x", "bob"), GetBlocked(4, "bob"), HideFrom(5, "x", "bob"),
                    ShowAgain(6, "x", "bob"), ShowTo(7, "x", "bob"), StopShowing(8, "x", "bob"),
                    SetAudience(9, user="bob"), GetAudience(10, "bob")):  # fmt: skip
        alice.forget()
        assert alice.refused(message) == "forbidden"


def test_a_device_is_shown_until_it_is_gone_and_one_of_its_name_is_another() -> None:
    world = World()
    alice = world.open("alice/laptop")
    alice.done(ShowTo(2, "bob"))
    alice.lose()
    assert world.user("alice").privacy is not None, "the device is in its grace"
    alice = world.open("alice/laptop")
    assert world.user("alice").privacy is not None
    alice.bye()
    assert world.user("alice").privacy is None and facts(world)[-1] == ShowingSet("alice", "laptop", "", False)
    alice = world.open("alice/laptop")
    assert world.user("alice").privacy is None
    after = world.restarted()
    assert after.user("alice").privacy is None, "also in the eyes of the log"


def test_a_block_ends_what_the_blocker_shows_and_not_what_the_blocked_does() -> None:
    """Otherwise somebody who shows a device to as many as are allowed could count who has blocked them."""
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    alice.done(ShowTo(2, "bob"))
    bob.done(ShowTo(2, "alice"))
    alice.done(Block(3, "bob"))
    assert alice.refused(ShowTo(4, "bob")) == "bad_request"
    bob.done(StopShowing(3, "alice"))
    bob.done(ShowTo(4, "alice"))
    for world_ in (world, world.restarted(), world.restarted(facts=world.snapshot())):
        mine, theirs = world_.user("alice").privacy, world_.user("bob").privacy
        assert mine is not None and not mine.shown_to
        assert theirs is not None and theirs.shown_to == {"alice": {"phone": None}}


class Filed:
    """Notes whom it was told to file anew."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.noted: list[str] = []

    def note_pair(self, subject: str, viewer: str) -> None:
        self.noted.append(f"{viewer} sees {subject}")

    def pair_changed(self, now_ms: int, subject: str, viewer: str) -> None:
        self.noted.remove(f"{viewer} sees {subject}")
        self.told.append(f"{viewer} sees {subject}")

    def note_subject(self, subject: User) -> None:
        self.noted.append(f"all see {subject.name}")

    def subject_changed(self, now_ms: int, subject: User) -> None:
        self.noted.remove(f"all see {subject.name}")
        self.told.append(f"all see {subject.name}")

    def viewer_changed(self, now_ms: int, viewer: User) -> None:
        self.told.append(f"{viewer.name} sees all")

    def blocked(self, now_ms: int, user: User, contact: User, version: int = 0) -> int:
        self.told.append(f"{user.name} stops hearing {contact.name}")
        return version

    def unblocked(self, now_ms: int, user: User, contact: User, version: int = 0) -> int:
        self.told.append(f"{user.name} hears {contact.name}")
        return version

    def grant_held(self, now_ms: int, user: User, contact: User) -> None:
        assert self.told[-1] == f"{user.name} hears {contact.name}"


@pytest.mark.parametrize("reciprocal", [False, True])
def test_each_change_is_told_to_whoever_files_the_watchers(reciprocal: bool) -> None:
    world = World(Policy(reciprocal=reciprocal))
    engine, filed = world.engine, Filed()
    world.open("alice/laptop")
    showings = Showings(engine.users, engine.ledger, filed)
    part = PrivacySettings(engine.policy, engine.users, showings, engine.ledger, filed, filed)
    alice, laptop = world.user("alice"), world.device("alice/laptop")
    said = {
        "block": lambda: part.block(0, alice, "bob"),
        "unblock": lambda: part.unblock(0, alice, "bob"),
        "hide": lambda: part.hide(0, alice, "bob"),
        "show again": lambda: part.show_again(0, alice, "bob"),
        "show": lambda: showings.show_to(0, laptop, "bob"),
        "stop": lambda: showings.stop_showing(0, laptop, "bob"),
        "audience": lambda: part.set_audience(0, alice, Audience("nobody")),
    }
    told: dict[str, list[str]] = {}
    for what, say in said.items():
        for _ in range(2):
            say()
        told[what], filed.told = filed.told, []
    showings.show_to(0, laptop, "bob")
    filed.told.clear()
    showings.end_device(laptop, 0)
    both = ["bob sees alice", "alice sees bob"]
    assert filed.told == ["bob sees alice"]
    assert told == {
        "block": ["alice stops hearing bob", *both],
        "unblock": ["alice hears bob", *both],
        "hide": both[:1],
        "show again": both[:1],
        "show": both[:1],
        "stop": both[:1],
        "audience": ["all see alice", *(["alice sees all"] if reciprocal else [])],
    }


def test_an_erased_user_has_said_nothing_and_what_others_said_of_the_name_stays() -> None:
    world = World()
    app, bob = world.open("app", role="service"), world.open("bob/phone")
    assert bob.watch("alice")
    app.attach(1, "alice/web")
    for message in (Block(101, "carol", "alice"), Block(102, "bob", "alice"), HideFrom(103, "dave", "alice"),
                    HideFrom(104, "carol", "alice"), SetAudience(105, "nobody", user="alice"),
                    ShowTo(106, "erin", "alice", "web"), Block(107, "alice", "frank")):  # fmt: skip
        app.done(message)
    app.release(1)
    for part in (world.engine.privacy, world.engine.showings):
        part.erase(world.user("alice"), world.now_ms)
    world.turn()
    privacy = world.user("alice").privacy
    assert privacy is not None and list(privacy.unseen) == ["frank"] and not privacy.blocked | privacy.hidden
    assert not {"carol", "dave", "erin"} & set(world.engine.users), "nothing is known of these any longer"
    assert (world.engine.privacy.blocks, world.engine.privacy.hidings) == (1, 0)
    saved = [fact for fact in world.snapshot() if isinstance(fact, KINDS)]
    assert saved == [BlockSet("frank", "alice", True)]


# --- what is refused ----------------------------------------------------------------------------------------------


def test_what_is_wrong_is_refused_and_changes_nothing() -> None:
    world = World()
    alice = world.open("alice/laptop")
    app = world.open("app", role="service")
    before = dict(world.engine.users)
    wrong: list[tuple[str, ClientMessage]] = [
        *(("bad_request", kind(2, "alice")) for kind in (Block, Unblock, HideFrom, ShowAgain, ShowTo, StopShowing)),
        *(("bad_name", kind(2, "a b")) for kind in (Block, Unblock, HideFrom, ShowAgain, ShowTo, StopShowing)),
        ("bad_name", Block(2, "")),
        ("bad_name", SetAudience(2, always=["bob", "a b"])),
        ("bad_name", SetAudience(2, never=[""])),
        ("no_such_device", ShowTo(2, "bob", "", "phone")),
        ("no_such_device", StopShowing(2, "bob", "", "phone")),
        ("audience_limit", SetAudience(2, always=[f"u{n}" for n in range(limits.AUDIENCE_NAMES_MAX)], never=["x"])),
    ]  # fmt: skip
    for code, message in wrong:
        alice.forget()
        assert alice.refused(message) == code, message
    assert app.refused(ShowTo(2, "bob", "alice")) == "no_device"
    assert app.refused(Block(3, "bob")) == "no_device"
    assert world.engine.users == before and not facts(world)


def test_a_device_that_is_gone_is_shown_to_nobody() -> None:
    world = World()
    world.open("alice/phone").bye()
    alice = world.open("alice/laptop")
    assert alice.refused(ShowTo(2, "bob", "", "phone")) == "no_such_device"
    alice.done(StopShowing(3, "bob", "", "phone"))


def test_the_limits_hold_and_give_way_to_one_that_is_taken_back() -> None:
    world = World()
    world.checks = False
    alice = world.open("alice/laptop")
    pairs = (
        (Block, Unblock, limits.BLOCKED_MAX, "block_limit"),
        (HideFrom, ShowAgain, limits.BLOCKED_MAX, "block_limit"),
        (ShowTo, StopShowing, limits.SHOWN_TO_MAX, "show_limit"),
    )
    for do, undo, most, code in pairs:
        for number in range(most):
            alice.say(do(alice.next_id(), f"{do.__name__}{number}"))
        world.turn()
        alice.forget()
        assert alice.refused(do(alice.next_id(), f"{do.__name__}-more")) == code
        alice.done(do(alice.next_id(), f"{do.__name__}0"))
        alice.done(undo(alice.next_id(), f"{do.__name__}0"))
        alice.done(do(alice.next_id(), f"{do.__name__}-more"))
    world.open("alice/phone").done(ShowTo(2, "bob"))
    world.check()


def test_while_memory_is_low_nothing_is_added_and_all_can_be_taken_back() -> None:
    world = World()
    alice = world.open("alice/laptop")
    for message in (Block(2, "bob"), HideFrom(3, "bob"), ShowTo(4, "carol")):
        alice.done(message)
    world.engine.set_memory_level(1)
    for message in (Block(5, "dave"), HideFrom(6, "dave"), ShowTo(7, "dave"), SetAudience(8, never=["dave"])):
        assert alice.refused(message) == "memory_low"
    for message in (Block(9, "bob"), HideFrom(10, "bob"), ShowTo(11, "carol"), SetAudience(12, "nobody"),
                    Unblock(13, "bob"), ShowAgain(14, "bob"), StopShowing(15, "carol")):  # fmt: skip
        alice.done(message)


def test_nothing_is_promised_while_nothing_can_be_saved() -> None:
    world = World()
    alice = world.open("alice/laptop")
    for message in (Block(2, "bob"), Unblock(3, "bob"), HideFrom(4, "bob"), ShowAgain(5, "bob"), ShowTo(6, "bob"),
                    StopShowing(7, "bob"), SetAudience(8)):  # fmt: skip
        world.engine.set_read_only("read_only")
        assert alice.refused(message) == "read_only"
    assert blocked(alice) == ([], [])


# --- long lives, with restarts ------------------------------------------------------------------------------------


class Said:
    """A slow twin: what was said, as plain sets of tuples, and each answer sought through all of them."""

    def __init__(self) -> None:
        self.blocks: set[tuple[str, str]] = set()
        self.hidings: set[tuple[str, str]] = set()
        self.showings: set[tuple[str, str, str]] = set()
        self.audiences: dict[str, Audience] = {}

    def state(self) -> dict[str, object]:
        """Of each name, what there is to know of it."""
        return {
            name: {
                "blocked": sorted(other for one, other in self.blocks if one == name),
                "hidden": sorted(other for one, other in self.hidings if one == name),
                "unseen": sorted({one for one, other in self.blocks | self.hidings if other == name}),
                "shown": sorted((other, device) for one, device, other in self.showings if one == name),
                "audience": self.audiences.get(name, EVERYTHING),
            }
            for name in NAMES
        }

    def step(self, dice: random.Random, world: World) -> ClientMessage | None:
        """Say something at random; gives the message, or None where time passed or a device left."""
        user, other = dice.sample(NAMES, 2)
        device = dice.choice(("laptop", "phone"))
        live = user in world.engine.users and (known := world.user(user).devices.get(device)) and known.state != GONE
        pair, audience = (user, other), dice.choice(AUDIENCES)
        match dice.randrange(8):
            case 0:
                self.blocks.add(pair)
                self.showings = {(one, on, to) for one, on, to in self.showings if (one, to) != pair}
                return Block(1, other, user)
            case 1:
                self.blocks.discard(pair)
                return Unblock(1, other, user)
            case 2:
                self.hidings.add(pair)
                return HideFrom(1, other, user)
            case 3:
                self.hidings.discard(pair)
                return ShowAgain(1, other, user)
            case 4 | 5 if live and pair not in self.blocks:
                self.showings.add((user, device, other))
                return ShowTo(1, other, user, device)
            case 6 if live:
                self.showings.discard((user, device, other))
                return StopShowing(1, other, user, device)
            case 7:
                self.audiences[user] = audience
                always, never = list(audience.always), list(audience.never)
                return SetAudience(1, audience.text, audience.last_seen, audience.device, always, never, user)
        return None


def state(world: World) -> dict[str, object]:
    """The same of the server."""
    found: dict[str, object] = {}
    for name in NAMES:
        user = world.engine.users.get(name)
        privacy = user.privacy if user is not None else None
        shown = privacy.shown_to if privacy is not None else {}
        found[name] = {
            "blocked": sorted(privacy.blocked) if privacy is not None else [],
            "hidden": sorted(privacy.hidden) if privacy is not None else [],
            "unseen": sorted(privacy.unseen) if privacy is not None else [],
            "shown": sorted((to, device) for to, devices in shown.items() for device in devices),
            "audience": privacy.audience if privacy is not None else EVERYTHING,
        }
    return found


class Life:
    """A service that says things for a few users, whose devices come and go, on a server that starts anew at times."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.said = Said()
        self.world = World(Policy(change_spacing_ms=0))
        self.app = self.world.open("app", role="service")
        self.refs: dict[int, tuple[str, str]] = {}
        self.viewers: list[FakeLink] = []
        self.watch()

    def watch(self) -> None:
        """Each of two users has a link that watches everybody."""
        self.viewers = [self.world.open(f"{name}/viewer") for name in NAMES[:2]]
        for viewer in self.viewers:
            viewer.watch(*NAMES)

    def compare(self) -> None:
        """What was said is kept, and whoever watches was told what they see."""
        assert state(self.world) == self.said.state()
        # Versions go by the clock.
        self.world.advance(10)
        for viewer in self.viewers:
            for name in NAMES:
                seen = self.world.engine.sight.shown(viewer.session, self.world.user(name))
                assert is_same(viewer.view[name], seen), f"{viewer.session.user_name} was told other than {seen}"

    def step(self) -> None:
        dice = self.dice
        ref = dice.randrange(1, 9)
        address = (NAMES[ref % 4], "laptop" if ref < 5 else "phone")
        if ref not in self.refs and dice.random() < 0.5:
            self.app.attach(ref, "/".join(address))
            self.refs[ref] = address
        elif ref in self.refs and dice.random() < 0.3:
            self.app.release(ref)
            del self.refs[ref]
            gone = self.said.showings - {(*address, to) for to in NAMES}
            self.said.showings = gone
            if dice.random() < 0.3:
                self.app.done(Forget(self.app.next_id(), address[1], address[0]))
        message = self.said.step(dice, self.world)
        if message is not None:
            self.app.forget()
            self.app.done(message)
        self.compare()

    def restart(self, facts: list[Fact]) -> None:
        self.world = self.world.restarted(facts=facts, now_ms=self.world.now_ms + 1_000)
        assert state(self.world) == self.said.state()
        self.app = self.world.open("app", role="service")
        for ref, (user, device) in self.refs.items():
            self.app.attach(ref, f"{user}/{device}")
        self.watch()


@pytest.mark.parametrize("seed", range(6))
def test_a_long_life_with_restarts_is_what_plain_sets_say(seed: int) -> None:
    life = Life(seed)
    for _ in range(120):
        life.step()
        if life.dice.random() < 0.2:
            from_log = life.dice.random() < 0.5
            life.restart(life.world.log.facts if from_log else life.world.snapshot())


@pytest.mark.parametrize("seed", range(6))
def test_a_snapshot_in_slices_and_the_log_since_its_start_bring_it_back(seed: int) -> None:
    life = Life(seed)
    for _ in range(40):
        life.step()
    start = len(life.world.log.facts)
    facts: list[Fact] = []
    order = life.world.engine.users.order
    at = len(order) - 1
    while at >= 0:
        for _ in range(5):
            life.step()
        at = min(at, len(order) - 1)
        facts.extend(life.world.engine.dump(life.world.now_ms, order[at]))
        at -= 1
    for _ in range(10):
        life.step()
    facts += life.world.log.facts[start:]
    life.restart(facts)
    life.restart([*facts, *facts])


def test_a_device_whose_end_was_cut_off_the_log_is_shown_to_nobody_ever_after() -> None:
    """The fact that it is gone was saved, and the one that it is shown no longer was not."""
    world = World()
    alice = world.open("alice/laptop")
    alice.done(ShowTo(2, "bob"))
    alice.bye()
    kept = [fact for fact in world.log.facts if not (isinstance(fact, ShowingSet) and not fact.shown)]
    assert isinstance(kept[-1], DeviceSet) or len(kept) < len(world.log.facts)
    after = world.restarted(facts=kept)
    assert after.user("alice").privacy is None
    after.open("alice/laptop")
    assert after.restarted().user("alice").privacy is None
