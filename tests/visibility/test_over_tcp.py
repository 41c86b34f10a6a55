"""The same through the door that there is: a server, sockets, and tokens. A stage is built in memory and once more over
a service's link, and what the viewers are told over theirs is held against the rule."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from presenced.server.identity import mint
from presenced.wire.messages import (
    Command,
    Get,
    GetMembers,
    Hello,
    Record,
    Watch,
    WatchChannel,
    Who,
)
from tests.support.in_process import InProcess
from tests.support.suites import server_of
from tests.support.wire import PRESENCE, WELCOME, Frame, Wire
from tests.visibility import changes
from tests.visibility.pairs import STRANGER, VERA, WALT
from tests.visibility.questions import members_of
from tests.visibility.rule import Facts, Viewer, listed
from tests.visibility.stage import SHARED, Stage

SUBJECTS = 90
COMMAND_REPLY, MEMBERS_PAGE, CONTACT_RECORDS = 82, 75, 87
VIEWERS = (Viewer(VERA), Viewer(WALT, see=("s000*",)), Viewer("narrow", "service", ("s00*",)))
GROUNDS = ("contacts", "channels")


def seen(record: Any) -> list[Any]:
    """What is the same on each clock."""
    user, status, text, emoji, since_ms, last_seen_ms, device, version = record
    return [user, status, text, emoji, bool(since_ms), bool(last_seen_ms), device, bool(version)]


def fields(record: Record) -> list[Any]:
    return [getattr(record, name) for name in record.__struct_fields__]


class Door:
    """A server, with everything in it that was said on a stage."""

    def __init__(self, server: InProcess, secret: bytes, stage: Stage) -> None:
        self.server = server
        self.secret = secret
        self.stage = stage
        self.said = 0
        self.app = self.link(Viewer("app", "service"))
        self.catch_up()

    def link(self, viewer: Viewer, **said: Any) -> Wire:
        bounds = ("see",) if viewer.role == "user" else ("see", "act")
        presence = None if viewer.see is None else {bound: list(viewer.see) for bound in bounds}
        wire = Wire(self.server.port)
        token = mint(self.secret, viewer.name, viewer.role, int(time.time()), 600, presence)
        device = "tool" if viewer.role == "user" else ""
        wire.send(Hello([1], token, viewer.name, device, role=viewer.role, priority=-1 if device else 0, **said))
        wire.until(WELCOME)
        return wire

    def catch_up(self) -> None:
        """Say over the socket what was said on the stage since, and at one moment what was said at one moment."""
        said = self.stage.app.said[self.said :]
        self.said = len(self.stage.app.said)
        for _, together in groupby(said, lambda one: one[0]):
            messages = [message for _, message in together]
            self.app.send(*messages)
            wanted = {message.id for message in messages}  # type: ignore[union-attr]
            while wanted:
                answer = self.app.next()
                assert answer[0] != 66, answer
                wanted.discard(answer[1])


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, nodes: int) -> Iterator[Door]:
    secret = secrets.token_urlsafe(32).encode()
    folder = tmp_path_factory.mktemp("door")
    path: Path = folder / "secret"
    path.write_bytes(secret)
    path.chmod(0o600)
    stage = Stage(Facts(GROUNDS, reciprocal=True), 2, SUBJECTS)
    chosen = {"grounds": GROUNDS, "reciprocal": True}
    with server_of(nodes, folder, dev=False, secret_file=str(path), change_spacing_ms=0, **chosen) as server:
        yield Door(server, secret, stage)


def answered(records: list[Frame]) -> list[Any]:
    return [seen(record) for record in records if record[0] not in (VERA, WALT)]


def expected(records: list[Record]) -> list[Any]:
    return answered([fields(record) for record in records])


@pytest.mark.parametrize("viewer", VIEWERS, ids=lambda viewer: viewer.name)
def test_the_answers_are_those_of_the_rule(door: Door, viewer: Viewer) -> None:
    stage, link = door.stage, door.link(viewer, contacts=viewer.role == "user")
    wanted = stage.expected(viewer, stage.full())
    names = [*(subject.name for subject in stage.subjects), STRANGER]
    if viewer.role == "user":
        told = link.until(CONTACT_RECORDS)[3]
        mine = {subject for one, subject in stage.facts.sees if one == viewer.name}
        assert {record[0] for record in told} <= mine and len(told) > 10
        assert answered(told) == expected([wanted[record[0]] for record in told])
    link.send(Get(1, names), Watch(2, names), Who(3, "", 256), GetMembers(4, SHARED, "", 256))
    link.send(WatchChannel(5, SHARED, 256), *([Command(6, "who")] if viewer.role == "user" else []))
    online = listed(wanted.values())
    members = members_of(stage, SHARED, viewer, stage.full())
    for request_id, records, place in (
        (1, [wanted[name] for name in names], 4),
        (2, [wanted[name] for name in names], 4),
        (3, online, 6),
        (4, members, 7),
        (5, members, 7),
    ):
        answer = link.next()
        while answer[0] == PRESENCE:
            answer = link.next()
        assert answer[1] == request_id, answer
        assert answered(answer[place]) == expected(records), f"request {request_id}"
    if viewer.role == "user":
        command = link.until(COMMAND_REPLY)
        assert command[3].startswith(f"{len(online)} online: "), command[3]
        assert answered(command[5]) == expected(
            [record for record in online if record.user in {r[0] for r in command[5]}]
        )


def test_what_changes_is_told_to_whom_it_may_be(door: Door) -> None:
    stage = door.stage
    names = [*(subject.name for subject in stage.subjects), STRANGER]
    for change in (changes.unblock_all, changes.other_hiding, changes.new_status, changes.other_audiences, changes.go):
        links = {viewer: door.link(viewer) for viewer in VIEWERS}
        before = {viewer: stage.expected(viewer, stage.full()) for viewer in VIEWERS}
        for link in links.values():
            link.send(Watch(1, names))
            link.next()
        change(stage)
        door.catch_up()
        for viewer, link in links.items():
            after = stage.expected(viewer, stage.full())
            link.send(Get(2, names))
            answer = link.next()
            told = []
            while answer[:2] != [69, 2]:
                if answer[0] == PRESENCE:
                    told.append(answer[1])
                answer = link.next()
            assert answered(answer[4]) == expected([after[name] for name in names]), change.__name__
            # The server may have read what was said in several turns, and have told of what was in between.
            known = {name: seen(fields(before[viewer][name]))[:-1] for name in names}
            known |= {record[0]: seen(record)[:-1] for record in told}
            wanted = [record[:-1] for record in expected([after[name] for name in names])]
            assert list(known.values()) == wanted, f"{change.__name__}, {viewer}"
            hidden = [name for name in names if not before[viewer][name].version and not after[name].version]
            assert not {record[0] for record in told} & set(hidden), f"{change.__name__}, {viewer}"
            link.close()
