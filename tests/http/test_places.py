"""The places of the HTTP listener, and how many of them one address has."""

from __future__ import annotations

import pytest

from presenced.http.origins import is_within
from presenced.http.places import ADDRESS_SHARE, Places

MOST = 40


class Connected:
    """A connection that waits for its first request."""

    ending = False
    health_only = False
    answering = True

    def __init__(self, places: Places[Connected], address: str) -> None:
        self.address = address
        self.is_gone = False
        self._places = places
        places.enter(self)

    def give_way(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.is_gone = True
        self._places.leave(self)


def test_one_address_has_its_share_and_no_more() -> None:
    places: Places[Connected] = Places(MOST)
    mine = [Connected(places, "203.0.113.9") for _ in range(MOST)]
    kept = [one for one in mine if not one.is_gone]
    assert kept == mine[: MOST // ADDRESS_SHARE] and len(places.connections) == len(kept)
    others = [Connected(places, f"198.51.100.{number}") for number in range(MOST - len(kept))]
    assert not any(one.is_gone or one.health_only for one in others)
    kept[0].abort()
    kept[0].abort()
    assert not Connected(places, "203.0.113.9").is_gone
    assert Connected(places, "203.0.113.9").is_gone


def test_this_machine_and_its_proxies_are_anybody() -> None:
    places: Places[Connected] = Places(MOST)
    assert not any(Connected(places, "").is_gone for _ in range(MOST))
    assert Connected(places, "").health_only, "all places are taken"


def test_nothing_is_kept_of_who_has_gone() -> None:
    places: Places[Connected] = Places(MOST)
    for number in range(1_000):
        Connected(places, f"2001:db8::{number:x}").abort()
    assert not places.connections and not places._by_address


@pytest.mark.parametrize(("address", "is_in"), [("10.1.2.3", True), ("11.1.2.3", False), ("::1", False), ("", False)])
def test_a_network_has_its_addresses(address: str, is_in: bool) -> None:
    assert is_within(address, ("10.0.0.0/8", "2001:db8::/32")) == is_in
