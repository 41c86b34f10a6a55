"""Tokens that are refused though they are genuine: in hello, in a renewal, and in dev mode, where there are none."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest

import presenced
from presenced.errors import AuthError, ConnectionLost
from presenced.limits import KICK_RETRY_MS
from presenced.server.clocks import Clocks
from presenced.server.identity import mint
from presenced.wire.messages import Hello, Kick, Ping, Renew, Revoke
from tests.client.helpers import running, service, url
from tests.support.in_process import InProcess
from tests.support.until import eventually
from tests.support.wire import DONE, ERROR, GOODBYE, PONG, WELCOME, Wire

SECRET = b"a secret that is long enough for the hash of it"


def hello(link: Wire, token: str, device: str = "laptop") -> list[object]:
    link.send(Hello([1], token, "", device))
    return link.next()


def test_a_real_server_goes_by_when_real_tokens_were_made(tmp_path: Path) -> None:
    skipped_ns = 0
    now_s = int(time.time())
    # In the middle of a second, which the server knows to the millisecond.
    stands_ns = now_s * 10**9 + 500_000_000
    clocks = Clocks(lambda: time.monotonic_ns() + skipped_ns, lambda: stands_ns + skipped_ns)
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)

    def token(made_s: int) -> str:
        return mint(SECRET, "ann", "user", made_s, 3_600)

    with InProcess(clocks=clocks, dev=False, secret_file=str(secret)) as served:
        admin, before, same = Wire(served.port), Wire(served.port), Wire(served.port)
        assert hello(admin, mint(SECRET, "root", "admin", now_s, 3_600), "")[0] == WELCOME
        assert hello(before, token(now_s - 1))[0] == WELCOME
        assert hello(same, token(now_s), "phone")[0] == WELCOME
        admin.send(Revoke(1, "ann"))
        assert admin.next()[:2] == [DONE, 1]
        before.ended_with("token_revoked")
        same.send(Renew(1, token(now_s - 1)), Ping(2))
        assert same.next()[:3] == [ERROR, 1, "token_revoked"]
        assert same.next()[:2] == [PONG, 2], "the link goes on with the token that it has"
        late = Wire(served.port)
        assert hello(late, token(now_s - 1))[:2] == [GOODBYE, "token_revoked"]
        fresh = Wire(served.port)
        assert hello(fresh, token(now_s))[0] == WELCOME, "made in the second of the revocation"
        # A renewed link counts by its latest token, whatever it was opened with.
        skipped_ns = 2 * 10**9
        same.send(Renew(3, token(now_s + 2)))
        assert same.next()[:2] == [DONE, 3]
        admin.send(Revoke(2, "ann", (now_s + 2) * 1_000))
        assert admin.next()[:2] == [DONE, 2]
        fresh.ended_with("token_revoked")
        same.send(Ping(4))
        assert same.next()[:2] == [PONG, 4]
        admin.send(Kick(3, "ann"))
        assert admin.next()[:2] == [DONE, 3]
        assert same.next()[:2] == [GOODBYE, "kicked"]


def test_in_dev_mode_links_end_and_come_back() -> None:
    with InProcess() as served:
        admin, laptop, again = Wire(served.port), Wire(served.port), Wire(served.port)
        admin.send(Hello([1], "", "root", "", role="admin"), Revoke(1, "ann"))
        laptop.send(Hello([1], "", "ann", "laptop"))
        assert laptop.next()[0] == WELCOME
        admin.send(Revoke(2, "ann"))
        laptop.ended_with("token_revoked")
        again.send(Hello([1], "", "ann", "laptop"))
        assert again.next()[0] == WELCOME


async def test_a_client_that_can_make_another_token_comes_back_with_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    made: list[int] = []
    now_s = int(time.time())

    def another() -> str:
        made.append(now_s - 60 + 50 * len(made))
        return mint(SECRET, "ann", "user", made[-1], 3_600)

    async with running(secret_file=str(tmp_path / "secret")) as server:
        root = await service(server, token=mint(SECRET, "chat", "service", now_s, 3_600))
        ann = await presenced.connect(url(server, "ann"), token=another)
        stuck = await presenced.connect(
            url(server, "ann", "phone"), token=mint(SECRET, "ann", "user", now_s - 60, 3_600)
        )
        await root.revoke("ann", timedelta(seconds=30))
        await eventually(lambda: len(made) == 2 and ann.state == "connected")
        await eventually(lambda: stuck.state == "closed")
        assert isinstance(stuck.reason, AuthError) and stuck.reason.code == "token_revoked"
        await asyncio.gather(ann.close(), stuck.close(), root.close())


async def test_a_kicked_client_is_told_when_to_come_back_and_a_page_is_closed() -> None:
    async with running() as server:
        root = await service(server)
        ann = await presenced.connect(url(server, "ann"), reconnect=False)
        page = await root.open_page("ann", "tab")
        taken: list[str] = []
        root.on_taken(lambda one: taken.append(one.why))
        await root.kick("ann")
        await eventually(lambda: ann.state == "closed" and taken == ["kicked"])
        assert isinstance(ann.reason, ConnectionLost)
        assert (ann.reason.code, ann.reason.temporary, ann.reason.retry_ms) == ("kicked", True, KICK_RETRY_MS)
        assert not page.is_open and (await root.get_status("ann")).status == "offline"
        await page.close()
        with pytest.raises(presenced.RequestError, match="is gone"):
            await root.set_device_status("ann", "tab", "dnd")
        await root.close()
