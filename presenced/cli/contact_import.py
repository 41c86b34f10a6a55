"""`presencectl contacts import`: whole lists of contacts from a file, as an application's database exports them.

A JSON line has one user's whole list. A CSV line has one pair, of whom each sees the other, so that the list of a user
is complete only at the end of the file.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from time import monotonic
from typing import IO, TYPE_CHECKING, NamedTuple

import click
import msgspec

from presenced.address import check_name
from presenced.cli import exits
from presenced.cli.context import Context
from presenced.errors import AddressError, PresenceError, RequestError
from presenced.wire.messages import ContactEntry, Subscription

if TYPE_CHECKING:
    import asyncio

    from presenced.cli.output import Output
    from presenced.client.service import Service

ON_THEIR_WAY_MAX = 16
"""Lists that are sent before the first of them is acknowledged."""
PATIENCE_S = 60.0
"""How long the server may take for a list. Each of these waits for all before it, and for other links."""
IN_ONE_PART = 64
"""A list of so many contacts fits one request, however long their names and groups are."""
PROGRESS_S = 0.2
LINE_BYTES_MAX = 16 * 1024 * 1024
"""The longest line. The longest list with the longest names has eight million bytes."""


class ImportedContact(msgspec.Struct, forbid_unknown_fields=True):
    """A contact as a JSON line has it."""

    contact: str
    subscription: Subscription = "both"
    name: str = ""
    groups: list[str] = []


class ImportedLine(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON line."""

    user: str
    contacts: list[str | ImportedContact]


class ImportedList(NamedTuple):
    """A user's whole list, the line on which it begins, and how much of the file it ends."""

    user: str
    contacts: list[ContactEntry]
    line: int
    share: float


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.pass_obj
def import_contacts(context: Context, file: str) -> None:
    """Set the contacts of users as whole lists, from JSON lines or CSV. For services; - reads standard input.

    \b
    JSON lines, each one user's whole list:
      {"user": "alice", "contacts": ["bob", {"contact": "carol",
       "subscription": "to", "name": "Carol", "groups": ["work"]}]}
    CSV, each line two users who see each other:
      alice,bob

    Contacts that are not named are removed from the list of a user who has one in the file: in CSV, of a user in the
    first column. The import ends at the first line that is wrong or that the server refuses. The lists before it are
    set then, and the same file can be imported again.
    """
    if context.target.as_user:
        raise click.UsageError("`contacts import` does not use --as; the file names the users")

    async def work() -> int:
        with _opened(file) as (lines, size):
            found = imported(lines, size)
            # Before there is a link that waits for heartbeats: CSV is read to its end here.
            first = next(found, None)
            async with context.target.service(reconnect=True, patience_s=PATIENCE_S) as service:
                whole = () if first is None else chain((first,), found)
                lists, contacts = await _import(service, whole, context.output)
        value = {"lists": lists, "contacts": contacts}
        context.output.say(value, f"{_count(lists, 'list')} set, with {_count(contacts, 'contact')}")
        return exits.OK

    exits.run(work())


@contextmanager
def _opened(file: str) -> Iterator[tuple[IO[bytes], int]]:
    """The file and its size in bytes; 0 = unknown."""
    if file == "-":
        yield sys.stdin.buffer, 0
        return
    try:
        opened = open(file, "rb")
    except OSError as error:
        raise AddressError(f"{file} cannot be read: {error.strerror}", "bad_request") from None
    with opened:
        yield opened, os.fstat(opened.fileno()).st_size


# --- reading --------------------------------------------------------------------------------------------------


def imported(lines: IO[bytes], size: int) -> Iterator[ImportedList]:
    """The lists in the file, of either format. Raises `AddressError` with the number of the line that is wrong."""
    numbered = _numbered(lines)
    for number, line in numbered:
        if line.strip():
            read = _json_lists if line.lstrip().startswith("{") else _csv_lists
            yield from read([(number, line)], numbered, size)


def _numbered(lines: IO[bytes]) -> Iterator[tuple[int, str]]:
    number = 0
    while line := lines.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise _wrong(number, f"is longer than {LINE_BYTES_MAX} bytes")
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise _wrong(number, "is not UTF-8") from None


def _json_lists(first: list[tuple[int, str]], rest: Iterator[tuple[int, str]], size: int) -> Iterator[ImportedList]:
    decode = msgspec.json.Decoder(ImportedLine).decode
    read = 0
    for number, line in chain(first, rest):
        read += len(line)
        if not line.strip():
            continue
        try:
            parsed = decode(line)
            check_name(parsed.user, "user")
            entries = [_entry(one) for one in parsed.contacts]
        except (msgspec.DecodeError, AddressError) as error:
            raise _wrong(number, f"is wrong: {error}") from None
        yield ImportedList(parsed.user, entries, number, read / size if size else 0)


