"""What the tests of peers have in common: a peer that is installed, links to it, and what is held against a run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.machine.cores import Cores, take_cores
from bench.peers.base import Delivery, Peer, PeerLink, PeerMissing
from bench.peers.lineup import PEERS
from bench.peers.presenced import Presenced
from bench.results.outcome import OURS, Outcome
from tests.support.until import PATIENCE_S

LINKS: list[PeerLink] = []
"""Those that a test has open."""

CONTACTS = {"ann": ["bob", "carol"], "bob": ["ann"]}


@pytest.fixture
def cores() -> Iterator[Cores]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield take_cores()
    os.sched_setaffinity(0, before)


def installed(name: str) -> type[Peer]:
    kind = {**PEERS, OURS: Presenced}[name]
    try:
        kind.find()
    except PeerMissing as missing:
        pytest.skip(str(missing))
    return kind


def heard(peer: Peer, link: PeerLink, count: int) -> list[Delivery]:
    """What is told of changes on the link, until it is `count` deliveries. The logins have the number 0: on a busy
    machine ejabberd was seen to tell of one after it had rested."""
    link.socket.setblocking(False)
    found: list[Delivery] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found} was told; unread is {link.rest!r}"
        found += [told for told in peer.read(link, link.wire.available(link.fd)) if told[1] != 0]
    return found


def connected(peer: Peer) -> dict[str, PeerLink]:
    """All three, with what their logins brought read; `peer` closes them."""
    links = {}
    for user in ("carol", "bob", "ann"):
        links[user] = peer.connect(user, CONTACTS.get(user, ()))
        LINKS.append(links[user])
    for link in links.values():
        link.socket.setblocking(False)
    peer.process.settled_cpu_ns()
    for link in links.values():
        peer.read(link, link.wire.available(link.fd))
        assert link.rest == b""
    return links


def clean(outcome: Outcome, name: str, deliveries: int, share: int) -> None:
    """Ours and the peer have told everybody of everything, or a share of it, and have their figures."""
    assert outcome.missing == {} and not outcome.faults()
    assert outcome.servers[OURS].checks.deliveries == deliveries
    assert outcome.servers[name].checks.deliveries == deliveries // share
    for server in (OURS, name):
        assert all(value > 0 for value in outcome.servers[server].figures[outcome.main_figure])
    assert outcome.ratios()[name]["median"] > 0
    assert outcome.servers[name].version


def measured(profile: Callable[..., Outcome], **options: Any) -> Outcome:
    """What comes of the profile; of a second try if the peer has told something wrong, which is not ours to mend: on a
    busy machine ejabberd was seen to tell all watchers of one change twice and of the next not at all."""
    outcome = profile(**options)
    assert OURS not in outcome.faults(), outcome.faults()
    return profile(**options) if outcome.faults() else outcome
