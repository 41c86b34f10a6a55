"""What time ends in one turn is told as one change, whatever the order in which the wheel gives it out."""

from __future__ import annotations

import pytest

from presenced.core.policy import Policy
from presenced.limits import GRACE_MS
from presenced.wire.messages import Attach, ChannelEvent, Join, Presence, SetStatus, WatchChannel
from tests.core.world import TICK_MS, FakeLink, World


def told(link: FakeLink) -> list[str]:
    """Pushes of records as `status`, channel events as `kind`."""
    return [
        message.record.status if isinstance(message, Presence) else message.kind
        for message in link.messages
        if isinstance(message, Presence | ChannelEvent)
    ]


@pytest.mark.parametrize("off_ms", [0, 5, 25])
def test_who_hides_until_their_grace_ends_is_never_shown(off_ms: int) -> None:
    world = World()
    bob, app = world.open("bob/desk"), world.open("app", role="service")
    alice = world.open("alice/laptop")
    alice.set_status("offline")
    bob.watch("alice")
    bob.messages.clear()
    alice.lose()
    world.turn()
    app.ask(SetStatus(app.next_id(), "offline", for_ms=GRACE_MS - off_ms, user="alice"))
    # One turn for both ends, as for all that falls into one tick of the wheel.
    world.now_ms += GRACE_MS + TICK_MS
    world.turn()
    assert told(bob) == []
    assert world.record("alice").status == "offline"


def test_several_devices_in_a_channel_that_are_lost_together_are_one_change() -> None:
    world = World(Policy(change_spacing_ms=0))
    bob, app = world.open("bob/desk"), world.open("app", role="service")
    bob.watch("alice")
    bob.ask(WatchChannel(bob.next_id(), "room"))
    for ref, (device, status) in enumerate([("a", "away"), ("b", "chat"), ("c", "dnd")], 1):
        app.ask(Attach(app.next_id(), ref, "alice", device, status=status))
        app.ask(Join(app.next_id(), "room", "alice", device))
    bob.messages.clear()
    app.lose()
    world.advance(2 * GRACE_MS)
    assert told(bob) == ["offline", "leave"]
