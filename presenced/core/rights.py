"""What a link's token lets it see, act for, join and watch (protocol.md, section 1.4).

A token lists patterns of names: `*` (every name), an exact name, `PREFIX*`, and `*@PART` (the names whose part is PART:
what stands behind their last @). Parts of this kind are disjoint, and so are prefixes once those are dropped that
others cover. So the users of a list are counted without looking at each (`core.online`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from presenced.address import check_name
from presenced.errors import AddressError
from presenced.limits import PATTERNS_MAX
from presenced.wire.messages import Role

LISTS = ("see", "act", "join", "watch_channels")
"""Keys of the claim that hold patterns. One more key is `only_read`."""

_SHAPES = "write *, a name, PREFIX* or *@PART"


class Patterns(msgspec.Struct, frozen=True):
    """A list of patterns, in the one form in which equal lists are equal. `compiled` makes one."""

    is_all: bool = False
    """Every name; nothing else is kept then."""
    names: frozenset[str] = frozenset()
    """Exact names that no other pattern covers."""
    prefixes: tuple[str, ...] = ()
    """In order. None begins with another."""
    endings: tuple[str, ...] = ()
    """Parts with their @, in order."""

    def match(self, name: str) -> bool:
        """Whether the name is in the list. O(patterns), and allocates nothing."""
        return self.is_all or name in self.names or name.startswith(self.prefixes) or name.endswith(self.endings)

    def covers(self, other: Patterns) -> bool:
        """Whether each pattern of the other list is within one of these, so that this one matches all that it matches.
        O(patterns squared)."""
        return self.is_all or (
            not other.is_all
            and all(map(self.match, other.names))
            and all(prefix.startswith(self.prefixes) for prefix in other.prefixes)
            and set(other.endings) <= set(self.endings)
        )


def part_of(name: str) -> str:
    """What stands behind the last `@` of a name; empty = there is none. O(1)."""
    _, found, part = name.rpartition("@")
    return part if found else ""


EVERYBODY = Patterns(is_all=True)
NOBODY = Patterns()


def compiled(patterns: Iterable[str]) -> Patterns:
    """The list of these patterns. Raises `ValueError` with a sentence that begins with the place of a wrong one, from
    1. O(patterns squared)."""
    names: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    endings: dict[str, None] = {}
    is_all = False
    for place, pattern in enumerate(patterns, 1):
        try:
            if pattern == "*":
                is_all = True
            elif pattern.startswith("*@"):
                _check(pattern[2:], "part", "*@")
                endings[pattern[1:]] = None
            elif pattern.endswith("*"):
                _check(pattern[:-1], "user", "*")
                prefixes[pattern[:-1]] = None
            else:
                _check(pattern, "user", "*")
                names[pattern] = None
        except AddressError as error:
            raise ValueError(f"{place}: {error.message}") from None
    if is_all:
        return EVERYBODY
    kept = tuple(
        sorted(one for one in prefixes if not one.startswith(tuple(other for other in prefixes if other != one)))
    )
    parts = tuple(sorted(endings))
    return Patterns(
        names=frozenset(name for name in names if not name.startswith(kept) and not name.endswith(parts)),
        prefixes=kept,
        endings=parts,
    )


def _check(text: str, what: str, refused: str) -> None:
    """Raise `AddressError` unless a name could be this, or begin or end like this."""
    for character in refused:
        if character in text:
            raise AddressError(f"a {character} stands where no pattern has one; {_SHAPES}")
    check_name(text, what)


class Rights(msgspec.Struct, frozen=True):
    """What the claim `presence` of a token says. A link whose token has none has no `Rights`, but None."""

    see: Patterns
    act: Patterns
    join: Patterns = NOBODY
    watch_channels: Patterns = NOBODY
    only_read: bool = False
    """Whatever changes something is refused."""
    is_narrow: bool = False
    """Whether there is somebody whom it does not see, although its role sees everybody."""

    def sees(self, name: str) -> bool:
        """Of a service: whether it may see this user; blocks do not bind it. Of a user: whether the token is a ground
        to see this user, beside the grounds of the server. O(patterns)."""
        return self.see.match(name)

    def acts_for(self, name: str) -> bool:
        """Whether it may act for this user, and ask what is private of them. A user acts for itself alone, and this
        is about others. O(patterns)."""
        return self.act.match(name)

    def may_ask(self, name: str) -> bool:
        """Whether it may find what is private of this user without naming them. O(patterns)."""
        return self.see.match(name) and self.act.match(name)

    def may_join(self, channel: str) -> bool:
        """Whether the token names this channel among those to join. O(patterns)."""
        return self.join.match(channel)

    def may_watch_channel(self, channel: str) -> bool:
        """Whether the token names this channel among those to watch. O(patterns)."""
        return self.watch_channels.match(channel)


def rights_of(claim: object, user: str, role: Role) -> Rights:
    """What the claim `presence` of a token of this user and role says. Raises `ValueError` with a sentence that names
    the claim. O(patterns squared)."""
    if not isinstance(claim, dict):
        raise ValueError(f"claim presence is no object; it holds {', '.join(LISTS)} and only_read")
    lists: dict[str, Patterns] = {}
    only_read = False
    for key, said in claim.items():
        if key == "only_read":
            if not isinstance(said, bool):
                raise ValueError("claim presence: only_read is neither true nor false")
            only_read = said
        elif key in LISTS:
            lists[key] = _listed(key, said, user if role != "user" and key in ("see", "act") else None)
        else:
            raise ValueError(f"claim presence has a key that is none of {', '.join(LISTS)}, only_read")
    join, watch = lists.get("join", NOBODY), lists.get("watch_channels", NOBODY)
    if role == "user":
        if "act" in lists:
            raise ValueError("claim presence has act, and a token of the role user acts for its own user alone")
        return Rights(lists.get("see", NOBODY), NOBODY, join, watch, only_read)
    # One list bounds both: a token that was meant to keep a service to some must not let it act for all.
    act = lists.get("act", lists.get("see", EVERYBODY))
    see = lists.get("see", act)
    return Rights(see, act, join, watch, only_read, not see.is_all)


def _listed(key: str, said: object, own: str | None) -> Patterns:
    """A list of the claim; the link's own user is always on it, if that is given."""
    if not isinstance(said, list) or not all(isinstance(pattern, str) for pattern in said):
        raise ValueError(f"claim presence: {key} is no list of strings; each is a pattern: {_SHAPES}")
    if len(said) > PATTERNS_MAX:
        raise ValueError(f"claim presence: {key} has more than {PATTERNS_MAX} patterns")
    try:
        patterns = compiled(said)
    except ValueError as error:
        raise ValueError(f"claim presence: {key}, pattern {error}") from None
    if own is None or patterns.match(own):
        return patterns
    return msgspec.structs.replace(patterns, names=patterns.names | {own})
