"""A chat over TCP for telnet and nc. One service connection acts for the devices of all people in the chat.

    python -m presenced.examples.chat --listen 127.0.0.1:6667 --url presence://chat@127.0.0.1:5250

The first line of a connection is `NAME`, or `NAME/DEVICE CHANNEL`. The chat believes every name: a real application
checks it first. If the chat is killed, people who come back within the server's grace time stay online.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

import presenced

HELP = "Type to talk; /join CHANNEL, /members, /quit, and /presence help"
BEHIND_BYTES_MAX = 64 * 1024
"""How many bytes may wait for a reader. The connection of a slower reader is cut."""


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
    """A channel that has people of this chat in it. Other members may come from other backends and clients."""

    def __init__(self, watch: presenced.ChannelWatch) -> None:
        self.watch = watch
        self.people: set[Person] = set()
        self._shown: dict[str, str] = {}

    def tell(self, line: str, without: str = "") -> None:
        for person in self.people:
            if person.user != without:
                person.tell(line)

    async def narrate(self) -> None:
        """Tell the people in the room who comes, goes and changes, until the watch is closed."""
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
        # The peer may reset the connection, or send a line of more than 64 KiB.
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
            older.tell("! You have connected again from elsewhere, so this connection ends")
            older.writer.close()
            person.room, older.room = older.room, None
            if person.room is not None:
                person.room.people.remove(older)
                person.room.people.add(person)
        await self.join(person, channel)
        person.tell(HELP)

    async def converse(self, person: Person, reader: asyncio.StreamReader) -> bool:
        """Handle the person's lines until the end; returns whether the person left with /quit."""
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
        """Move the person into the channel, and out of the one before."""
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
        """Take the person out of the room; returns the name of its channel. An empty room is not watched any longer."""
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
        """Remove the person. After /quit the user leaves at once; after a cut connection the grace time begins."""
        await self.step_out(person)
        if self.people.get((person.user, person.device)) is person:
            del self.people[person.user, person.device]
            # Without a link to the server, the client detaches the device on the next link.
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
    parser = argparse.ArgumentParser(description="A chat over TCP that shows people's presence.")
    parser.add_argument("--listen", default="127.0.0.1:6667", metavar="HOST:PORT")
    parser.add_argument("--url", default="presence://chat@127.0.0.1:5250", help="the URL of the presence server")
    parser.add_argument("--token", help="a token with the role service")
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
