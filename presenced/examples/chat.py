"""A chat over TCP for telnet and nc: one service connection speaks for everybody's devices, and is told who is where.

    python -m presenced.examples.chat --listen 127.0.0.1:6667 --url presence://chat@127.0.0.1:5250

The first line is `NAME`, or `NAME/DEVICE CHANNEL`. Every name is believed: checking who somebody is comes before this.
A chat that is killed takes nobody offline: those who are back within the server's grace time were never gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

import presenced

HELP = "Type to talk; /join CHANNEL, /members, /quit, and /presence help"
BEHIND_BYTES_MAX = 64 * 1024
"""What may wait for a reader; one who is further behind is cut off."""


class Person:
    """One chat connection, which is one device of its user."""

    def __init__(self, user: str, device: str, writer: asyncio.StreamWriter) -> None:
        self.user = user
        self.device = device
        self.writer = writer
        self.room: Room | None = None

    def tell(self, line: str) -> None:
        if self.writer.transport.get_write_buffer_size() > BEHIND_BYTES_MAX:
            self.writer.transport.abort()
        else:
            self.writer.write(f"{line}\n".encode())


class Room:
    """A channel with somebody of this chat in it. Members may also come from other backends and clients."""

    def __init__(self, watch: presenced.ChannelWatch) -> None:
        self.watch = watch
        self.people: set[Person] = set()
        self._shown: dict[str, str] = {}

    def tell(self, line: str, without: str = "") -> None:
        for person in self.people:
            if person.user != without:
                person.tell(line)

    async def narrate(self) -> None:
        """Tell the people here who comes, goes and changes, until the watch is closed."""
        async for change in self.watch:
            if change.record is None:
                continue
            shown = "" if change.kind == "leave" else described(change.record)
            if change.kind in ("join", "leave"):
                self.tell(f"* {change.user} {'comes' if shown else 'goes'}", without=change.user)
            elif change.kind == "change" and shown != self._shown.get(change.user):
                self.tell(f"* {change.user} is {shown}", without=change.user)
            self._shown[change.user] = shown


class Chat:
    """All people and rooms of this process; `tasks` run for as long as it does."""

    def __init__(self, presence: presenced.Service, tasks: asyncio.TaskGroup) -> None:
        self.presence = presence
        self.tasks = tasks
        self.people: dict[tuple[str, str], Person] = {}
        self.rooms: dict[str, Room] = {}
        self.moving = asyncio.Lock()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.create_task(self.serve(reader, writer))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its first line to its end."""
        writer.write(b"Your name?\n")
        # A reset by the peer, or a line of more than 64 KiB.
        with contextlib.suppress(ConnectionError, ValueError):
            name, _, channel = (await read_line(reader) or "").strip().partition(" ")
            user, _, device = name.partition("/")
            person = Person(user, device or "chat", writer)
            says_bye = True
            try:
                await self.enter(person, channel.strip() or "lobby")
                says_bye = await self.converse(person, reader)
            except presenced.PresenceError as error:
                person.tell(f"! {error.message}")
            await self.depart(person, says_bye)
        writer.close()

    async def enter(self, person: Person, channel: str) -> None:
        await self.presence.attach(person.user, person.device, kind="chat", idle=0)
        older = self.people.get((person.user, person.device))
        self.people[person.user, person.device] = person
        if older is not None:
            older.tell("! You are here from elsewhere now")
            older.writer.close()
            person.room, older.room = older.room, None
            if person.room is not None:
                person.room.people.remove(older)
                person.room.people.add(person)
        await self.join(person, channel)
        person.tell(HELP)

    async def converse(self, person: Person, reader: asyncio.StreamReader) -> bool:
        """Whether the person said that they leave."""
        with contextlib.suppress(ConnectionError, ValueError):
            while (line := await read_line(reader)) is not None:
                if self.people.get((person.user, person.device)) is person and line:
                    if line == "/quit":
                        return True
                    self.presence.active(person.user, person.device)
                    try:
                        await self.do(person, line)
                    except presenced.PresenceError as error:
                        person.tell(f"! {error.message}")
        return False

    async def do(self, person: Person, line: str) -> None:
        verb, _, rest = line.partition(" ")
        if verb == "/presence":
            person.tell((await self.presence.command(person.user, line, person.device)).text)
        elif verb == "/join":
            await self.join(person, rest.strip())
        elif verb == "/members":
            await self.list_members(person)
        elif line.startswith("/") or person.room is None:
            person.tell(HELP)
        else:
            person.room.tell(f"<{person.user}> {line}")
            channel = person.room.watch.channel
            await self.presence.record_activity(person.user, "message", channel=channel, device=person.device)

    async def join(self, person: Person, channel: str) -> None:
        """Into the channel, and out of the one before."""
        await self.presence.join(person.user, person.device, channel)
        before = await self.step_out(person)
        if before and before != channel:
            await self.presence.leave(person.user, person.device, before)
        async with self.moving:
            room = self.rooms.get(channel)
            if room is None:
                room = Room(self.presence.watch_channel(channel))
                await room.watch.start()
                self.rooms[channel] = room
                self.tasks.create_task(room.narrate())
            room.people.add(person)
            person.room = room
        await self.list_members(person)

    async def step_out(self, person: Person) -> str:
        """Out of the room, which is watched for as long as somebody is in it; the name of its channel."""
        async with self.moving:
            room, person.room = person.room, None
            if room is None:
                return ""
            room.people.remove(person)
            if not room.people:
                del self.rooms[room.watch.channel]
                await room.watch.aclose()
            return room.watch.channel

    async def list_members(self, person: Person) -> None:
        if person.room is not None:
            page = await self.presence.get_members(person.room.watch.channel)
            listed = ", ".join(f"{record.user} ({described(record)})" for record in page.records)
            more = ", ..." if page.next else ""
            person.tell(f"* {person.room.watch.channel} has {page.total} online: {listed}{more}")

    async def depart(self, person: Person, says_bye: bool) -> None:
        """Who said bye is gone at once; who was cut off has the grace time to come back."""
        await self.step_out(person)
        if self.people.get((person.user, person.device)) is person:
            del self.people[person.user, person.device]
            # Without a link to the server the device is let go on the next.
            with contextlib.suppress(presenced.PresenceError):
                await self.presence.detach(person.user, person.device, lost=not says_bye)


def described(record: presenced.Record) -> str:
    text = f"{record.emoji} {record.text}".strip()
    return f"{record.status}: {text}" if text else record.status


async def read_line(reader: asyncio.StreamReader) -> str | None:
    line = await reader.readline()
    return "".join(character for character in line.decode(errors="replace") if character >= " ") if line else None


async def run(listen: str, url: str, token: str | None) -> None:
    host, _, port = listen.rpartition(":")
    async with presenced.connect_service(url, token=token) as presence, asyncio.TaskGroup() as tasks:
        server = await asyncio.start_server(Chat(presence, tasks).connected, host, int(port))
        address = server.sockets[0].getsockname()
        print(f"listening on {address[0]}:{address[1]}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat over TCP whose people's presence is told.")
    parser.add_argument("--listen", default="127.0.0.1:6667", metavar="HOST:PORT")
    parser.add_argument("--url", default="presence://chat@127.0.0.1:5250", help="of the presence server")
    parser.add_argument("--token", help="with the role service")
    options = parser.parse_args()
    failure = ""
    try:
        asyncio.run(run(options.listen, options.url, options.token))
    except* KeyboardInterrupt:
        pass
    except* (presenced.PresenceError, OSError) as errors:
        failure = f"chat: {errors.exceptions[0]}"
    sys.exit(failure or None)


if __name__ == "__main__":
    main()
