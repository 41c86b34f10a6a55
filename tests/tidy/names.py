"""One meaning for each name of a class, and nouns for the names of files."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.tidy.sources import Complaint, Source

INNERMOST = ("wire", "core", "storage", "config", "server", "ops", "client", "sync", "cli", "examples")
"""Whose name it is where two have the same: that of the package that stands first. The outer one is told apart by a
word before it: `ServerStatus`, `ClientSession`."""

SAME_MEANING: dict[str, str] = {
    "Audience": "to whom a user shows which field: as state, and as an application reads it",
    "Change": "a record before and after: the core's names the user, the client's says of which kind the change is",
    "ContactChange": "a contact of a list has changed: the message, and what an application gets of it",
    "Event": "something that happened to a user: the message, and what an application gets of it",
    "Events": "the stream of events: the core's part that keeps it, and the client's end of it",
    "MembersPage": "one page of a channel's members: the message, and what an application gets of it",
    "Part": "the owner of one kind of state: in the core, and in a client's session",
    "Schedule": "a user's weekly schedule: as state, and as an application reads it",
    "Position": "up to where a client was told: the message about everybody, and that of one that follows events",
    "Taken": "a device was taken by another client: the message, and what an application gets of it",
    "Watch": "being told of users: the request for it, and the client's stream",
    "WhoPage": "one page of those who are online: the message, and what an application gets of it",
}
"""Names of classes that several files define, to why that is the same thing all the same."""

NOT_NOUNS = frozenset(
    # participles and other forms of verbs that do not end in -ing or -ed
    "held gone kept told said spoken taken given made known left sent shown written "
    # verbs that are no nouns; `check`, `drain`, `merge`, `reload`, `restart` are both
    "connect compare notify operate restore render persist recover validate accept "
    # adjectives, pronouns and adverbs
    "apart durable everyone everybody external idle internal latent large live ours own private public slow small "
    "wide".split()
)
ENDS_LIKE_A_VERB = ("ing", "ed")
NOUNS = {
    "clustering": "running a node of a cluster: the glue around `cluster`, which is pure",
    "feed": "a stream of events, as in news feed; not the past of fee",
    "finding": "what an inspection has found, with a plural: findings",
    "greeting": "the first exchange on a link, with a plural: greetings",
    "ring": "a key ring: the keys that somebody has; not the verb to ring",
    "presenced": "the name of the daemon: presence, with the d of a daemon",
    "pacing": "the field's word for spreading work over time",
    "spacing": "the least time between two pushes, as between two lines",
    "forwarding": "the field's word for handing requests on to who answers them",
    "routing": "the field's word for deciding where messages go",
    "framing": "the field's word for how bytes become messages",
    "testing": "what applications test with; the name of such packages elsewhere",
    "shedding": "load shedding: the field's word for refusing work to stay alive",
}
"""Words that end like a form of a verb, and why they are nouns here."""

PROFILES = "profiles."
"""Its files are named after what is typed: `python -m bench durable`."""


def one_meaning(sources: Sequence[Source]) -> Iterator[Complaint]:
    """A name of a class means one thing in the whole package."""
    ranked = sorted(sources, key=lambda source: INNERMOST.index(source.part) if source.part in INNERMOST else -1)
    first: dict[str, str] = {}
    for source in ranked:
        for line, name in _types(source):
            if name in SAME_MEANING:
                continue
            if name in first:
                why = f"defines {name}, which {first[name]} defines too: a name means one thing"
                yield Complaint(source.path, line, name, why)
            first.setdefault(name, source.path)


def same_meanings_are_needed(sources: Sequence[Source]) -> Iterator[Complaint]:
    """Nothing stands in SAME_MEANING that is defined once, or without a reason."""
    names = [name for source in sources for _, name in _types(source)]
    for name, reason in SAME_MEANING.items():
        if names.count(name) < 2 or not reason:
            yield Complaint(
                "tests/tidy/names.py", 1, name, f"{name} is defined once, or has no reason; take it off SAME_MEANING"
            )


def _types(source: Source) -> Iterator[tuple[int, str]]:
    """The public classes and types at the top of a file: `class X`, `X = int | str`, `X: TypeAlias = ...`."""
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        else:
            continue
        if name[0].isupper() and not name.isupper():
            yield node.lineno, name


def files_are_nouns(source: Source) -> Iterator[tuple[int, str]]:
    """A file is named after the thing that it owns: `deadlines`, not `waiting`."""
    stem = source.module.split(".")[-1]
    if source.module.startswith(PROFILES) or stem.startswith("__"):
        return
    word = stem.split("_")[-1]  # the word that says what kind of thing: `lone_heartbeat`
    if word in NOUNS:
        return
    if word in NOT_NOUNS or word.endswith(ENDS_LIKE_A_VERB):
        yield 1, f"{Path(source.path).name} is named after {word}, which is no noun: name it after what it owns"


def nouns_are_needed(sources: Sequence[Source]) -> Iterator[Complaint]:
    """Nothing stands in NOUNS that no file is named after."""
    used = {source.module.split(".")[-1].split("_")[-1] for source in sources}
    for word in sorted(NOUNS.keys() - used):
        yield Complaint("tests/tidy/names.py", 1, word, f"no file is named after {word}; take it off NOUNS")
