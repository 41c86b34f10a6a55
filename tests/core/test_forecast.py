"""The forecast never lies: in random lives, what it says comes next is what then happens, at that millisecond."""

from __future__ import annotations

import pytest

from presenced.core.model import TOLD
from presenced.core.policy import Policy
from presenced.wire.messages import (
    Attach,
    Heartbeat,
)
from tests.core.foretold import MIN, Life, S, Watched
from tests.core.world import FakeLink, World
from tests.support.tiers import samples


@pytest.mark.parametrize("seed", range(samples(12)))
def test_what_is_forecast_is_what_then_happens_at_that_millisecond(seed: int) -> None:
    life = Life(seed)
    try:
        life.go_on(60)
    except AssertionError:
        print(*life.done, sep="\n")
        raise


# --- what random lives seldom come to ------------------------------------------------------------------------------


def follow(world: Watched, ms: int, *links: FakeLink) -> None:
    """Let time pass while nothing happens; each change must come as it was forecast."""
    world.turn()
    world.acting = False
    end_ms = world.now_ms + ms
    while world.now_ms < end_ms:
        world.advance(min(10 * S, end_ms - world.now_ms))
        for link in links:
            device = link.session.device
            if link.open and device is not None:
                link.say(Heartbeat(world.now_ms - device.active_ms if device.idle_known == TOLD else None))
        world.turn()
    world.acting = True


def test_who_is_hidden_for_a_while_comes_back_with_the_text_of_their_own() -> None:
    world = Watched()
    alice = world.open("alice/laptop")
    alice.set_status(text="at work", for_ms=20 * MIN)
    alice.set_status("offline", for_ms=10 * MIN)
    alice.set_status(text="shopping", for_ms=30 * MIN)
    follow(world, 40 * MIN, alice)
    assert world.seen == 2 and world.record("alice").text == ""


def test_a_device_that_was_active_at_a_restart_counts_as_used_until_then_once_it_is_away() -> None:
    before = World()
    before.open("alice/laptop", idle_ms=4 * MIN)
    before.open("alice/phone", idle_ms=4 * MIN)
    world = before.restarted()
    world.__class__ = Watched
    assert isinstance(world, Watched)
    laptop, phone = world.open("alice/laptop"), world.open("alice/phone", idle_ms=2 * MIN)
    assert world.record("alice").device == "phone"
    follow(world, 6 * MIN, laptop, phone)
    assert world.record("alice").device == "laptop" and world.seen == 1


def test_a_device_without_grace_is_gone_at_once_when_its_token_ends() -> None:
    world = Watched(Policy(grace_ms=0))
    alice = world.open("alice/laptop", expires_ms=world.now_ms + MIN)
    follow(world, 2 * MIN, alice)
    assert world.seen == 1 and world.record("alice").status == "offline"


def test_devices_of_a_lost_service_are_forecast_before_their_turn_to_be_let_go_of() -> None:
    world = Watched()
    world.checks = False
    app = world.open("app", role="service")
    for number in range(2_100):
        app.say(Attach(1 + number, 1 + number, f"user{number}", "web"))
    world.turn()
    app.break_off()
    forecasts = {name: world.forecast(user) for name, user in world.engine.users.items()}
    lost_ms = world.now_ms
    world.turn()
    world.advance(world.engine.policy.grace_ms + 100)
    for name, following in forecasts.items():
        assert following is not None and following.seen.status == world.record(name).status == "offline", name
        assert 0 <= following.at_ms - lost_ms - world.engine.policy.grace_ms < 64
