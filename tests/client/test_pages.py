"""Pages of a browser that were given one id: within a service, across services, and over the synchronous face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import presenced
import presenced.sync
from presenced.client.pages import Page, another_id
from presenced.limits import NAME_BYTES_MAX
from presenced.server.server import Server
from tests.client.helpers import attachments_of, has_nothing, running, service, take, url
from tests.support.in_process import InProcess
from tests.support.until import eventually


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


async def test_pages_of_one_service_share_the_device_and_the_last_that_closes_ends_it(server: Server) -> None:
    async with service(server) as p, presenced.connect(url(server, "bob")) as bob, bob.watch("u1") as watch:
        await take(watch, 1)
        pages = [await p.open_page("u1", "tab") for _ in range(3)]
        await take(watch, 1)
        await pages[0].close()
        await pages[2].close(lost=True)
        await pages[2].close()
        assert await has_nothing(watch, p, bob) and p.attached == [("u1", "tab")]
        await pages[1].close()
        assert [change.kind for change in await take(watch, 1)] == ["offline"]
        assert p.attached == [] and p._pages._open == {}


async def test_a_copy_on_another_service_goes_on_under_a_new_id_and_nobody_sees_a_change(server: Server) -> None:
    renamed: list[Page] = []
    async with service(server) as b1, service(server) as b2, presenced.connect(url(server, "bob")) as bob:
        async with bob.watch("u1") as watch:
            await take(watch, 1)
            first = await b1.open_page("u1", "tab", kind="web", on_renamed=renamed.append)
            await take(watch, 1)
            first.idle(100)
            second = await b2.open_page("u1", "tab")
            await eventually(lambda: renamed)
            assert renamed == [first] and first.device.startswith("tab~") and second.device == "tab"
            assert b1.attached == [("u1", first.device)] and b2.attached == [("u1", "tab")]
            infos = {info.device: info for info in await b2.get_devices("u1")}
            assert infos[first.device].kind == "web"
            assert infos[first.device].last_active_ms <= b1.server_time_ms - 99_000
            await second.close()
            assert (await b1.get_status("u1")).status == "online"
            await first.close()
            kinds = [change.kind for change in await take(watch, 1)]
            while kinds[-1] != "offline":
                kinds += [change.kind for change in await take(watch, 1)]
            assert kinds[:-1] in ([], ["device"]), "it changed its primary device at most"


@pytest.mark.parametrize("answer", ["never", "no", "raises"])
async def test_a_page_that_has_moved_is_let_go(server: Server, answer: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "presenced.client")
    asked = asyncio.Event()

    async def is_there() -> bool:
        asked.set()
        if answer == "raises":
            raise ConnectionError
        if answer == "never":
            await asyncio.Event().wait()
        return False

    async with service(server) as b1, service(server) as b2:
        page = await b1.open_page("u1", "tab", is_there=is_there)
        await b2.open_page("u1", "tab")
        await asyncio.wait_for(asked.wait(), 10)
        page.active()
        await page.close(lost=True)
        await b1.ping()
        assert b1.attached == [] and b2.attached == [("u1", "tab")]
        assert [info.device for info in await b2.get_devices("u1")] == ["tab"]
    told = "u1/tab: is_there() raised ConnectionError(); the page counts as moved" in caplog.messages
    assert told == (answer == "raises"), "a mistake in the function must not let go of pages in silence"


async def test_a_page_that_closes_while_it_is_given_a_new_id_leaves_nothing(server: Server) -> None:
    async with service(server) as b1, service(server) as b2:
        page = await b1.open_page("u1", "tab")
        await b2.open_page("u1", "tab")
        await eventually(lambda: page._is_changing)
        await page.close()
        await eventually(lambda: not page._is_changing)
        await b1.ping()
        assert b1.attached == [] and attachments_of(b1).leaving == {} and b1._pages._open == {}
        assert {info.device: info.state for info in await b2.get_devices("u1")}["tab"] == "connected"
        assert [info.state for info in await b2.get_devices("u1") if info.device != "tab"] in ([], ["gone"])


async def test_a_page_that_fails_to_open_is_not_open(server: Server) -> None:
    async with service(server) as p:
        with pytest.raises(presenced.AddressError):
            await p.open_page("u1", "a b")
        assert p._pages._open == {}
        async with await p.open_page("u1", "tab") as page:
            assert page.is_open
        assert not page.is_open and (await p.get_status("u1")).status == "offline"


def test_a_new_id_is_a_name() -> None:
    for device in ("tab", "x" * NAME_BYTES_MAX, "\U0001f600" * 32):
        assert len(another_id(device).encode()) <= NAME_BYTES_MAX and another_id(device) != another_id(device)


def test_the_synchronous_face_tells_of_pages_and_of_what_is_taken() -> None:
    with InProcess() as server:
        address = f"presence://chat@127.0.0.1:{server.port}"
        told: list[presenced.Taken] = []
        renamed: list[str] = []
        with presenced.sync.connect_service(address) as b1, presenced.sync.connect_service(address) as b2:
            b1.on_taken(told.append)
            with b1.open_page("u1", "tab", on_renamed=lambda page: renamed.append(page.device)) as page:
                b2.attach("u1", "tab")
                server.until(lambda _: bool(renamed))
                assert [(taken.user, taken.device, taken.why) for taken in told] == [("u1", "tab", "replaced")]
                assert page.device == renamed[0] and b1.attached == [("u1", page.device)]
                page.active()
            assert b1.attached == [] and b2.attached == [("u1", "tab")]
