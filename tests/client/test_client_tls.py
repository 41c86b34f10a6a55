"""The client and `presencectl` under TLS, and what they say when it does not come about."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

import presenced
from presenced.config.settings import Settings
from presenced.server.server import Server
from tests.support import REPOSITORY
from tests.support.certificates import make_certificate
from tests.support.until import PATIENCE_S, eventually


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    cert, key = map(str, make_certificate(tmp_path, "cert"))
    server = Server(Settings(dev=True, listen="127.0.0.1:0", tls_cert=cert, tls_key=key, change_spacing_ms=0))
    await server.start()
    yield server
    await server.stop()


def url(server: Server, user: str = "alice", scheme: str = "presences") -> str:
    return f"{scheme}://{user}@127.0.0.1:{server.port}/laptop"


async def test_presence_travels_under_tls(server: Server) -> None:
    trust = ssl.create_default_context(cafile=server.settings.tls_cert)
    async with presenced.connect(url(server, "bob"), ssl_context=trust) as bob, bob.watch("alice") as watch:
        async with presenced.connect(url(server), ssl_context=trust) as alice:
            await alice.set_status("dnd")
            async with asyncio.timeout(PATIENCE_S):
                while watch.records["alice"].status != "dnd":
                    await anext(watch)
        async with asyncio.timeout(PATIENCE_S):
            while watch.records["alice"].status != "offline":
                await anext(watch)


async def test_a_certificate_that_nobody_vouches_for(server: Server) -> None:
    with pytest.raises(presenced.ConnectionLost, match="certificate of 127.0.0.1.* is not trusted") as caught:
        await presenced.connect(url(server))
    assert (caught.value.code, caught.value.temporary) == ("tls_failed", False)


async def test_it_comes_back_once_the_wrong_certificate_is_replaced(server: Server, tmp_path: Path) -> None:
    """It was welcome there before, so somebody will notice; until then the token is not sent."""
    trust = ssl.create_default_context(cafile=server.settings.tls_cert)
    async with presenced.connect(url(server), ssl_context=trust) as me:
        await server.stop()
        cert, key = map(str, make_certificate(tmp_path, "other"))
        other = Server(Settings(dev=True, listen=f"127.0.0.1:{server.port}", tls_cert=cert, tls_key=key))
        await other.start()
        try:
            await eventually(lambda: me.reason is not None and me.reason.code == "tls_failed")
            assert me.state == "connecting" and me.reason is not None and not me.reason.temporary
        finally:
            await other.stop()
        again = Server(msgspec.structs.replace(server.settings, listen=f"127.0.0.1:{server.port}"))
        await again.start()
        try:
            await eventually(lambda: me.state == "connected")
        finally:
            await again.stop()


async def test_and_to_one_whose_certificate_has_expired(server: Server, tmp_path: Path) -> None:
    cert, key = map(str, make_certificate(tmp_path, "old", days=-1))
    trust = ssl.create_default_context(cafile=server.settings.tls_cert)
    trust.load_verify_locations(cert)
    async with presenced.connect(url(server), ssl_context=trust) as me:
        await server.stop()
        old = Server(Settings(dev=True, listen=f"127.0.0.1:{server.port}", tls_cert=cert, tls_key=key))
        await old.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while me.reason is None or me.reason.code != "tls_failed":
                    await asyncio.sleep(0.01)
            assert me.state == "connecting" and me.reason.temporary
            with pytest.raises(presenced.ConnectionLost, match="expired.*its operator has to renew it"):
                await presenced.connect(url(server, "bob"), ssl_context=trust)
        finally:
            await old.stop()


async def test_plain_tcp_to_a_tls_port(server: Server) -> None:
    with pytest.raises(presenced.PresenceError, match="TLS|protocol"):
        await presenced.connect(url(server, scheme="presence"))


async def test_a_context_without_a_tls_url_is_a_mistake(server: Server) -> None:
    with pytest.raises(presenced.AddressError, match="presences://"):
        await presenced.connect(url(server, scheme="presence"), ssl_context=ssl.create_default_context())


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--ca-file", "CERT"], 0), (["--insecure"], 0), ([], 78), (["--ca-file", "/nowhere/ca.pem"], 78)],
)
async def test_the_command_trusts_whom_it_is_told_to(server: Server, options: list[str], code: int) -> None:
    args = [server.settings.tls_cert if option == "CERT" else option for option in options]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "presenced.cli.ctl", "--url", url(server), *args, "ping"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    async with asyncio.timeout(PATIENCE_S):
        _, stderr = await process.communicate()
    assert process.returncode == code, stderr
    assert (b"--ca-file and --insecure" in stderr) == (code != 0)
