"""The dimensions of the matrix: what may hold of a subject, and between a subject and one viewer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations, product
from typing import Any, Final, NamedTuple

VERA: Final = "vera@one.example"
WALT: Final = "walt@two.example"
OTHER: Final = "olga@one.example"
"""Somebody else, to be named in lists."""

RELATIONS: Final = ("none", "to", "from", "both", "asked", "asks", "approved", "approves")
"""From the viewer's side, as in the viewer's list; the last: the subject has approved the viewer before being asked."""
BLOCKS: Final = ("none", "viewer", "subject", "both")
HIDES: Final = ("none", "subject", "viewer")
DIRECTED: Final = ("none", "shown", "gone", "stopped")
STATES: Final = ("never", "offline", "online")
PLACES: Final = ("none", "shared", "other", "both")
"""The rooms that the subject is in: one with the viewers, one without them."""
PARTS: Final = ("@one.example", "@two.example", ".one.example", "@x@one.examp")
"""Ends of names of one length: of a domain of its own is the last, and of none the third."""
OFFLINE: Final = ("no", "yes", "new text")
"""Whether the subject appears offline, and has set a text since."""


class Shows(NamedTuple):
    """An audience, with who is in its lists."""

    text: Any = "everyone"
    last_seen: Any = "everyone"
    device: Any = "everyone"
    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


AUDIENCES: Final = (
    None,
    Shows(),
    Shows("contacts"),
    Shows("nobody"),
    Shows("everyone", "contacts"),
    Shows("everyone", "nobody"),
    Shows("everyone", "everyone", "contacts"),
    Shows("contacts", "nobody", "contacts"),
    Shows("nobody", "nobody", "nobody"),
    Shows("nobody", "nobody", "nobody", (VERA, OTHER)),
    Shows("contacts", "contacts", "contacts", (), (VERA,)),
    Shows("everyone", "everyone", "everyone", (), (OTHER, WALT)),
    Shows("nobody", "contacts", "nobody", (VERA, WALT), (VERA, OTHER)),
)


class Pair(NamedTuple):
    """What holds between a subject and one viewer."""

    relation: str = "none"
    block: str = "none"
    hide: str = "none"
    directed: str = "none"


class Subject(NamedTuple):
    """Somebody to be asked about, and all that holds of them."""

    name: str
    state: str
    offline: str
    audience: Shows | None
    place: str
    pairs: dict[str, Pair]
    """By the viewer."""

    @property
    def has_tab(self) -> bool:
        """Whether there is a second device: the one that shows itself to somebody."""
        return any(pair.directed == "shown" for pair in self.pairs.values())


STRANGER: Final = "nobody0@one.example"


def draw(dice: random.Random, number: int) -> Subject:
    """One of the combinations that can be."""
    state = dice.choices(STATES, (1, 2, 6))[0]
    is_live = state == "online"
    pairs = {}
    for viewer in (VERA, WALT):
        directed = (
            dice.choice(DIRECTED) if is_live else "gone" if state == "offline" and dice.random() < 0.3 else "none"
        )
        # Blocks end whatever they meet, so that most are to have none.
        block = dice.choices(BLOCKS, (6, 1, 1, 1))[0]
        hide = dice.choices(HIDES, (4, 2, 1))[0]
        pairs[viewer] = Pair(dice.choice(RELATIONS), block, hide, directed)
    return Subject(
        f"s{number:04}{dice.choice(PARTS)}",
        state,
        dice.choices(OFFLINE, (4, 1, 1))[0] if is_live else "no",
        dice.choice(AUDIENCES),
        dice.choice(PLACES) if is_live else "none",
        pairs,
    )


def met(subjects: list[Subject], viewer: str) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    """Which two values of two dimensions meet in one of these."""
    found = set()
    for subject in subjects:
        pair = subject.pairs[viewer]
        values = {
            "part": subject.name[5:],
            "state": subject.state,
            "offline": subject.offline,
            "audience": subject.audience,
            "place": subject.place,
            **pair._asdict(),
        }
        found.update(combinations(sorted(values.items(), key=lambda item: item[0]), 2))
    return found


def to_meet() -> Iterator[tuple[tuple[str, object], tuple[str, object]]]:
    """Which two values can meet: all, but what needs a live device needs the subject to be there."""
    dimensions: dict[str, tuple[object, ...]] = {
        "audience": AUDIENCES,
        "block": BLOCKS,
        "directed": DIRECTED,
        "hide": HIDES,
        "offline": OFFLINE,
        "part": PARTS,
        "place": PLACES,
        "relation": RELATIONS,
        "state": STATES,
    }
    absent = {"directed": ("shown", "stopped"), "offline": ("yes", "new text"), "place": ("shared", "other", "both")}
    for (one, ones), (other, others) in combinations(sorted(dimensions.items()), 2):
        for value, other_value in product(ones, others):
            if other == "state" and other_value != "online" and value in absent.get(one, ()):
                continue
            if other == "state" and other_value == "never" and value == "gone":
                continue
            # Who is shown to somebody is online, and so are those who appear offline or are in a room.
            if one == "directed" and value == "gone" and other == "state" and other_value == "never":
                continue
            yield (one, value), (other, other_value)
