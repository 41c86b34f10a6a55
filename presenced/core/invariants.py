"""What must hold between turns. Run by tests after every step and by the daemon under `--check`; O(everything)."""

from __future__ import annotations

from typing import Final

from presenced.core.engine import Engine
from presenced.core.merge import merge
from presenced.core.model import CONNECTED, GONE, GRACE, Session, User
from presenced.core.precedence import is_hidden, strongest
from presenced.limits import DEVICES_PER_USER_MAX

COPY_AHEAD_MAX: Final = 100
"""By how much the record of a copy may be ahead of the counter: by one for each time within a millisecond that somebody
is told of it by another face."""


def check(engine: Engine) -> None:
    """Raise `AssertionError` with what is wrong. Call it after `settle`: records must be up to date."""
    publisher = engine.publisher
    live = 0
    waiting = 0
    for name, user in engine.users.items():
        assert user.name == name, f"{name} is filed under another name"
        assert not user.dirty, f"{name} is touched and not settled"
        live += _check_devices(engine, user)
        if user.is_copy:
            _check_copy(engine, user)
        else:
            _check_expiry(user)
        _check_record(engine, user)
        waiting += user.scheduled
        # A change within the same millisecond as the one before it is ahead of the counter, by one each time.
        ahead = COPY_AHEAD_MAX if user.is_copy else publisher.changed
        assert user.record.version <= engine.ledger.version + ahead, f"{name} is newer than the counter"
        for session, sink in (user.watchers or {}).items():
            assert sink is session.sink, f"{name} is told to a link that is not the watching session's"
            watches = [watched for watched in (session.watching, session.watched_contacts) if watched is not None]
            assert watches, f"{name} is watched by a session that has ended"
            of_name = [watched[name] for watched in watches if name in watched]
            assert of_name, f"{name} has a watcher that does not watch it"
            assert all(one is user for one in of_name), f"{name} has a watcher that watches somebody else"
            _check_session(engine, session)
        assert engine.parts.keep(user), f"{name} is kept for nothing"
    for position, user in enumerate(engine.users.order):
        assert user.position == position and engine.users.get(user.name) is user, f"{user.name} is out of order"
    assert len(engine.users.order) == len(engine.users), "users and their order differ in number"
    assert live == engine.leases.live, f"{live} live devices are counted as {engine.leases.live}"
    _check_counters(engine)
    online = [name for name, user in engine.users.items() if user.record.status != "offline"]
    assert sorted(online) == list(publisher.online), "the online index differs from the records"
    publisher.online.check()
    _check_channels(engine)
    for part in engine.parts.all:
        part.check(engine.users.order)
    assert len(engine.wheel) >= live + waiting, "the wheel lacks entries"


def _check_devices(engine: Engine, user: User) -> int:
    live = 0
    looking_in = sum(device.priority < 0 for device in user.devices.values())
    most = max(looking_in, len(user.devices) - looking_in)
    assert most <= DEVICES_PER_USER_MAX, f"{most} devices of one sort are remembered of {user.name}"
    for device_id, device in user.devices.items():
        where = f"{user.name}/{device_id}"
        assert device.id == device_id and device.user is user, f"{where} is filed wrongly"
        for channel in device.channels or ():
            assert device.state != GONE, f"{where} is gone and still in {channel}"
            assert (user.channels or {}).get(channel), f"{where} is in {channel} and its user is not"
        if user.is_copy:
            assert not device.scheduled, f"{where} is decided elsewhere, and has a lease"
            assert device.session is None, f"{where} is decided elsewhere, and a link holds it"
            continue
        assert device.scheduled == (device.state != GONE), f"{where} is live without a lease, or gone with one"
        assert (device.session is not None) == (device.state == CONNECTED), f"{where} has a session too many or few"
        session = device.session
        if session is not None and device.ref:
            assert (session.refs or {}).get(device.ref) is device, f"{where} is not held under its ref"
        elif session is not None:
            assert session.device is device, f"{where} and its session disagree"
            assert session.user_name == user.name, f"{where} is held by another user's session"
        if device.lease_ms is not None:
            assert device.state != GONE, f"{where} is gone and has a lease"
            assert session is None or device.ref, f"{where} has a link of its own and a lease besides"
            ends_ms = device.grace_until_ms if device.state == GRACE else device.lease_ms
            assert ends_ms == device.lease_ms, (
                f"{where} has a lease until {device.lease_ms} and a grace until {ends_ms}"
            )
        if device.state != GONE:
            live += 1
            deadline_ms = engine.leases.deadline(device)
            assert device.due_ms <= deadline_ms, f"{where} is due at {device.due_ms}, after {deadline_ms}"
    return live


