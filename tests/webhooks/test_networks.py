"""No way into networks that are not public."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from presenced.ops.threads import in_thread
from presenced.webhooks.faults import DeliveryFault
from presenced.webhooks.networks import why_not_public
from presenced.webhooks.resolver import Resolver
from tests.webhooks.feed import Feed
from tests.webhooks.receiver import Receiver
from tests.webhooks.stand import plan, posting

REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.1.2.3 169.254.169.254 169.254.0.1
172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9
224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1
2002:0a00:1::1 3fff::1 fc00::1 fd00:ec2::254 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 4000::1 8000::1
""".split()
PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 172.15.255.255 172.32.0.1
192.0.1.1 192.167.255.255 192.169.0.1 198.17.255.255 198.20.0.1 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::808:808
2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450::1 3ffe::1
""".split()


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert why_not_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert why_not_public(address) == ""


def test_nothing_passes_that_the_standard_library_calls_private() -> None:
    for network in range(1 << 16):
        address = ipaddress.IPv4Address(network << 16 | 1)
        if not address.is_global:
            # The relays of 192.88.99.0/24 and multicast are global there, and the other way round nothing is.
            assert why_not_public(str(address)), address


async def resolved(*found: str, allow_private: bool = False) -> list[str]:
    resolver = Resolver(in_thread, lambda host, port: list(found))
    return await resolver.addresses("app.example.org", 443, allow_private=allow_private)


async def test_only_public_addresses_of_a_name_are_used() -> None:
    assert await resolved("10.0.0.1", "8.8.8.8", "::1") == ["8.8.8.8"]
    assert await resolved("10.0.0.1", "8.8.8.8", allow_private=True) == ["10.0.0.1", "8.8.8.8"]
    with pytest.raises(DeliveryFault, match="169.254.169.254 is link-local") as caught:
        await resolved("169.254.169.254")
    assert caught.value.reason == "private"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "0"],
)
async def test_no_spelling_of_this_machine_is_connected_to(host: str) -> None:
    receiver = Receiver()
    await receiver.open()
    feed = Feed()
    url = f"https://{host}:{receiver.port}/"
    async with posting(feed, plan(url, allow_private=False)) as webhooks:
        said = await webhooks.test()
    await receiver.close()
    assert receiver.connections == 0
    assert "no public address" in said.error or "cannot be resolved" in said.error


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is checked and leads to this machine a moment later."""
    asked: list[str] = []
    answers = [["192.0.2.55"], ["127.0.0.1"]]

    def look(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def connect(host: str, port: int, **options: object) -> object:
        asked.append(host)
        raise OSError("unreachable")

    monkeypatch.setattr("presenced.webhooks.resolver.why_not_public", lambda address: "" if "192" in address else "x")
    monkeypatch.setattr(asyncio, "open_connection", connect)
    async with posting(Feed(), plan("https://rebound.example/", allow_private=False), look=look) as webhooks:
        first, second = await webhooks.test(), await webhooks.test()
    assert asked == ["192.0.2.55"]
    assert first.error == "no connection to 192.0.2.55: unreachable"
    assert "no public address" in second.error


async def test_who_waits_for_a_name_in_vain_leaves_the_answer_to_others() -> None:
    looks = 0
    go_on = asyncio.Event()

    def in_no_thread(work: object, name: str) -> asyncio.Future[list[str]]:
        async def answer() -> list[str]:
            nonlocal looks
            looks += 1
            await go_on.wait()
            return ["8.8.8.8"]

        return asyncio.ensure_future(answer())

    resolver = Resolver(in_no_thread)  # type: ignore[arg-type]
    first, second = (asyncio.ensure_future(resolver.addresses("a.example", 443, allow_private=False)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await second == ["8.8.8.8"]
    assert (looks, first.cancelled()) == (1, True)
