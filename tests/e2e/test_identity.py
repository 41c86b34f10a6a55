"""Who a link speaks for: tokens over the real socket, good and bad, and the secret that never shows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from presenced.wire.messages import Get, Ping, Watch
from tests.e2e.tokens import FAR_S, SECRET, by_hand, encoded, signed
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.wire import PONG, PRESENCE, RECORDS, WELCOME, Bystander, Wire, hello, opened


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_text(f"  {SECRET}\n")
    return path


@pytest.fixture(scope="module")
def daemon(secret_file: Path) -> Iterator[Daemon]:
    options = ("--secret-file", str(secret_file), "--check", "--change-spacing", "0", "--grace", "0")
    with Daemon(secret_file.with_name("log"), *options, dev=False) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def beside(daemon: Daemon) -> Iterator[Bystander]:
    """Its two users share a token's role but not its name."""
    bystander = Bystander.__new__(Bystander)
    bystander.name = "marker"
    bystander.publisher = opened(daemon.port, "marker", token=signed(sub="marker"))
    bystander.watcher = opened(daemon.port, "reader", token=signed(sub="reader"))
    bystander.watcher.send(Watch(1, ["marker"]))
    assert bystander.watcher.next()[0] == RECORDS
    yield bystander
    bystander.close()


def minted(secret_file: Path, *options: str) -> str:
    command = [sys.executable, "-m", "presenced", "token", "--secret-file", str(secret_file), *options]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.strip()


def test_a_minted_token_opens_a_link(daemon: Daemon, secret_file: Path) -> None:
    token = minted(secret_file, "--user", "alice", "--ttl", "1h")
    with Wire(daemon.port) as link:
        link.send(hello("alice", token=token))
        got = link.next()
        assert got[0] == WELCOME
        assert got[2:5] == ["alice", "laptop", "user"]


def test_the_token_names_the_user(daemon: Daemon) -> None:
    """A hello may leave its user empty."""
    with Wire(daemon.port) as link:
        link.send(hello("", token=signed(sub="carol")))
        assert link.next()[2:5] == ["carol", "laptop", "user"]


@pytest.mark.parametrize("role", ["user", "service", "admin"])
def test_the_role_comes_from_the_token(daemon: Daemon, role: str) -> None:
    """What the hello claims to be is not believed, neither up nor down."""
    for claimed in ("user", "service", "admin"):
        with Wire(daemon.port) as link:
            link.send(hello("alice", role=claimed, token=signed(role=role)))
            assert link.next()[4] == role


def test_a_user_token_needs_a_device_whatever_the_hello_says(daemon: Daemon) -> None:
    with Wire(daemon.port) as link:
        link.send(hello("alice", "", role="service", token=signed()))
        link.ended_with("bad_hello")
    with Wire(daemon.port) as link:
        link.send(hello("alice", "", token=signed(role="service")))
        assert link.next()[0] == WELCOME


def bad_tokens() -> dict[str, tuple[str, str]]:
    good = signed()
    head, body, signature = good.split(".")
    other = encoded(json.dumps({"sub": "root", "exp": FAR_S, "role": "admin"}).encode())
    none_header = encoded(b'{"alg":"none"}')
    flipped = encoded(bytes([base64.urlsafe_b64decode(signature + "==")[0] ^ 1]) + hmac.digest(b"a", b"b", "md5") * 2)
    cases = {
        "none": "",
        "nonsense": "nonsense",
        "three dots": "...",
        "no signature": f"{head}.{body}.",
        "another's body": f"{head}.{other}.{signature}",
        "a forged signature": f"{head}.{body}.{flipped}",
        "another secret": by_hand({"alg": "HS256"}, {"sub": "alice", "exp": FAR_S}, secret=SECRET[::-1]),
        "alg none": f"{none_header}.{body}.",
        "alg none with a signature": f"{none_header}.{body}.{signature}",
        "alg NONE": f"{encoded(json.dumps({'alg': 'NonE'}).encode())}.{body}.",
        "HS512 by the same secret": by_hand({"alg": "HS512"}, {"sub": "alice", "exp": FAR_S}, digest=hashlib.sha512),
        "HS384 by the same secret": jwt.encode({"sub": "alice", "exp": FAR_S}, SECRET, algorithm="HS384"),
        "alg that is a list": by_hand({"alg": ["HS256"]}, {"sub": "alice", "exp": FAR_S}),
        "no alg": by_hand({}, {"sub": "alice", "exp": FAR_S}),
        "a header of nested lists": encoded(b"[" * 3000) + f".{body}.{signature}",
        "claims that are a list": by_hand({"alg": "HS256"}, ["alice"]),
        "claims of nested lists": by_hand(
            {"alg": "HS256"}, {"sub": "alice", "exp": FAR_S, "x": json.loads("[" * 400 + "]" * 400)}
        )
        + "x",
        "too long": signed(pad="x" * 4096),
        "umlauts": "\u00fc" * 100,
        "no sub": signed(sub=None),
        "no exp": signed(exp=None),
        "a sub that is a number": signed(sub=5),
        "an exp that is a list": signed(exp=[1]),
        "an exp that is text": signed(exp="tomorrow"),
        "an exp without end": signed(exp=float("inf")),
        "not valid yet": signed(nbf=FAR_S - 1),
        "not valid for 400 digits of seconds": signed(nbf=10**400),
        "a sub that is no UTF-8": signed(sub="\ud800"),
        "an unknown role": signed(role="king"),
        "a role that is a list": signed(role=["admin"]),
        "a role that is a number": signed(role=1),
        "another user": signed(sub="bob"),
    }
    codes = {what: (token, "bad_token") for what, token in cases.items()}
    codes["expired"] = (signed(exp=int(time.time()) - 5), "token_expired")
    codes["expired long ago"] = (signed(exp=1), "token_expired")
    return codes