def _check_counters(engine: Engine) -> None:
    publisher = engine.publisher
    users = engine.users.values()
    own = [user for user in users if not user.is_copy]
    connected = sum(device.state == CONNECTED for user in own for device in user.devices.values())
    assert connected == engine.leases.connected, f"{connected} connected are counted as {engine.leases.connected}"
    # Whoever watches a user by name and as a contact watches twice.
    watches = sum(
        sum(user.name in (watched or ()) for watched in (session.watching, session.watched_contacts))
        for user in users
        for watchers in (user.watchers, user.hidden_watchers, *(face.watchers for face in (user.faces or {}).values()))
        for session in watchers or ()
    )
    assert watches == engine.watches.count, f"{watches} watches are counted as {engine.watches.count}"
    for status, count in publisher.online.by_status.items():
        shown = sum(user.record.status == status for user in users)
        assert shown == count, f"{shown} users who show {status} are counted as {count}"
    for session in engine.outboxes.slow:
        assert session.owed is not None, "a session that takes what it is sent is counted as slow"


def _check_copy(engine: Engine, user: User) -> None:
    assert not user.scheduled, f"{user.name} is decided elsewhere, and something of them is waited for here"
    assert not engine.schedules.is_unread(user), f"{user.name} has a schedule that is read elsewhere, and here as well"
    if user.shown is not None:
        assert is_hidden(user), f"{user.name} does not appear offline and shows another text than their own"


def _check_expiry(user: User) -> None:
    dues = [user.text_due_ms] if user.text_due_ms else []
    if user.shown is not None:
        assert is_hidden(user), f"{user.name} does not appear offline and shows another text than their own"
        dues.extend([user.shown.due_ms] if user.shown.due_ms else [])
    dues.extend(claim.due_ms for claim in user.claims if claim.due_ms)
    if user.schedule is not None:
        dues.append(user.schedule.due_ms)
    assert user.scheduled == bool(dues), f"{user.name} is in the wheel without an expiry, or not in it with one"
    if dues:
        assert user.due_ms == min(dues), f"{user.name} expires at {min(dues)} and is due at {user.due_ms}"


def _check_record(engine: Engine, user: User) -> None:
    record = user.record
    assert user.claim is strongest(user.claims), f"{user.name}: another claim counts than the strongest"
    hysteresis_ms = engine.policy.primary_hysteresis_ms
    status, _ = merge(user.devices.values(), user.claim, user.primary, hysteresis_ms)
    assert record.status == status, f"{user.name} shows {record.status} and merges to {status}"
    shown = user.shown or user
    assert (record.text, record.emoji) == (shown.text, shown.emoji), f"{user.name} shows another text"
    primary = user.primary.id if user.primary is not None else ""
    assert record.device == primary, f"{user.name} shows primary {record.device!r}, has {primary!r}"
    assert (status == "offline") == (primary == ""), f"{user.name} has a primary and is offline, or the reverse"
    if status != "offline":
        assert record.last_seen_ms == 0, f"{user.name} is online and has a last-seen time"


def _check_session(engine: Engine, session: Session) -> None:
    if session.ended:
        # What it held and watched is being let go of, and nothing reaches it.
        return
    owed, pending = session.owed, session.pending
    if owed is None and pending:
        assert session in engine.outboxes.dirty, "a session has something pending and is not dirty"
    assert (owed is not None) == (session in engine.outboxes.slow), "a session is paused and not slow, or the reverse"
    watching = {**(session.watching or {}), **(session.watched_contacts or {})}
    for user in owed or ():
        assert user.name in watching or user.watchers is None or session not in user.watchers, (
            f"{user.name} is owed to a session that does not watch it any longer and is still its watcher"
        )


def _check_channels(engine: Engine) -> None:
    for name, channel in engine.channels.by_name.items():
        members = {user.name: user for user in engine.users.values() if name in (user.channels or {})}
        assert channel.members == members, f"{name} has other members than the users say"
        online = {user: member.record.status for user, member in members.items() if member.record.status != "offline"}
        assert list(channel.online) == sorted(online), f"{name} lists other members as online than are"
        for status, count in channel.counts.items():
            assert count == sum(shown == status for shown in online.values()), f"{name} counts {count} as {status}"
        for session in channel.watchers:
            assert name in (session.channels or {}), f"{name} has a watcher that does not watch it"
