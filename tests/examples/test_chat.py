"""The chat: people at nc who see each other come, change and go."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

import presenced
from tests.examples.programs import Caller, ChatProcess, run
from tests.support.daemon import Daemon, StartDaemon

StartChat = Callable[..., ChatProcess]
Call = Callable[..., Caller]
HELP = "Type to talk; /join CHANNEL, /members, /quit, and /presence help"


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    return start_daemon("--grace", "200ms", "--change-spacing", "0")


@pytest.fixture
def start_chat() -> Iterator[StartChat]:
    """Start chats; all must end without having complained."""
    chats: list[ChatProcess] = []

    def start(server: str, listen: str = "127.0.0.1:0") -> ChatProcess:
        chats.append(ChatProcess(server, listen))
        return chats[-1]

    try:
        yield start
    finally:
        said = [chat.end() for chat in chats if chat.process.returncode is None]
    assert [text for text in said if text] == []


@pytest.fixture
def call() -> Iterator[Call]:
    callers: list[Caller] = []

    def connect(chat: ChatProcess, first_line: str, until: str = HELP) -> Caller:
        """A caller who has read everything up to the line `until`."""
        callers.append(Caller(chat.address, first_line))
        if until:
            callers[-1].until(until)
        return callers[-1]

    yield connect
    for caller in callers:
        caller.hang_up()


def test_two_people_come_talk_change_and_go(start_daemon: StartDaemon, start_chat: StartChat, call: Call) -> None:
    chat = start_chat(start_daemon("--grace", "60s", "--change-spacing", "0").address)
    alice = call(chat, "alice", "")
    alice.reads("* lobby has 1 online: alice (online)", HELP)
    bob = call(chat, "bob/phone", "")
    bob.reads("* lobby has 2 online: alice (online), bob (online)", HELP)
    alice.reads("* bob comes")
    bob.say('/presence status "in a meeting" for 30m')
    bob.reads('Your status is "in a meeting" for 30m')
    alice.reads("* bob is online: in a meeting")
    bob.say("/presence away")
    bob.reads("You are now away: in a meeting")
    alice.reads("* bob is away: in a meeting")
    alice.say("hello")
    alice.reads("<alice> hello")
    bob.reads("<alice> hello")
    bob.say("/members")
    bob.reads("* lobby has 2 online: alice (online), bob (away: in a meeting)")
    alice.say("/presence activity")
    assert alice.read().startswith("Your last activity: message in lobby")
    bob.say("/quit")
    alice.reads("* bob goes")
    assert bob.read() == ""


def test_channels(daemon: Daemon, start_chat: StartChat, call: Call) -> None:
    chat = start_chat(daemon.address)
    alice = call(chat, "alice")
    bob = call(chat, "bob")
    alice.reads("* bob comes")
    bob.say("/join garden")
    bob.reads("* garden has 1 online: bob (online)")
    alice.reads("* bob goes")
    bob.say("nobody hears this")
    bob.reads("<bob> nobody hears this")
    bob.say("/join lobby")
    bob.reads("* lobby has 2 online: alice (online), bob (online)")
    alice.reads("* bob comes")
    bob.say("/join lobby")
    bob.reads("* lobby has 2 online: alice (online), bob (online)")
    bob.say("/join two words")
    assert bob.read().startswith("! the channel name holds U+0020")
    bob.say("/nonsense")
    bob.reads(HELP)
    alice.say("hello")
    bob.reads("<alice> hello")


def test_who_is_cut_off_has_the_grace_time(start_daemon: StartDaemon, start_chat: StartChat, call: Call) -> None:
    chat = start_chat(start_daemon("--grace", "30s").address)
    alice = call(chat, "alice")
    bob = call(chat, "bob")
    alice.reads("* bob comes")
    bob.hang_up()
    again = call(chat, "bob", "")
    again.reads("* lobby has 2 online: alice (online), bob (online)", HELP)
    again.say("I am back")
    alice.reads("<bob> I am back")


def test_who_does_not_come_back_goes_after_the_grace(daemon: Daemon, start_chat: StartChat, call: Call) -> None:
    chat = start_chat(daemon.address)
    alice = call(chat, "alice")
    bob = call(chat, "bob")
    alice.reads("* bob comes")
    bob.hang_up()
    alice.reads("* bob goes")


def test_the_same_device_from_elsewhere(daemon: Daemon, start_chat: StartChat, call: Call) -> None:
    chat = start_chat(daemon.address)
    alice = call(chat, "alice")
    first = call(chat, "bob")
    alice.reads("* bob comes")
    second = call(chat, "bob", "")
    first.reads("! You have connected again from elsewhere, so this connection ends", "")
    second.reads("* lobby has 2 online: alice (online), bob (online)", HELP)
    second.say("still me")
    alice.reads("<bob> still me")


def test_a_name_that_is_none(daemon: Daemon, start_chat: StartChat, call: Call) -> None:
    chat = start_chat(daemon.address)
    caller = call(chat, "", "")
    assert caller.read().startswith("! the user name is empty")
    assert caller.read() == ""
    # One whose channel is none was attached before that showed.
    alice = call(chat, "alice two words", "")
    assert alice.read().startswith("! the channel name holds")
    assert alice.read() == ""
    with presenced.sync.connect_service(f"presence://other@{daemon.address}") as p:
        assert p.get_online_users() == []


async def test_killed_and_started_again_within_the_grace_nobody_sees_it(
    start_daemon: StartDaemon, start_chat: StartChat, call: Call
) -> None:
    daemon = start_daemon("--grace", "60s", "--change-spacing", "0")
    chat = start_chat(daemon.address)
    call(chat, "alice")
    call(chat, "bob/phone")
    async with (
        presenced.connect(daemon.url("carol", "desk")) as carol,
        presenced.connect_service(f"presence://other@{daemon.address}") as p,
        carol.watch("alice", "bob") as watch,
        carol.watch_channel("lobby") as room,
        p.events() as events,
    ):
        for stream in (watch, room):
            assert {(await anext(stream)).user, (await anext(stream)).user} == {"alice", "bob"}
        chat.end(cruelly=True)
        again = start_chat(daemon.address, chat.address)
        call(again, "alice")
        bob = call(again, "bob/phone")
        # The first thing that anybody is told since the kill.
        bob.say("/presence dnd")
        bob.until("You are now dnd")
        change = await anext(watch)
        assert (change.user, change.old.status, change.new.status) == ("bob", "online", "dnd")
        member = await anext(room)
        assert (member.kind, member.user, member.total) == ("change", "bob", 2)
        event = await anext(events)
        assert (event.kind, event.user, event.new) == ("status_change", "bob", "dnd")


async def test_stopped_it_takes_nobody_offline(start_daemon: StartDaemon, start_chat: StartChat, call: Call) -> None:
    daemon = start_daemon("--grace", "60s")
    chat = start_chat(daemon.address)
    call(chat, "alice")
    chat.process.send_signal(signal.SIGINT)
    assert chat.process.wait(30) == 0
    assert chat.end() == ""
    async with presenced.connect_service(f"presence://other@{daemon.address}") as p:
        assert (await p.get_status("alice")).status == "online"


def test_without_a_server_or_a_port() -> None:
    done = run("chat", "--listen", "127.0.0.1:0", "--url", "presence://chat@127.0.0.1:1")
    assert done.returncode == 1 and done.stderr.startswith("chat: ") and done.stderr.count("\n") == 1, done.stderr