@pytest.mark.parametrize(("token", "code"), bad_tokens().values(), ids=list(bad_tokens()))
def test_a_bad_token_opens_nothing(daemon: Daemon, beside: Bystander, token: str, code: str) -> None:
    with Wire(daemon.port) as link:
        link.send(hello("alice", token=token), Ping(1))
        goodbye = link.ended_with(code)
        assert len(link.told) == 1
        assert SECRET not in goodbye[2]
    beside.check()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\nb", "x" * 129, "e\u0301"])
def test_a_sub_that_is_no_name(daemon: Daemon, beside: Bystander, name: str) -> None:
    with Wire(daemon.port) as link:
        link.send(hello("", token=signed(sub=name)))
        assert "the token's claim sub: the user name" in link.ended_with("bad_token")[2]
    beside.check()


@pytest.mark.parametrize("device", ["laptop", ""])
def test_a_token_ends_while_its_link_is_open(daemon: Daemon, beside: Bystander, device: str) -> None:
    """Though the client goes on talking. Its device goes into grace (here of 0) like any that is lost."""
    with opened(daemon.port, "reader", "second", token=signed(sub="reader")) as observer:
        observer.send(Watch(1, ["brief"]))
        observer.next()
        now_s = int(time.time())
        token = signed(sub="brief", role="user" if device else "service", exp=now_s + 2)
        with opened(daemon.port, "brief", device, token=token) as link:
            link.send(Ping(1))
            assert link.next()[:2] == [PONG, 1]
            link.ended_with("token_expired")
            assert time.time() >= now_s + 2, "not before its time"
        assert f"token_expired: closing 'brief/{device}'" in daemon.log()
        if device:
            assert [observer.until(PRESENCE)[1][1] for _ in range(2)] == ["online", "offline"]
    beside.check()


def test_unknown_users_look_the_same(daemon: Daemon) -> None:
    with opened(daemon.port, "alice", token=signed()) as link:
        link.send(Get(1, ["never-seen"]))
        assert link.next()[4] == [["never-seen", "offline", "", "", 0, 0, "", 0]]


def test_the_secret_and_the_tokens_stay_out_of_the_log(tmp_path: Path, secret_file: Path) -> None:
    good, forged = signed(), signed() + "x"
    with Daemon(tmp_path / "log", "--secret-file", str(secret_file), dev=False) as daemon:
        opened(daemon.port, "alice", token=good).close()
        with Wire(daemon.port) as link:
            link.send(hello("alice", token=forged))
            link.ended_with("bad_token")
    log = daemon.log()
    assert "bad_token: closing a link without hello" in log
    for secret in (SECRET, good, good.split(".")[2]):
        assert secret not in log


def test_without_dev_the_name_alone_is_not_believed(daemon: Daemon) -> None:
    with Wire(daemon.port) as link:
        link.send(hello("alice", role="admin"))
        link.ended_with("bad_token")
