"""Whole shelves of users who sleep (`dormants`), as one node of a cluster sends them to another that has joined.

A node with a million users sends nine in ten of them so. Their bytes are stored as they are, and of each user only the
name is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import NamedTuple

from presenced.core.dormants import EMPTY, END, NOTHING, Shelf
from presenced.core.engine import Engine
from presenced.core.records import UsersAsleep


class ToldShelf(NamedTuple):
    """What is told of the users on one shelf."""

    fact: UsersAsleep | None
    """Those without contacts, all at once; None = there are none."""
    others: list[tuple[str, bytes]]
    """Those with contacts, each with what is kept of them (`dormants.packed`): they are counted one by one."""


def told_shelf(engine: Engine, number: int, are_told: Callable[[Sequence[str]], Sequence[bool]]) -> ToldShelf:
    """Those on one shelf who are to be told. O(users on it); 0.3 us for each."""
    dormants = engine.users.dormants
    shelf = dormants.shelf(number)
    others: list[tuple[str, bytes]] = []
    if not shelf.sizes:
        return ToldShelf(None, others)
    if dormants.is_carried or dormants.tally != NOTHING or not all(are_told(names_on(shelf))):
        users = dormants.users_of(number)
        told = list(compress(users, are_told([name for name, _ in users])))
        others = [one for one in told if one[1][0]]
        shelf = Shelf.of((name.encode(), both) for name, both in told if not both[0])
        if not shelf.sizes:
            return ToldShelf(None, others)
    return ToldShelf(UsersAsleep("", number, dormants.shelves, dormants.newest, 0, 0, *shelf), others)


def take_shelf(engine: Engine, fact: UsersAsleep, now_ms: int) -> list[tuple[str, bytes]]:
    """Let these users sleep here as at their home. Returns those of whom something else is known here: they are left as
    they are. O(users on the shelf); 0.3 us for each if none of them is known."""
    users, shelf = engine.users, Shelf(fact.names, fact.sizes, fact.packed)
    dormants, names = users.dormants, names_on(shelf)
    engine.ledger.raise_version(fact.newest, now_ms)
    awake = set() if users.keys().isdisjoint(names) else users.keys() & names
    known: dict[str, bytes] = {}
    own = dormants.shelf(fact.shelf) if fact.shelves == dormants.shelves else EMPTY
    if own.sizes:
        if own == shelf and not dormants.is_carried:
            return []
        known = dict(dormants.users_of(fact.shelf))
    elif dormants and fact.shelves != dormants.shelves:
        known = {name: both for name in names if (both := dormants.peek(name)) is not None}
    elif not awake:
        dormants.put_shelf(fact.shelf, fact.shelves, shelf, fact.newest, NOTHING)
        return []
    new: list[tuple[str, bytes]] = []
    left: list[tuple[str, bytes]] = []
    for name, (_, both) in zip(names, shelf.users(), strict=True):
        if name in awake:
            left.append((name, both))
        elif (own_both := known.get(name)) is None:
            new.append((name, both))
        elif own_both != both:
            left.append((name, both))
    if new:
        dormants.put_all(new)
    return left


def names_of(fact: UsersAsleep) -> list[str]:
    """The names of the users on a shelf that is told. O(users on it)."""
    return names_on(Shelf(fact.names, fact.sizes, fact.packed))


def names_on(shelf: Shelf) -> list[str]:
    """The names of the users on a shelf that has no empty places. O(users on it)."""
    return [name.decode() for name in shelf.names[1:-1].split(END)] if shelf.sizes else []
