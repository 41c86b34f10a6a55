"""What a message costs besides its frame, in units of about fifty microseconds (protocol.md, section 4.5).

The cost is known before the message is handled, from a few integer operations. The edge takes it off the credit of the
user whose link asks. Deliveries are not in here: how often the changes of a user are told, and to how many, is bounded
where they are told (`core.publisher`), no matter who makes the changes.
"""

from __future__ import annotations

from presenced.core.engine import Engine
from presenced.core.model import Session, User
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.messages import (
    Await,
    Beats,
    Check,
    ClientMessage,
    Compare,
    Erase,
    Explain,
    FindClaims,
    Get,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetContacts,
    GetHistory,
    GetMembers,
    Renew,
    Route,
    SetAudience,
    SetContacts,
    Unwatch,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
)
from presenced.wire.subjects import SENDER, subject_of

NAMES = 32
"""Names, records or members for one unit."""

ACTIVITIES = 8
"""Activities, of up to a kilobyte, for one unit."""

CHANNELS = 8
"""Channels of a user whose record may change, for one unit: each counts its members by status."""

ROUTES = 8
"""Users whose devices to notify are asked for, for one unit: each has several, and perhaps a schedule to look ahead
in."""

DEVICES = 16
"""Devices in one beats, for one unit."""

CHANGE_MAX = 200
"""Of a change, whatever the number of channels: the link that makes it must be read again before its next heartbeat."""

LISTED_CONTACTS = 2_000
"""Contacts of a list, for one unit: a page of it is found by looking at all."""

SET_CONTACTS = 8
"""Contacts in a list that is set, for one unit: each is two sides of a pair."""

CHECKED = 64
"""Users who are looked at for a checksum, for one unit."""

FORECASTS = 4
"""Users of whom it is told when what is seen of them changes next, for one unit."""

WINDOWS = 8
"""Windows of a schedule that is read to explain what comes next, for one unit."""

FIND = 4
"""Of a search for claims: it looks at up to `core.parts.claims.FIND_USERS` users."""

EVERYBODY = 16
"""Of a look at the versions of all users, in slices: a millisecond for each 5,000."""

HELLO = 4
"""Of a hello: a token is verified, and a session and a device are made."""

ERASURE = 64
"""Of an erasure: some milliseconds, if as many events are kept as can be."""

HISTORY = 8
"""Of a page of a user's history: it looks at the index of every chunk of events."""

HISTORY_EVENTS = 8
"""Events on such a page for one unit: each may be in a chunk of its own."""

RENEWAL = 3
"""Of a new token: with its frame as much as a hello, since most of that is the verification of a token."""


def _target(engine: Engine, session: Session, name: str) -> User | None:
    """The user whom a request with this `user` is about, if the link may act for them. What is refused costs its frame
    alone: a cost that depended on somebody's state would tell of it."""
    if name and name != session.user_name:
        if session.role == "user" or (session.rights is not None and not session.rights.acts_for(name)):
            return None
    return engine.users.get(name or session.user_name)