def _entry(one: str | ImportedContact) -> ContactEntry:
    if isinstance(one, str):
        one = ImportedContact(one)
    check_name(one.contact, "contact")
    return ContactEntry(one.contact, one.subscription, one.name, one.groups)


def _csv_lists(first: list[tuple[int, str]], rest: Iterator[tuple[int, str]], size: int) -> Iterator[ImportedList]:
    """All lists, once the file is read: a pair belongs to the lists of both."""
    begun: dict[str, int] = {}
    contacts: dict[str, dict[str, None]] = {}
    for number, line in chain(first, rest):
        if not line.strip():
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line]))]
        except csv.Error as error:
            raise _wrong(number, f"is no CSV: {error}") from None
        if not begun and cells == ["user", "contact"]:
            continue
        if len(cells) != 2:
            columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
            raise _wrong(number, f"has {columns}; write user,contact, or JSON lines that begin with {{")
        user, contact = cells
        try:
            check_name(user, "user")
            check_name(contact, "contact")
        except AddressError as error:
            raise _wrong(number, f"is wrong: {error}") from None
        if user == contact:
            raise _wrong(number, f"makes {user} a contact of their own; leave it out")
        begun.setdefault(user, number)
        contacts.setdefault(user, {})[contact] = None
        contacts.setdefault(contact, {})[user] = None
    for done, (user, number) in enumerate(begun.items(), 1):
        yield ImportedList(user, [ContactEntry(name) for name in contacts[user]], number, done / len(begun))


def _wrong(number: int, what: str) -> AddressError:
    return AddressError(f"line {number} {what}", "bad_request")


# --- sending --------------------------------------------------------------------------------------------------


async def _import(service: Service, lists: Iterable[ImportedList], output: Output) -> tuple[int, int]:
    """Set the lists in their order, many at a time; returns how many lists and contacts were set."""
    import asyncio

    on_their_way: dict[str, tuple[ImportedList, asyncio.Task[None]]] = {}
    progress = _Progress(output)
    done = [0, 0]

    async def arrive(left: int) -> None:
        """Wait until at most so many are on their way."""
        while len(on_their_way) > left:
            user = next(iter(on_their_way))
            one, task = on_their_way.pop(user)
            try:
                await task
            except PresenceError as error:
                await asyncio.gather(*[task for _, task in on_their_way.values()], return_exceptions=True)
                on_their_way.clear()
                raise _at_line(one, error) from None
            done[0] += 1
            done[1] += len(one.contacts)
            progress.show(done[0], one.share)

    try:
        try:
            for one in lists:
                # A long list goes in several parts, between which no other may come that names the same users.
                is_long = len(one.contacts) > IN_ONE_PART
                await arrive(0 if is_long or one.user in on_their_way else ON_THEIR_WAY_MAX - 1)
                task = asyncio.create_task(service.set_contacts(one.user, one.contacts))
                # It sends as it starts, so that the lists leave in the order of the file.
                await asyncio.sleep(0)
                on_their_way[one.user] = one, task
                if is_long:
                    await arrive(0)
        finally:
            # What was sent before a wrong line counts, and has to arrive before the link is closed.
            await arrive(0)
    finally:
        progress.end()
    return done[0], done[1]


def _at_line(one: ImportedList, error: PresenceError) -> PresenceError:
    """The error with the line that it is about."""
    sentence = f"line {one.line}, the list of {one.user}: {error.message}"
    if isinstance(error, RequestError):
        return RequestError(error.code, sentence, temporary=error.temporary, retry_ms=error.retry_ms)
    return AddressError(sentence, error.code) if isinstance(error, AddressError) else error


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class _Progress:
    """How far the import is: one line on a terminal's standard error, written over and over."""

    def __init__(self, output: Output) -> None:
        self._is_shown = sys.stderr.isatty() and not output.is_quiet
        self._last_s = monotonic() - PROGRESS_S
        self._width = 0

    def show(self, lists: int, share: float) -> None:
        """So many lists are set, and this share of the file is read."""
        now_s = monotonic()
        if not self._is_shown or now_s - self._last_s < PROGRESS_S:
            return
        self._last_s = now_s
        line = f"{_count(lists, 'list')} set" + (f", {min(share, 1):.0%}" if share else "")
        self._width = max(self._width, len(line))
        print(f"\r{line.ljust(self._width)}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the line away."""
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)
