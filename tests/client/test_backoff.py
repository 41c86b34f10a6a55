"""When a client comes back."""

from __future__ import annotations

import random

from presenced.client.protocol.backoff import BASE_MS, CAP_MS, LASTED_MS, Backoff


def test_delays_are_uniform_below_a_ceiling_that_doubles_to_the_cap() -> None:
    ceilings = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 20_000, 20_000]
    seen: list[list[int]] = [[] for _ in ceilings]
    for seed in range(300):
        backoff = Backoff(random.Random(seed).random)
        for delays in seen:
            delays.append(backoff.delay_ms())
    for ceiling, delays in zip(ceilings, seen, strict=True):
        assert 0 <= min(delays) < ceiling * 0.1
        assert ceiling * 0.9 < max(delays) <= ceiling


def test_it_stays_at_the_cap_however_long_it_goes_on() -> None:
    backoff = Backoff(lambda: 1.0)
    assert max(backoff.delay_ms() for _ in range(5000)) == CAP_MS


def test_the_servers_advice_is_waited_for_and_spread() -> None:
    assert Backoff(lambda: 0.0).delay_ms(3000) == 3000
    assert Backoff(lambda: 0.999).delay_ms(3000) > 5900


def test_only_a_link_that_lasted_starts_over() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.delay_ms() for _ in range(3)] == [BASE_MS, 2 * BASE_MS, 4 * BASE_MS]
    backoff.link_ended(LASTED_MS - 1)
    assert backoff.delay_ms() == 8 * BASE_MS
    backoff.link_ended(LASTED_MS)
    assert backoff.delay_ms() == BASE_MS
