"""A new token on a link that goes on: what it does to the end of the link, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from presenced.core.model import CONNECTED, GRACE
from presenced.core.rights import rights_of
from presenced.core.wheel import TICK_MS
from presenced.limits import TOKEN_BYTES_MAX
from presenced.server.clocks import Clocks
from presenced.server.conversation import OPEN
from presenced.server.identity import Identity, mint
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Attach, Heartbeat, Hello, Ping, Renew, Role
from tests.support.conversing import WALL_MS, FakeTransport, VirtualHost
from tests.support.in_process import InProcess
from tests.support.wire import DONE, ERROR, GOODBYE, PONG, WELCOME, Wire

DEVICES = pytest.mark.parametrize(
    ("device", "role"), [("laptop", "user"), ("", "service"), ("laptop", "service")], ids=["user", "service", "both"]
)
SECRET = b"a secret that is long enough for the hash of it"


def linked(device: str = "laptop", role: Role = "user", ends_ms: int = 40_000) -> tuple[VirtualHost, FakeTransport]:
    """A link of ann whose token ends so long after the start."""
    host = VirtualHost()
    host.identities["first"] = Identity("ann", role, WALL_MS + ends_ms)
    link = host.accept()
    link.say(Hello([1], "first", "ann", device))
    assert [got[0] for got in link.take()] == [WELCOME]
    return host, link


def lives_until(host: VirtualHost, link: FakeTransport, end_ms: int) -> None:
    """Let time pass to this moment after the start: the link, which heartbeats, is open until then and not after it."""
    end_ms -= host.wall_ms - WALL_MS
    while end_ms > 30_000:
        host.advance(30_000)
        end_ms -= 30_000
        link.say(Heartbeat())
    host.advance(end_ms - 1)
    assert link.conversation.state == OPEN and link.take() == []
    host.advance(1 + TICK_MS)
    assert [got[:2] for got in link.take()] == [[GOODBYE, "token_expired"]]


@DEVICES
def test_the_old_end_passes_and_the_link_lives_until_the_new_one(device: str, role: Role) -> None:
    host, link = linked(device, role)
    host.identities["second"] = Identity("ann", role, WALL_MS + 100_000)
    host.advance(10_000)
    link.say(Renew(1, "second"))
    assert [got[:2] for got in link.take()] == [[DONE, 1]]
    lives_until(host, link, 100_000)


@DEVICES
def test_a_token_that_ends_earlier_counts_too(device: str, role: Role) -> None:
    host, link = linked(device, role)
    host.identities["short"] = Identity("ann", role, WALL_MS + 20_000)
    link.say(Renew(1, "short"))
    assert [got[:2] for got in link.take()] == [[DONE, 1]]
    lives_until(host, link, 20_000)


@DEVICES
@pytest.mark.parametrize(
    ("token", "code", "says"),
    [
        ("of ben", "forbidden", "for another user than the link's"),
        ("of an admin", "forbidden", "the token's role is admin, and the link's is "),
        ("old", "token_expired", "the token has expired"),
        ("forged", "bad_token", "this token is not known here"),
        ("", "bad_token", "this token is not known here"),
    ],
)
def test_what_is_refused_leaves_the_link_with_the_token_that_it_has(
    device: str, role: Role, token: str, code: str, says: str
) -> None:
    host, link = linked(device, role)
    host.identities["of ben"] = Identity("ben", role, WALL_MS + 100_000)
    host.identities["of an admin"] = Identity("ann", "admin", WALL_MS + 100_000)
    host.identities["old"] = Identity("ann", role, WALL_MS)
    link.say(Renew(1, token), Ping(2))
    (kind, request_id, told, sentence, _), pong = link.take()
    assert (kind, request_id, told) == (ERROR, 1, code) and says in sentence
    assert pong[:2] == [PONG, 2]
    lives_until(host, link, 40_000)


def test_a_renewal_that_is_read_before_the_end_is_noticed_is_in_time() -> None:
    host, link = linked()
    host.identities["second"] = Identity("ann", "user", WALL_MS + 60_000)
    host.now_ms += 40_500
    link.say(Renew(1, "second"))
    assert [got[:2] for got in link.take()] == [[DONE, 1]]
    lives_until(host, link, 60_000)


def test_a_new_token_brings_its_rights() -> None:
    host, link = linked("", "service")
    session = link.conversation.session
    assert session is not None and session.rights is None
    narrow = rights_of({"act": ["bob"]}, "ann", "service")
    for token, rights in (("second", narrow), ("third", None)):
        host.identities[token] = Identity("ann", "service", WALL_MS + 60_000, rights)
        link.say(Renew(1, token))
        assert [got[:2] for got in link.take()] == [[DONE, 1]] and session.rights is rights


@pytest.mark.parametrize("claim", [{"act": ["bob"]}, {"act": ["b*"], "only_read": True}, {}], ids=str)
def test_what_a_new_token_does_not_let_it_act_for_is_let_go_of(claim: dict[str, object]) -> None:
    host, link = linked("", "service")
    link.say(Attach(1, 1, "bob", "web"), Attach(2, 2, "eve", "web"))
    link.take()
    host.identities["second"] = Identity("ann", "service", WALL_MS + 600_000, rights_of(claim, "ann", "service"))
    link.say(Renew(3, "second"))
    gone = [ref for ref, is_gone in ((1, "only_read" in claim), (2, bool(claim))) if is_gone]
    # 83 is Taken.
    *told, answer = link.take()
    assert [got[:3] for got in told] == [[83, ref, "lost"] for ref in gone] and answer[:2] == [DONE, 3]
    states = [host.engine.users[name].devices["web"].state for name in ("bob", "eve")]
    assert states == [GRACE if ref in gone else CONNECTED for ref in (1, 2)]


def test_one_behind_the_goodbye_changes_nothing() -> None:
    host, link = linked()
    host.identities["second"] = Identity("ann", "user", WALL_MS + 60_000)
    host.advance(40_000 + TICK_MS)
    link.say(Renew(1, "second"))
    assert [got[:2] for got in link.take()] == [[GOODBYE, "token_expired"]]


def test_the_link_that_lost_its_device_is_not_kept_by_a_renewal() -> None:
    """Both come in one turn: the older link has no device then, and is closed at the end of the turn."""
    host, older = linked()
    host.identities["second"] = Identity("ann", "user", WALL_MS + 60_000)
    newer = host.accept()
    for link, message in ((newer, Hello([1], "second", "ann", "laptop")), (older, Renew(1, "second"))):
        link.conversation.receive(host.begin(), frame(encode(message)))
    assert len(host.engine.wheel) == 1, "the device's entry, and none of the older link"
    host.turn()
    assert [got[:2] for got in older.take()] == [[DONE, 1], [GOODBYE, "replaced"]]


def test_a_renewal_costs_what_a_hello_does() -> None:
    host = VirtualHost(rate=100)
    link = host.open("ann")
    host.identities["second"] = Identity("ann", "user", WALL_MS + 60_000)
    account = link.conversation.intake.account
    before = account.credit
    link.say(Renew(1, "second"))
    assert before - account.credit == 4


def test_in_dev_mode_it_is_answered_and_changes_nothing() -> None:
    with InProcess() as running:
        link = Wire(running.port)
        link.send(Hello([1], "", "ann", "laptop"), Renew(1, "anything"))
        assert link.next()[0] == WELCOME and link.next()[:2] == [DONE, 1]
        ends = running.ask(lambda server: [one.session.expires_ms for one in server.links if one.session is not None])
        assert ends == [0]
        link.close()


@pytest.mark.parametrize(("device", "role"), [("laptop", "user"), ("", "service")])
def test_a_real_server_goes_by_the_real_tokens(tmp_path: Path, device: str, role: Role) -> None:
    skipped_ns = 0
    now_s = int(time.time())
    clocks = Clocks(lambda: time.monotonic_ns() + skipped_ns, lambda: now_s * 10**9 + skipped_ns)
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    with InProcess(clocks=clocks, dev=False, secret_file=str(secret)) as running:
        link = Wire(running.port)
        link.send(Hello([1], mint(SECRET, "ann", role, now_s, 60), "", device))
        assert link.next()[0] == WELCOME
        for number, (token, code) in enumerate(
            [
                (mint(SECRET, "ben", role, now_s, 120), "forbidden"),
                (mint(SECRET, "ann", "admin", now_s, 120), "forbidden"),
                (mint(SECRET, "ann", role, now_s - 90, 90), "token_expired"),
                (mint(SECRET, "ann", role, now_s + 90, 90), "token_early"),
                (mint(b"of somebody else" * 3, "ann", role, now_s, 90), "bad_token"),
                ("x" * (TOKEN_BYTES_MAX + 1), "bad_token"),
            ],
            1,
        ):
            link.send(Renew(number, token))
            assert link.next()[:3] == [ERROR, number, code]
        link.send(Renew(7, mint(SECRET, "ann", role, now_s, 120)))
        assert link.next()[:2] == [DONE, 7]
        skipped_ns = 61 * 10**9
        link.send(Ping(8))
        assert link.next()[:2] == [PONG, 8], "the end of the first token ended the link"
        skipped_ns = 121 * 10**9
        link.send(Ping(9))
        assert link.next()[:2] == [PONG, 9]
        link.ended_with("token_expired")
