"""Webhooks of a server and of a daemon: what users do is posted, over reloads, stops and kills."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.config.settings import Settings
from presenced.ops.operations import Operations
from presenced.ops.webhook_host import WebhookHost
from presenced.server.identity import Identity
from presenced.server.local_link import LocalLink
from presenced.server.server import Server
from presenced.sync import connect, connect_service
from presenced.wire.messages import PROTOCOL_VERSIONS, Hello
from tests.cli.commands import ctl
from tests.durable.node import Node
from tests.support.in_process import InProcess
from tests.support.tiers import samples
from tests.support.until import PATIENCE_S, eventually, until
from tests.webhooks.receiver import OK, SECRET_LINE, InThread, Posted, status, take_all

CONFIGURED = """\
[webhooks]
url = "{url}"
secret_file = "{secrets}"
allow_private = true
retry = "10ms"
retry_max = "50ms"
"""


@pytest.fixture
def receiver() -> Iterator[InThread]:
    with InThread() as made:
        yield made


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    path = tmp_path / "webhook-secrets"
    path.write_text(SECRET_LINE)
    return path


def test_what_a_user_does_is_posted_and_a_stop_leaves_nothing_behind(receiver: InThread, secrets: Path) -> None:
    chosen = {"url": receiver.url, "secret_file": str(secrets), "allow_private": True}
    with InProcess(**{f"webhooks_{name}": value for name, value in chosen.items()}) as process:
        with connect(f"presence://alice@127.0.0.1:{process.port}/laptop") as me:
            me.set_status("dnd", text="in a meeting", emoji="📅")
            until(lambda: len(receiver.events) == 4, "all was posted")
        until(lambda: len(receiver.events) == 6, "the end was posted, too")
    told = [(one["type"], one["data"]["old"], one["data"]["new"], one["data"]["reason"]) for one in receiver.events]
    assert told == [
        ("online", "offline", "online", ""),
        ("status_change", "offline", "online", ""),
        ("status_change", "online", "dnd", ""),
        ("text_change", "", "in a meeting", ""),
        ("offline", "dnd", "offline", "bye"),
        ("status_change", "dnd", "offline", "bye"),
    ]
    assert receiver.events[3]["data"]["new_emoji"] == "📅"


@pytest.mark.parametrize("record", ["always", "followed"])
async def test_what_users_do_before_the_webhooks_have_their_link_is_posted(
    receiver: InThread, secrets: Path, record: str
) -> None:
    """A restart has everybody come at once, as soon as the server listens."""
    chosen = {"url": receiver.url, "secret_file": str(secrets), "allow_private": True, "users": ("alice",)}
    fields = {f"webhooks_{name}": value for name, value in chosen.items()}
    server = Server(Settings(dev=True, check=True, listen="127.0.0.1:0", events_record=record, **fields))
    await server.start(Operations(server, environ={}))
    try:
        hello = Hello(list(PROTOCOL_VERSIONS), "", "alice", "laptop")
        LocalLink.open(
            server.admission, hello, Identity("alice", "user", 0), receive=lambda told: None, closed=lambda told: None
        )
        await eventually(lambda: len(receiver.events) == 2)
        assert [(one["type"], one["data"]["seq"]) for one in receiver.events] == [("online", 1), ("status_change", 2)]
    finally:
        await server.stop()


def followers(server: Server) -> list[tuple[str, str]]:
    return [(one.user, one.name) for one in server.engine.followers.all()]


def test_a_server_without_webhooks_follows_nothing_and_loads_nothing() -> None:
    with InProcess() as process:
        assert process.ask(followers) == []
        assert process.ask(lambda server: WebhookHost.read(server.settings)) is None


def test_a_receiver_that_is_down_for_too_long_is_told_that_events_were_lost(receiver: InThread, secrets: Path) -> None:
    async def refuse(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return status(500)

    receiver.receiver.answer = refuse
    chosen = {"url": receiver.url, "secret_file": str(secrets), "allow_private": True, "retry_ms": 10, "batch": 100}
    chosen["retry_max_ms"] = 20
    fields = {f"webhooks_{name}": value for name, value in chosen.items()}
    # More than are kept, and than the daemon reads ahead.
    with (
        InProcess(events_keep=1_000, rate=0, check=False, **fields) as process,
        connect_service(f"presence://app@127.0.0.1:{process.port}") as p,
    ):
        for number in range(2_600):
            p.set_text(f"u{number % 10}", str(number))
        begun = len(receiver.receiver.posted)
        receiver.receiver.answer = take_all
        until(lambda: any(one["type"] == "events_lost" for one in receiver.events), "it was told")
        p.set_text("u0", "the end")
        until(lambda: any(one["data"].get("new") == "the end" for one in receiver.events), "the last was posted")
    events = [one for posted in receiver.receiver.posted[begun:] for one in posted.events]
    types = [one["type"] for one in events]
    lost = types.index("events_lost")
    place = events[lost]["data"]["seq"]
    told = [one["data"]["seq"] for one in events]
    # Who asks how things are when it is told must not be told of what was before.
    assert all(seq <= place for seq in told[:lost]) and all(seq > place for seq in told[lost + 1 :])
    assert types.count("events_lost") == 1 and len(set(told)) < 2_600


class Configured:
    """A daemon with webhooks in its configuration."""

    def __init__(self, folder: Path, receiver: InThread, secrets: Path, *options: str) -> None:
        self.folder = folder
        self.path = folder / "presenced.toml"
        self.socket = folder / "admin.sock"
        self.write(CONFIGURED.format(url=receiver.url, secrets=secrets))
        self.node = Node(
            folder / "node", "--config", str(self.path), "--admin-socket", str(self.socket), "--grace", "1h", *options
        )

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def ctl(self, *words: str) -> Any:
        return ctl("--socket", str(self.socket), *words)

    @property
    def url(self) -> str:
        return f"presence://app@127.0.0.1:{self.node.port}"


def test_commands_and_reloads(tmp_path: Path, receiver: InThread, secrets: Path) -> None:
    configured = Configured(tmp_path, receiver, secrets)
    configured.node.start()
    with connect_service(configured.url) as p:
        p.set_text("bob", "one")
        until(lambda: len(receiver.events) == 1, "it was posted")
        said = configured.ctl("webhooks")
        now = json.loads(said.stdout)
        assert said.returncode == 0 and now["receiver"] == receiver.url.partition("/in")[0]
        assert (now["state"], now["accepted"], now["dead_letters"]) == ("delivering", 1, 0)
        tested = configured.ctl("webhooks", "--test")
        assert tested.returncode == 0 and json.loads(tested.stdout)["status"] == 204
        assert receiver.events[-1]["type"] == "test"

        # Off, and nothing comes; on again, and what happened meanwhile comes.
        on = configured.path.read_text()
        configured.write("")
        assert "webhooks.url: none any more" in json.loads(configured.ctl("reload").stdout)["applied"]
        assert configured.ctl("webhooks").returncode != 0
        p.set_text("bob", "two")
        configured.write(on + 'kinds = ["text_change"]\n')
        reloaded = configured.ctl("reload")
        assert "webhooks.url: one, and none before" in json.loads(reloaded.stdout)["applied"]
        assert "k=1" not in reloaded.stdout
        until(lambda: [one["data"]["new"] for one in receiver.events if one["type"] == "text_change"][-1] == "two", "x")

        configured.write(on.replace("k=1", "k=2"))
        assert "webhooks.url: another one" in json.loads(configured.ctl("reload").stdout)["applied"]

        # A fault changes nothing.
        secrets.write_text("not a secret")
        refused = configured.ctl("reload")
        assert refused.returncode == 78 and "is not base64" in refused.stderr
        secrets.write_text(f"{SECRET_LINE}\n{'A' * 44}")
        assert "webhooks.secret_file: other secrets; 2 in force" in configured.ctl("reload").stdout
        p.set_text("bob", "three")
        until(lambda: receiver.events[-1]["data"].get("new") == "three", "it was posted")
        assert receiver.receiver.posted[-1].headers["webhook-signature"].count("v1,") == 2
    log = configured.node.log()
    configured.node.stop()
    assert SECRET_LINE not in log and "k=1" not in log


def test_a_program_that_takes_the_name_is_told_of_until_a_reload(
    tmp_path: Path, receiver: InThread, secrets: Path
) -> None:
    configured = Configured(tmp_path, receiver, secrets)
    configured.node.start()
    with connect_service(configured.url) as p, connect_service(configured.url.replace("app", "presenced")) as other:
        p.set_text("bob", "one")
        until(lambda: len(receiver.events) == 1, "it was posted")
        told: list[str] = []
        taking = other.events(name="webhooks")
        taker = threading.Thread(target=lambda: told.extend(event.new for event in taking))
        taker.start()
        until(lambda: json.loads(configured.ctl("webhooks").stdout)["state"] == "taken", "the name was taken")
        assert configured.ctl("webhooks").returncode == 1
        found = [json.loads(line) for line in configured.ctl("doctor").stdout.splitlines()]
        assert any(one["check"] == "webhooks" and one["severity"] == "problem" for one in found)
        p.set_text("bob", "two")
        until(lambda: "two" in told, "it came to whoever has the name")
        assert [one["data"]["new"] for one in receiver.events] == ["one"]
        taking.close()
        taker.join(PATIENCE_S)
        assert configured.ctl("reload").returncode == 0
        p.set_text("bob", "three")
        until(lambda: receiver.events[-1]["data"].get("new") == "three", "it was posted")
    configured.node.stop()


class Flaky:
    """A receiver in thirds: it takes an event, takes it and is not heard, or does not take it. What it has taken is
    kept apart from what was posted."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.texts: dict[str, list[int]] = defaultdict(list)
        self.is_well = False

    async def __call__(self, posted: Posted, writer: asyncio.StreamWriter) -> bytes | None:
        mood = 0 if self.is_well else self.draw.randrange(6)
        if mood == 5:
            return status(503)
        for one in posted.events:
            if one["type"] == "text_change":
                self.texts[one["data"]["user"]].append(int(one["data"]["new"]))
        return None if mood == 4 else OK