def cost_of_change(engine: Engine, name: str) -> int:
    """Units for a change of this user's record: their channels are brought up to date."""
    user = engine.users.get(name)
    if user is None or user.channels is None:
        return 0
    return min(CHANGE_MAX, len(user.channels) // CHANNELS)


def change(engine: Engine, session: Session, message: ClientMessage) -> int:
    """Of what may change the record of the one user whom it is about."""
    subject = subject_of(message)
    if subject is SENDER:
        return cost_of_change(engine, session.user_name)
    if subject.scope == "held":
        device = session.refs.get(subject.refs[0]) if session.refs is not None else None
        return cost_of_change(engine, device.user.name) if device is not None else 0
    (name,) = subject.names(session.user_name)
    return cost_of_change(engine, name) if _target(engine, session, name) is not None else 0


def names(engine: Engine, session: Session, message: Get | Watch | Unwatch) -> int:
    """Of what names users."""
    return len(message.users) // NAMES


def questions(engine: Engine, session: Session, message: Get | Watch) -> int:
    """Of questions about users by name, and what is still to be paid for answers to earlier ones. What comes next costs
    the same for users who are hidden and for those who are not."""
    each = FORECASTS if isinstance(message, Get) and message.valid else NAMES
    return len(message.users) // each + engine.curiosity.take_owed(session)


def explanation(engine: Engine, session: Session, message: Explain) -> int:
    """Of an explanation: the schedule may be read many times."""
    user = _target(engine, session, message.user)
    return -(-len(user.schedule.windows) // WINDOWS) if user is not None and user.schedule is not None else 0


def comparison(engine: Engine, session: Session, message: Compare) -> int:
    """Of a comparison, likewise; the last page of one looks at all contacts that the link watches, and tells those whom
    no page has named."""
    contacts = 0
    if not message.more and session.watched_contacts:
        unnamed = engine.views.unnamed(session, message.users)
        contacts = len(session.watched_contacts) // CHECKED + unnamed // NAMES
    return len(message.users) // NAMES + contacts + engine.curiosity.take_owed(session)


def checksum(engine: Engine, session: Session, message: Check) -> int:
    """Of a checksum: it adds up all whom the link watches."""
    return (len(session.watching or ()) + len(session.watched_contacts or ())) // CHECKED


def one_question(engine: Engine, session: Session, message: Await) -> int:
    """Of a question about one user: what is still to be paid for answers to earlier ones."""
    return engine.curiosity.take_owed(session)


def everybody(engine: Engine, session: Session, message: WatchAll) -> int:
    """Of what is told to a link that comes back to everybody. The same whatever that is: it must not count anybody who
    is hidden."""
    return EVERYBODY if message.on and message.epoch else 0


def routes(engine: Engine, session: Session, message: Route) -> int:
    """Of where notifications for users go."""
    return len(message.users) // ROUTES


def online(engine: Engine, session: Session, message: Who) -> int:
    """Of a page of those who are online; for who may not see all of them, of as many as were asked for: the cost must
    not count who is hidden."""
    most = len(engine.publisher.online) if engine.sight.sees_all(session) else message.limit
    return min(message.limit, most) // NAMES


def members(engine: Engine, session: Session, message: GetMembers | WatchChannel) -> int:
    """Of a page of a channel's members, likewise."""
    channel = engine.channels.by_name.get(message.channel)
    length = len(channel.online) if channel is not None else 0
    return min(message.limit, length if engine.sight.sees_all(session) else message.limit) // NAMES


def activities(engine: Engine, session: Session, message: GetActivity) -> int:
    """Of a list of a user's activities."""
    user = _target(engine, session, message.user)
    return min(message.limit, len(user.activities or ())) // ACTIVITIES if user is not None else 0


def search(engine: Engine, session: Session, message: FindClaims) -> int:
    """Of a page of claims over all users."""
    return message.limit // NAMES + FIND


def renewal(engine: Engine, session: Session, message: Renew) -> int:
    """Of a new token."""
    return RENEWAL


def history(engine: Engine, session: Session, message: GetHistory) -> int:
    """Of a page of a user's history, whatever is on it."""
    return HISTORY + message.limit // HISTORY_EVENTS


def erasure(engine: Engine, session: Session, message: Erase) -> int:
    """Of forgetting a user: it looks through all events that are kept."""
    return ERASURE + change(engine, session, message)


def beats(engine: Engine, session: Session, message: Beats) -> int:
    """Of heartbeats for devices that a service holds."""
    return len(message.beats) // 2 // DEVICES


def contacts(engine: Engine, session: Session, message: GetContacts) -> int:
    """Of a page of a list of contacts."""
    user = _target(engine, session, message.user)
    length = len(user.contacts.contacts) if user is not None and user.contacts is not None else 0
    return min(length, USERS_PER_REQUEST_MAX) // NAMES + length // LISTED_CONTACTS


def contact_list(engine: Engine, session: Session, message: SetContacts) -> int:
    """Of a list of contacts that is set, or a part of it; and of what it takes off the list that there is."""
    user = _target(engine, session, message.user)
    before = len(user.contacts.contacts) if user is not None and user.contacts is not None and not message.more else 0
    return min(CHANGE_MAX, (len(message.contacts) + before) // SET_CONTACTS)


def blocked(engine: Engine, session: Session, message: GetBlocked) -> int:
    """Of a list of those whom a user has blocked and hides from."""
    user = _target(engine, session, message.user)
    if user is None or user.privacy is None:
        return 0
    return (len(user.privacy.blocked) + len(user.privacy.hidden)) // NAMES


def audience_names(engine: Engine, session: Session, message: GetAudience) -> int:
    """Of an audience with the users whom it names."""
    user = _target(engine, session, message.user)
    if user is None or user.privacy is None:
        return 0
    return (len(user.privacy.audience.always) + len(user.privacy.audience.never)) // NAMES


def audience(engine: Engine, session: Session, message: SetAudience) -> int:
    """Of another audience: everybody who watches the user is filed by it anew."""
    user = _target(engine, session, message.user)
    names = len(message.always) + len(message.never)
    if user is not None:
        names += len(user.watchers or ()) + sum(len(face.watchers) for face in (user.faces or {}).values())
    return min(CHANGE_MAX, names // NAMES)
