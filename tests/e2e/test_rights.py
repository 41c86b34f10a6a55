"""Rights of tokens over real connections: who is told what, and what a wrong claim is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from presenced.server.identity import mint
from presenced.wire.messages import Attach, Follow, Hello, Join, Renew, Role, SetStatus, WatchAll, Who
from tests.support.in_process import InProcess
from tests.support.suites import server_of
from tests.support.wire import DONE, ERROR, GOODBYE, PRESENCE, WELCOME, WHO_PAGE, Wire

SECRET = b"a secret that is long enough for the hash of it"
FOLLOWING, EVENT = 81, 80


@pytest.fixture
def running(tmp_path: Path, nodes: int) -> Iterator[InProcess]:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    with server_of(nodes, tmp_path, dev=False, secret_file=str(secret), channels_join="token") as running:
        yield running


def token(user: str, role: Role, presence: dict[str, Any] | None = None) -> str:
    return mint(SECRET, user, role, int(time.time()), 60, presence)


def linked(running: InProcess, user: str, role: Role, presence: dict[str, Any] | None = None, device: str = "") -> Wire:
    link = Wire(running.port)
    link.send(Hello([1], token(user, role, presence), "", device))
    assert link.next()[0] == WELCOME
    return link


def test_a_service_is_kept_to_the_users_of_its_token(running: InProcess) -> None:
    whole = linked(running, "backend", "service")
    whole.send(Attach(1, 1, "ann@acme", "web"), Attach(2, 2, "eve@evil", "web"))
    assert [whole.next()[:2] for _ in range(2)] == [[DONE, 1], [DONE, 2]]
    link = linked(running, "acme", "service", {"act": ["*@acme"]})
    link.send(Who(1), WatchAll(2), Follow(3), Attach(4, 1, "eve@evil", "tab"), Attach(5, 2, "bob@acme", "web"))
    page, done, following, refused = (link.next() for _ in range(4))
    assert page[0] == WHO_PAGE and page[4] == 1 and [record[0] for record in page[6]] == ["ann@acme"]
    assert done[:2] == [DONE, 2] and following[0] == FOLLOWING
    assert refused[:3] == [ERROR, 4, "forbidden"]
    assert link.next()[:2] == [DONE, 5]
    assert {link.next()[0] for _ in range(3)} == {PRESENCE, EVENT}, "of bob, who has come online"
    whole.send(SetStatus(3, "dnd", user="eve@evil"), SetStatus(4, "dnd", user="ann@acme"))
    told = [link.next() for _ in range(2)]
    assert [frame[1][0] if frame[0] == PRESENCE else frame[4] for frame in told] == ["ann@acme", "ann@acme"]
    link.send(Renew(6, token("acme", "service")))
    assert link.next()[:2] == [FOLLOWING, 0] and link.next()[:2] == [DONE, 6]
    whole.send(SetStatus(5, "away", user="eve@evil"))
    assert link.next()[1][0] == "eve@evil"
    for one in (whole, link):
        one.close()


def test_a_user_joins_the_channels_of_the_token(running: InProcess) -> None:
    link = linked(running, "ann", "user", {"join": ["team-*"]}, "laptop")
    link.send(Join(1, "team-1"), Join(2, "hall"))
    answers = sorted(link.next()[:3] for _ in range(2))
    assert answers[0] == [ERROR, 2, "forbidden"] and answers[1][:2] == [DONE, 1]
    link.close()


def test_a_wrong_claim_is_a_bad_token_with_its_name(running: InProcess) -> None:
    said = {"sub": "ann", "exp": int(time.time()) + 60, "presence": {"see": ["a*b"]}}
    link = Wire(running.port)
    link.send(Hello([1], jwt.encode(said, SECRET, "HS256"), "", "laptop"))
    goodbye = link.next()
    assert goodbye[:2] == [GOODBYE, "bad_token"] and "claim presence: see, pattern 1" in goodbye[2]
    link.close()
