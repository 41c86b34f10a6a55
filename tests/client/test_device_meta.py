"""What an app keeps with a device and says to be on its screen, over links that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import presenced
from presenced.client.protocol.attached_device import AttachedDevice
from presenced.client.protocol.attachments import Attachments
from presenced.client.protocol.pending_requests import covers
from presenced.client.values import Attachment
from presenced.errors import AddressError, RequestError
from presenced.server.server import Server
from presenced.wire.messages import Done, Focus, SetDevice
from tests.client.helpers import drop_links, lose, reconnect_of, running, service, url
from tests.support.until import eventually


@pytest.fixture(autouse=True)
def quick_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.client.protocol.backoff.BASE_MS", 1)
    monkeypatch.setattr("presenced.client.protocol.backoff.CAP_MS", 1)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


def shown(server: Server, user: str = "alice", device: str = "laptop") -> tuple[str, str]:
    """Meta and focus, as the server has them."""
    found = server.engine.users[user].devices[device]
    return found.meta, found.focus


async def back(client: Any, server: Server) -> None:
    """Break its link, and wait until it is back."""
    await lose(client, lambda: drop_links(server))
    await eventually(lambda: client.state == "connected")


async def test_a_person_keeps_both_over_lost_links(server: Server) -> None:
    async with presenced.connect(url(server, "alice"), meta="a") as me:
        me.set_focus("general")
        await eventually(lambda: shown(server) == ("a", "general"))
        await back(me, server)
        assert shown(server) == ("a", "general")
        await me.set_device(meta="b")
        me.set_focus("")
        await back(me, server)
        assert shown(server) == ("b", "")
        info = (await me.get_devices())[0]
        assert (info.meta, info.focus) == ("b", "")
    async with presenced.connect(url(server, "alice")):
        assert shown(server) == ("b", ""), "None leaves what the server has"
    async with presenced.connect(url(server, "alice"), meta=""):
        assert shown(server) == ("", "")


async def test_what_is_said_while_there_is_no_link_is_told_with_the_next(server: Server) -> None:
    async with presenced.connect(url(server, "alice")) as me:
        may_open, opening, may_go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        opened = reconnect_of(me)._open_link

        async def late(*args: Any, **kwargs: Any) -> Any:
            await may_open.wait()
            link = await opened(*args, **kwargs)
            opening.set()
            await may_go_on.wait()
            return link

        reconnect_of(me)._open_link = late  # type: ignore[method-assign]
        await lose(me, lambda: drop_links(server))
        me.set_focus("early")
        may_open.set()
        await opening.wait()
        assert shown(server) == ("", "early")
        me.set_focus("late")
        may_go_on.set()
        await eventually(lambda: shown(server) == ("", "late"))


async def test_a_service_keeps_both_over_lost_links(server: Server) -> None:
    async with service(server) as p:
        await p.attach("alice", "laptop", meta="a", focus="general")
        assert shown(server) == ("a", "general")
        p.set_focus("alice", "laptop", "side")
        await p.set_device("alice", "laptop", meta="b")
        assert shown(server) == ("b", "side")
        await back(p, server)
        await eventually(lambda: shown(server) == ("b", "side"))
        await p.attach("alice", "laptop")
        assert shown(server) == ("b", ""), "an attach says what is on the screen"
        await p.detach("alice", "laptop")
        await p.set_device("alice", "laptop", meta="")
        assert shown(server) == ("", "")
        with pytest.raises(RequestError, match="not attached"):
            p.set_focus("alice", "laptop", "side")


def test_a_focus_that_could_not_be_told_comes_with_the_next_heartbeat() -> None:
    """The attach is on its way, and a message without a reply may overtake it."""
    attachments = Attachments(lambda make, on_reply: None, lambda taken: None, lambda waiter: None)
    attempt = attachments.attach(Attachment("alice", "web"), "waiter", 0)
    device: AttachedDevice = attempt.device
    device.attach_as(attempt.attachment, 1, 0)
    device.show("general")
    assert attachments.beats(0) == []
    attempt.answered(Done(1, 1))
    assert attachments.beats(0)[1:] == [Focus(device.ref, "general")]
    assert attachments.beats(0)[1:] == []


def test_without_a_link_a_later_meta_stands_for_the_one_before_and_for_nothing_else() -> None:
    assert covers(SetDevice(2, meta="b"), SetDevice(1, meta="a"))
    assert not covers(SetDevice(2, priority=3), SetDevice(1, meta="a"))
    assert not covers(SetDevice(2, meta="b"), SetDevice(1, name="a"))


async def test_wrong_ones_are_refused_before_anything_is_sent(server: Server) -> None:
    async with presenced.connect(url(server, "alice")) as me, service(server) as p:
        await p.attach("bob", "web")
        with pytest.raises(AddressError, match="meta is longer"):
            await me.set_device(meta="x" * 513)
        with pytest.raises(AddressError, match="focus name"):
            me.set_focus("a b")
        with pytest.raises(AddressError, match="focus name"):
            p.set_focus("bob", "web", "a b")
        with pytest.raises(AddressError, match="meta holds"):
            await p.attach("bob", "web", meta="a\nb")
        with pytest.raises(AddressError, match="meta is longer"):
            await presenced.connect(url(server, "alice"), meta="x" * 513)
