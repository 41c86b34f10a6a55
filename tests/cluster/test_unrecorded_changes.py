"""What changes of a user and no record shows: of two disks the newer one holds, whichever node starts first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.core.pair_facts import KEPT_PAIRS
from presenced.core.records import DeviceSet, Fact, RecordSet, TokensRevoked
from presenced.wire.codec import encode
from presenced.wire.messages import AddActivity, AddClaim, Done, EndClaim, Revoke, SetSchedule, SetStatus, Window
from tests.cluster.client import Client
from tests.cluster.town import Town, TownNode, left
from tests.cluster.town_disk import TownDisk

LATER_MS = 600_000
MORNING = Window(127, 540, 600)
CHANGES: dict[str, Callable[[int], object]] = {
    "schedule": lambda number: SetSchedule(number, "Europe/Berlin", [MORNING], "away", "alice"),
    "claim": lambda number: AddClaim(number, "call", "calendar", "busy", user="alice"),
    "end of a claim": lambda number: EndClaim(number, "meeting", "alice"),
    "another end": lambda number: SetStatus(number, "dnd", for_ms=LATER_MS, user="alice"),
    "activity": lambda number: AddActivity(number, "edits", user="alice"),
    "revocation": lambda number: Revoke(number, "alice"),
}
"""What a backend says of somebody who is shown as dnd, and goes on being so."""


def town_with_alice() -> tuple[Town, Client]:
    """Two nodes with disks, and the client of a backend on the second. Alice is at home on the first, and away from
    all devices; two claims hold."""
    town = Town()
    for name in "ab":
        town.add(name, TownNode(town, name, town.policy, TownDisk()))
    a, b = town.nodes
    link = a.dial("alice/laptop")
    app = b.dial("app", role="admin")
    said(app, AddClaim(app.next_id(), "meeting", "calendar", "away", user="alice"))
    said(app, SetStatus(app.next_id(), "dnd", "at work", user="alice"))
    link.cut()
    town.advance(60_000, 1_000)
    return town, app


def said(app: Client, request: object) -> None:
    app.say(request)  # type: ignore[arg-type]
    assert isinstance(app.replies_to(request.id)[0], Done)  # type: ignore[attr-defined]


def known(node: TownNode) -> list[bytes]:
    """What the node knows of alice, but for devices and for the versions of her record."""
    facts: list[Fact] = []
    for fact in node.engine.parts.facts_of(node.user("alice"), node.now_ms):
        if isinstance(fact, RecordSet):
            facts.append(RecordSet(fact.user, fact.status, fact.since_ms, 0, "", 0))
        elif not isinstance(fact, (DeviceSet, *KEPT_PAIRS)):
            facts.append(fact)
    return sorted(encode(fact) for fact in facts)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("sleeps", [False, True], ids=["awake", "asleep"])
def test_a_change_that_no_record_shows_is_not_lost_where_a_node_starts_first_that_had_stopped_before(
    change: str, sleeps: bool
) -> None:
    town, app = town_with_alice()
    a, b = town.nodes
    disks = {"a": left(town, a)}
    before, version = known(b), b.shown("alice").version
    said(app, CHANGES[change](app.next_id()))
    after = known(b)
    assert after != before and b.shown("alice").version == version, "nobody who watches is told anything"
    disks["b"] = left(town, b)
    for name, disk in disks.items():
        town.add(name, TownNode(town, name, town.policy, disk))
    assert [known(node) for node in town.nodes] == [after] * 2


def test_what_a_node_that_starts_first_has_said_since_holds() -> None:
    """It is newer than what the disk of the other knows, though no record shows either."""
    town, app = town_with_alice()
    a, b = town.nodes
    disks = {"a": left(town, a)}
    said(app, CHANGES["schedule"](app.next_id()))
    disks["b"] = left(town, b)
    town.now_ms += 1_000
    again = town.add("a", TownNode(town, "a", town.policy, disks["a"]))
    app = again.dial("app", role="admin")
    said(app, SetSchedule(app.next_id(), "Asia/Tokyo", [MORNING], user="alice"))
    after = known(again)
    town.add("b", TownNode(town, "b", town.policy, disks["b"]))
    assert [known(node) for node in town.nodes] == [after] * 2


def test_a_revocation_holds_though_everything_else_was_said_anew_by_a_node_that_did_not_know_it() -> None:
    town, app = town_with_alice()
    a, b = town.nodes
    disks = {"a": left(town, a)}
    said(app, Revoke(app.next_id(), "alice", b.wall_ms))
    [revoked] = [fact for fact in b.engine.parts.facts_of(b.user("alice"), 0) if isinstance(fact, TokensRevoked)]
    disks["b"] = left(town, b)
    town.now_ms += 1_000
    again = town.add("a", TownNode(town, "a", town.policy, disks["a"]))
    app = again.dial("app", role="admin")
    said(app, SetStatus(app.next_id(), "away", "new", user="alice"))
    town.add("b", TownNode(town, "b", town.policy, disks["b"]))
    for node in town.nodes:
        assert node.shown("alice").text == "new"
        assert node.engine.revocations.refuses("alice", revoked.before_ms - 1)


def test_what_time_alone_has_made_of_a_user_is_not_newer_than_what_somebody_has_said() -> None:
    """The node that starts first takes alice for offline after a while, as its disk has her online. The other had been
    told since that she is busy."""
    town = Town()
    for name in "ab":
        town.add(name, TownNode(town, name, town.policy, TownDisk()))
    a, b = town.nodes
    a.dial("alice/laptop")
    disks = {"a": left(town, a)}
    app = b.dial("app", role="service")
    said(app, SetStatus(app.next_id(), "dnd", "acknowledged", user="alice"))
    disks["b"] = left(town, b)
    again = town.add("a", TownNode(town, "a", town.policy, disks["a"]))
    version = again.shown("alice").version
    town.advance(120_000, 1_000)
    assert again.shown("alice").status == "offline" and again.shown("alice").version > version
    town.add("b", TownNode(town, "b", town.policy, disks["b"]))
    town.advance(120_000, 1_000)
    assert [(node.shown("alice").status, node.shown("alice").text) for node in town.nodes] == [
        ("offline", "acknowledged")
    ] * 2
    claims = [[claim.status for claim in node.user("alice").claims] for node in town.nodes]
    assert claims == [["dnd"]] * 2


def test_what_is_said_later_is_newer_whatever_the_clock_shows() -> None:
    town, app = town_with_alice()
    home = next(node for node in town.nodes if node.node.own("alice"))
    said(app, CHANGES["schedule"](app.next_id()))
    first = home.user("alice").said_ms
    home.set_clock(home.wall_ms - 3_600_000)
    said(app, SetSchedule(app.next_id(), "Asia/Tokyo", [MORNING], user="alice"))
    assert [node.user("alice").said_ms for node in town.nodes] == [first + 1] * 2
    said(app, SetStatus(app.next_id(), "away", user="alice"))
    assert [node.user("alice").said_ms for node in town.nodes] == [first + 2] * 2
