"""Our own server as an application for the public runs it: users see their contacts alone, and log in with them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import jwt

from bench.errors import BenchError
from bench.load.framing import decoded, frames, whole_frames
from bench.load.links import Link, open_link, tls_kind
from bench.peers.base import Contacts, Conversation, Known
from bench.peers.presenced import DEVICE, SECRET, Presenced, number_of, token_of
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import (
    ContactChange,
    ContactEntry,
    ContactRecords,
    Done,
    Error,
    Goodbye,
    Hello,
    Presence,
    SetContacts,
    Welcome,
)

IN_FLIGHT = 32
"""Lists that are set before the answers are read."""


class PresencedContacts(Presenced):
    """presenced with the ground `contacts` alone. Each user sees their contacts, whose lists a backend has set."""

    name = "presenced, contacts"
    about = (
        "presenced, contacts: as presenced, but users see their contacts alone, whose lists a backend has set before, "
        "and log in with them instead of naming them"
    )

    def __init__(self, payload_bytes: int = 57) -> None:
        super().__init__(payload_bytes, options=("--see", "contacts"), tokens=True)

    def start(self, core: int, workdir: Path, users: Sequence[str], contacts: Contacts) -> None:
        """Start it, and set the lists."""
        directory = workdir / "contacts"
        directory.mkdir()
        super().start(core, directory, users, contacts)
        with ExitStack() as stack:
            kind = Link if self.tls is None else tls_kind(self.tls.client)
            link = open_link(stack, self.port, "backend", kind)
            token = jwt.encode({"sub": "backend", "role": "service", "exp": int(time.time()) + 3600}, SECRET, "HS256")
            link.send(Hello([1], token, "", ""))
            link.receive_reply(Welcome)
            _set_lists(link, iter(_lists(contacts).items()))

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """One Hello that asks for the contacts; their records come with the Welcome."""
        said = frame(encode(Hello([1], token_of(user), user, DEVICE, contacts=True)))
        came = yield said
        told: Known = {}
        is_complete = False
        while not is_complete:
            while whole_frames(came)[0] < 2:
                came += yield b""
            end = whole_frames(came)[1]
            for payload in frames(came[:end]):
                message = decoded(payload)
                if isinstance(message, Goodbye | Error):
                    raise BenchError(f"presenced said {message.code} to {user}: {message.message}")
                if isinstance(message, ContactRecords):
                    told.update((record.user, number_of(record)) for record in message.records)
                    is_complete = not message.more
                elif not isinstance(message, Welcome | Presence | ContactChange):
                    raise BenchError(f"presenced said {message} to the hello of {user}")
            came = came[end:]
            if not is_complete:
                came += yield b""
        return told


def _lists(contacts: Contacts) -> dict[str, list[ContactEntry]]:
    """The list of each user: whom they see, and who sees them, since a list is set as a whole."""
    seen_by: dict[str, set[str]] = {}
    for user, others in contacts.items():
        for other in others:
            seen_by.setdefault(other, set()).add(user)
    lists = {}
    for user, others in contacts.items():
        sees, seen = set(others), seen_by.get(user, set())
        lists[user] = [
            ContactEntry(other, "both" if other in sees and other in seen else "to" if other in sees else "from")
            for other in [*others, *sorted(seen - sees)]
        ]
    return lists


def _set_lists(link: Link, lists: Iterator[tuple[str, list[ContactEntry]]]) -> None:
    """Set the list of each user, some at a time."""
    number = 0
    while True:
        some = [one for _, one in zip(range(IN_FLIGHT), lists, strict=False)]
        if not some:
            return
        for user, entries in some:
            number += 1
            link.send(SetContacts(number, user, entries))
        for _ in some:
            answer = link.receive()
            if not isinstance(answer, Done):
                raise BenchError(f"a list of contacts was answered with {answer}")