@pytest.mark.parametrize("batch", [1, 20])
def test_kills_lose_nothing_and_keep_the_order(tmp_path: Path, secrets: Path, batch: int) -> None:
    draw = random.Random(batch)
    flaky = Flaky(batch)
    acknowledged: dict[str, int] = {}
    number = 0
    with InThread(flaky) as receiver:
        configured = Configured(tmp_path, receiver, secrets)
        configured.write(configured.path.read_text() + f"batch = {batch}\n")
        for _ in range(samples(6)):
            configured.node.start()
            with connect_service(configured.url) as p:
                for _ in range(draw.randrange(5, 60)):
                    number += 1
                    user = f"u{draw.randrange(5)}"
                    p.set_text(user, str(number))
                    acknowledged[user] = number
                configured.node.kill()
        flaky.is_well = True
        configured.node.start()
        until(lambda: all(flaky.texts[user][-1:] == [last] for user, last in acknowledged.items()), "all was posted")
        assert configured.ctl("webhooks").returncode == 0
        configured.node.stop()
    told = sorted(text for texts in flaky.texts.values() for text in set(texts))
    assert told == list(range(1, number + 1)), "each acknowledged change was posted"
    for texts in flaky.texts.values():
        first_times = list(dict.fromkeys(texts))
        assert first_times == sorted(first_times), "a later event came before an earlier one"
