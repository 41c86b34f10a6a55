"""What ejabberd and Prosody have in common: presence over rosters, as RFC 6121 has it.

A user logs in as a real client does, without STARTTLS: stream, SASL PLAIN, stream, bind, roster, presence. A change is
a `<presence>` with another show and status. The server sends it to everybody on the roster who is subscribed and back
to the user's own devices; that echo is how the one who changes knows that it was handled.

Subscriptions go one way, from the watcher to the watched, so that a change and a login tell as many as on the other
servers.
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence

from bench.peers.base import GHOST, WRONG, Contacts, Conversation, Delivery, Known, PeerFailed, show_of, until
from bench.peers.programs import External

HOST = "localhost"
PASSWORD = "bench"
STREAM = (
    b"<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xml:lang='en' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)
BIND = b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>"
ROSTER = b"<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>"
FEATURES = b"</stream:features>"
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
GONE = re.compile(rb"\stype='unavailable'")
TOLD = re.compile(rb"<show>(\w+)</show><status>in a call, no\. (\d+) of (\w+);</status>")


class Xmpp(External):
    """One XMPP server with all its users on one host."""

    share = 10
    units = re.compile(
        rb"<presence(?=[^>]*\sfrom='(?P<user>[^@']+)@)(?P<head>[^>]*?)(?:/>|>(?P<payload>.*?)</presence>)|"
        rb"<iq(?=[^>]*\stype='result')[^>]*?(?:/>|>.*?</iq>)|\s+",
        re.DOTALL,
    )
    mark = b"</presence>"

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """As a client does, one step after the other."""
        return login(self, user, contacts, records=records)

    def logout(self, user: str) -> bytes:
        """Unavailable, and the end of the stream."""
        return b"<presence type='unavailable'/></stream:stream>"

    def change(self, user: str, number: int) -> bytes:
        """A presence with a show and a status."""
        return b"<presence><show>%s</show><status>in a call, no. %08d of %s;</status></presence>" % (
            show_of(number),
            number,
            user.encode(),
        )

    def answer(self, user: str, number: int) -> bytes:
        """Its echo: nobody else's status has the user's name in it."""
        return b"no. %08d of %s;" % (number, user.encode())

    def delivered(self, reader: str, found: re.Match[bytes]) -> Delivery | None:
        """Whose presence it is, if not the reader's own."""
        if found["user"] is None or (user := found["user"].decode()) == reader:
            return None
        if GONE.search(found["head"]):
            return user, GHOST
        told = TOLD.search(found["payload"] or b"")
        if told is None or told[3] != found["user"] or told[1] != show_of(int(told[2])):
            return user, WRONG
        return user, int(told[2])


def login(server: Xmpp, user: str, contacts: Sequence[str], *, records: bool) -> Generator[bytes, bytes, Known]:
    """The login of a user: over when its own presence comes back, and that of all contacts if asked for."""
    secret = base64.b64encode(b"\0%s\0%s" % (user.encode(), PASSWORD.encode()))
    yield from until(STREAM, FEATURES)
    auth = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>" % secret
    came = yield from until(auth, b">")
    if SUCCESS not in came:
        raise PeerFailed(f"{server.name} did not let {user} in; it said {came[:200]!r}")
    yield from until(STREAM, FEATURES)
    yield from until(BIND, b"</iq>")
    came = yield from until(ROSTER, b"</iq>")
    if came.count(b"subscription='") < len(contacts):
        raise PeerFailed(f"{server.name} does not know the roster of {user}; it said {came[:200]!r}")
    came = yield server.change(user, 0)
    own = server.answer(user, 0)
    while own not in came or (records and server.count(came) <= len(contacts)):
        came += yield b""
    return dict(server.parse(user, came)[0]) if records else {}


def rosters(users: Sequence[str], contacts: Contacts) -> Mapping[str, Mapping[str, str]]:
    """For each user, the others on its roster and the direction of the subscription."""
    found: dict[str, dict[str, str]] = {user: {} for user in users}
    followers = defaultdict(list)
    for user, watched in contacts.items():
        for other in watched:
            found[user][other] = "to"
            followers[other].append(user)
    for user, watchers in followers.items():
        for watcher in watchers:
            found[user][watcher] = "both" if watcher in found[user] else "from"
    return found
