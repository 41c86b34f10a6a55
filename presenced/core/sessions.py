"""Which device each session speaks for, and how sessions and their devices come and go.

A link of its own has one device. A service's link has any number, each under a number of the service's (`ref`).

The file is long because every way by which a session comes, changes and goes is in one object.
"""

from __future__ import annotations

from presenced.core.link_client import LinkClient, is_same_client
from presenced.core.model import GONE, Device, ParkedLink, Session
from presenced.core.obligations import Obligations
from presenced.core.outboxes import Outboxes
from presenced.core.part import Parts
from presenced.core.parts.devices import Description, Devices
from presenced.core.parts.holders import Holders
from presenced.core.parts.leases import Leases
from presenced.core.parts.own_state import OwnStates
from presenced.core.parts.releases import Releases
from presenced.core.parts.resumptions import Resumptions
from presenced.core.parts.session_leases import SessionLeases
from presenced.core.parts.users import Users
from presenced.core.rights import Rights
from presenced.wire.messages import DeviceStatus, Hello

_NO_REFS: dict[int, Device] = {}

LOSSES = ("", "lease_expired", "frame_timeout")
"""The codes of ends after which a client may take back what its link had: a lost connection, or silence."""


class Sessions:
    """Applies what links do. Each method applies wholly, or raises `RequestError` and changes nothing."""

    def __init__(
        self,
        parts: Parts,
        users: Users,
        leases: Leases,
        session_leases: SessionLeases,
        devices: Devices,
        holders: Holders,
        own_states: OwnStates,
        releases: Releases,
        resumptions: Resumptions,
        obligations: Obligations,
        outboxes: Outboxes,
    ) -> None:
        self._parts = parts
        self._users = users
        self._leases = leases
        self._session_leases = session_leases
        self._devices = devices
        self._holders = holders
        self._own_states = own_states
        self._releases = releases
        self._resumptions = resumptions
        self._obligations = obligations
        self._outboxes = outboxes

    # --- coming -----------------------------------------------------------------------------------------------

    def open_without_device(self, now_ms: int, session: Session) -> None:
        """The session has no device of its own, and holds a lease itself. A user's session sees with that user's eyes,
        and is seen by nobody."""
        if session.role == "user":
            session.viewer = self._users.get_or_new(session.user_name)
        self._session_leases.start(session, now_ms)

    def attach(
        self,
        now_ms: int,
        session: Session,
        device_id: str,
        *,
        user_name: str = "",
        ref: int = 0,
        kind: str = "",
        name: str = "",
        priority: int = 0,
        status: DeviceStatus = "online",
        idle_ms: int | None = None,
        as_was: bool = False,
        only_free: bool = False,
        for_at_most_ms: int = 0,
        meta: str | None = None,
        focus: str = "",
    ) -> Device:
        """The session's link speaks for this device from now on: its own, or (a service's) one under a `ref`
        (protocol.md, 13.1).

        The session that had the device before is replaced: a link of its own is closed, a service is told. An empty
        kind or name, `idle_ms` (the time since the person's last input) None and `meta` None keep what is known. So
        does `as_was` with kind, name, priority, status and meta of a device that is live, and with the lease if this
        client gave it that. But how idle it is does not outlive the program that told it: another client that comes
        without `as_was`, and with `idle_ms` None, takes nobody for idle. `focus` is what is on its screen. With
        `only_free` a device that another client has by now stays with it. `for_at_most_ms` gives a lease, to a device
        with a `ref` (section 23.7). Raises `RequestError` (`device_limit`, `device_held`). O(devices of the user).
        """
        user = self._users.get(user_name or session.user_name)
        lease_ms = now_ms + for_at_most_ms if for_at_most_ms else None
        device = user.devices.get(device_id) if user is not None else None
        if device is not None:
            if only_free:
                self._holders.refuse_if_held(device, session)
            if as_was and device.state != GONE:
                kind, name, priority, status = device.kind, device.name, device.priority, device.status
                meta = device.meta
                if ref and (device.lease_ms or 0) > now_ms and self._holders.is_last(device, session):
                    lease_ms = device.lease_ms
        if device is None:
            user = user or self._users.new(user_name or session.user_name)
            device = self._devices.add(user, device_id, priority)
        elif (device.priority < 0) != (priority < 0):
            self._devices.make_room(device.user, priority)
        self._take_from_holder(device, session, now_ms)
        if idle_ms is None and not as_was and device.holder != session.instance:
            self._leases.forget_idleness(device)
        if ref and session.refs is not None and (other := session.refs.get(ref)) is not None:
            self.end_device(other, now_ms)
        # An empty one says nothing: it must not undo a rename.
        meta = device.meta if meta is None else meta
        described = Description(kind or device.kind, name or device.name, priority, status, meta)
        self._devices.connect(device, session, described, now_ms, idle_ms, ref, lease_ms, focus)
        if ref:
            self._holders.holds(session, ref)
        elif session.role == "user":
            session.viewer = device.user
        return device

    def take_device(
        self,
        now_ms: int,
        session: Session,
        hello: Hello,
        *,
        idle_ms: int | None,
        as_was: bool,
        only_free: bool,
    ) -> Device:
        """The session, which had no device of its own so far, has the one that its hello names from now on, as in
        `attach`; and it is told of its user's own state if the hello asks for that. Raises what `attach` raises."""
        device = self.attach(
            now_ms,
            session,
            hello.device,
            kind=hello.kind,
            name=hello.name,
            priority=hello.priority,
            status=hello.status,
            idle_ms=idle_ms,
            as_was=as_was,
            only_free=only_free,
            meta=hello.meta,
            focus=hello.focus,
        )
        self._session_leases.end_session(session, now_ms)
        if hello.sync:
            self._own_states.add(session, device.user)
        return device

    def _take_from_holder(self, device: Device, session: Session, now_ms: int) -> None:
        holder, ref = device.session, device.ref
        if holder is None:
            return
        self._leases.take(device)
        if ref:
            if holder is not session:
                self._holders.tell(holder, ref, "replaced")
            return
        self._own_states.remove(holder, device.user)
        if holder is session:
            # It attaches the device that it is itself: the link goes on, and holds it like any other.
            self._session_leases.start(session, now_ms)
        else:
            self._obligations.close(holder, "replaced")
            # Its client has no use for what it watched: it is another one, or has come with this hello.
            holder.resume = ""

    # --- coming back ------------------------------------------------------------------------------------------

    def open_with(self, token: str, client: LinkClient, device_id: str) -> Session | None:
        """The session that has this token, if its link is still open and it is the same client's. To be asked before a
        new one takes the device. O(sessions of the user that have no device here)."""
        open_ones = self._session_leases.of_user(client.user_name)
        user = self._users.get(client.user_name) if device_id else None
        device = user.devices.get(device_id) if user is not None else None
        if device is not None and device.session is not None and not device.ref:
            open_ones.append(device.session)
        for other in open_ones:
            if other.resume == token and is_same_client(other, client):
                return other if self._resumptions.device_of(other)[0] == device_id else None
        return None

    def take_back(self, now_ms: int, session: Session, device_id: str, token: str, before: Session | None) -> None:
        """The session takes back what the link that had this token watched and held, if it may: from the end of this
        turn on. Until all of that is back it is `parked`. `before`: as `open_with` has it; its link is closed. O(1)."""
        if before is not None:
            self._end_open(before, token, now_ms)
        if self._resumptions.take(token, session, device_id, is_known=before is not None):
            self._obligations.put_off(session, lambda now_ms: self._resumptions.bring_back_watch(session, now_ms))

    def give(
        self, now_ms: int, token: str, client: LinkClient, device_id: str, watch_users_max: int
    ) -> ParkedLink | None:
        """As `Resumptions.give`, for a client that has come to another node; the link that has the token is closed if
        it is open. O(sessions of the user that have no device here)."""
        before = self.open_with(token, client, device_id)
        if before is not None:
            if not self._resumptions.has_grace(before):
                # Its device would be gone before it is attached at the other node, and the link is closed by that.
                return None
            self._end_open(before, token, now_ms)
        return self._resumptions.give(token, client, device_id, watch_users_max, is_known=before is not None)

    def _end_open(self, before: Session, token: str, now_ms: int) -> None:
        """The client that has this link has another one by now."""
        if before.resume:
            # If not, it was closed when its device was taken from it.
            self._obligations.close(before, "replaced")
        before.resume = token
        self.detach(now_ms, before)

    # --- going ------------------------------------------------------------------------------------------------

    def detach(self, now_ms: int, session: Session, code: str = "") -> None:
        """The link is lost, or was ended with this code: its devices go into grace and nobody is told. Idempotent.
        O(what it held and watched), but not at once (`Releases`)."""
        device = session.device
        if code in LOSSES:
            self._resumptions.park(session, now_ms)
        self._end(session, now_ms)
        if device is not None:
            self._leases.lose(device, now_ms)

    def bye(self, now_ms: int, session: Session) -> None:
        """The link's own device leaves at once, without grace, and the link is to be closed (protocol.md, 5.3)."""
        device = session.device
        self._end(session, now_ms)
        if device is not None:
            self.end_device(device, now_ms)
        self._obligations.close(session, "")

    def drop(self, now_ms: int, session: Session, code: str) -> None:
        """Close the link with this code; its devices go into grace."""
        self._obligations.close(session, code)
        self.detach(now_ms, session, code)

    def kick(self, now_ms: int, session: Session) -> None:
        """Close the link, because somebody has kicked its user. Its own device is gone at once, and those that it holds
        as a service are in grace."""
        device = session.device
        self._obligations.close(session, "kicked")
        self._end(session, now_ms)
        if device is not None:
            self.expel(now_ms, device)

    def expel(self, now_ms: int, device: Device) -> None:
        """The device is gone at once, because somebody has kicked its user; the service that holds it is told."""
        session, ref = device.session, device.ref
        if session is not None and ref:
            self._holders.tell(session, ref, "kicked")
        elif session is None:
            self._resumptions.note_kicked(device)
        self._end_device(device, now_ms, "kicked")

    def release(
        self, now_ms: int, device: Device, *, lost: bool, by: Session | None = None, within_ms: int | None = None
    ) -> None:
        """A service does not speak for the device any longer: it has left, or only its connection is lost. `by`: the
        link that says so, if one does; another link of the same client that holds it is told. A device whose connection
        is lost already stays in the grace that it is in, unless there is a new one: `within_ms` from now, which says
        that the connection is lost, too (protocol.md, 13.2)."""
        session, ref = device.session, device.ref
        if session is not None and session.refs is not None and ref in session.refs:
            if by is None:
                self._holders.tell(session, ref, "lost")
            elif by is not session:
                self._holders.tell(session, ref, "detached")
        if within_ms == 0:
            self._end_device(device, now_ms, "lost")
        elif within_ms is not None:
            self._leases.lose(device, now_ms, within_ms)
        elif not lost:
            self.end_device(device, now_ms)
        elif session is not None:
            self._leases.lose(device, now_ms)

    def lease_ended(self, session: Session, ref: int) -> None:
        """The lease of a device has ended that the session held under this ref: the device is gone."""
        self._holders.tell(session, ref, "ended")

    def end_device(self, device: Device, now_ms: int) -> None:
        """The device says bye, or its service does so for it."""
        self._end_device(device, now_ms, "bye")

    def _end_device(self, device: Device, now_ms: int, reason: str) -> None:
        self._leases.end(device, now_ms, reason)
        self._parts.end_devices([device], now_ms)
        if device.priority < 0:
            # It never stood for its user: a tool that looked in. Remembering it would push out real ones.
            self._devices.forget(device)

    def end_again(self, session: Session, now_ms: int) -> None:
        """An ended session was answered a question, by which it may have begun to watch something."""
        self._end(session, now_ms)

    def _end(self, session: Session, now_ms: int) -> None:
        """Forget what the session watches and is owed. Every session ends by this. Idempotent."""
        session.ended = True
        self._parts.end_session(session, now_ms)
        self._outboxes.end(session)
        session.device = None
        self._releases.add(session, now_ms)

    # --- the token --------------------------------------------------------------------------------------------

    def renew(self, now_ms: int, session: Session, expires_ms: int, rights: Rights | None, issued_ms: int = 0) -> None:
        """The session has another token: it ends at this moment, sooner or later than the one before (0 = never), and
        its rights hold from now on (protocol.md, 13.38). Devices that it may not act for any longer are let go of as if
        their connections were lost. `issued_ms`: when the token says that it was made. O(1), and O(devices held) if it
        may act for fewer."""
        session.expires_ms, session.issued_ms = expires_ms, issued_ms
        if rights != session.rights:
            self._take_rights(now_ms, session, rights)
        if session.device is not None:
            self._leases.rearm(session.device)
        else:
            self._session_leases.rearm(session)

    def _take_rights(self, now_ms: int, session: Session, rights: Rights | None) -> None:
        """Change the rights of a session, and bring up to date what depends on them. Nothing else changes them."""
        session.rights = rights
        self._parts.rights_changed(session, now_ms)
        if rights is None or not session.refs:
            return
        for device in list(session.refs.values()):
            if rights.only_read or not rights.acts_for(device.user.name):
                self.release(now_ms, device, lost=True)

    # --- signs of life ----------------------------------------------------------------------------------------

    def beats(self, now_ms: int, session: Session, beats: list[int]) -> None:
        """Heartbeats of devices that a service speaks for: ref and idle time, alternating; -1 = no report. It is told
        once of each ref that stands for no device of its (protocol.md, 13.3).

        O(devices), and nothing beside one call for those that are active and stay so.
        """
        refs, heartbeat = session.refs or _NO_REFS, self._leases.heartbeat
        for ref, idle_ms in zip(beats[::2], beats[1::2], strict=False):
            device = refs.get(ref)
            if device is not None:
                heartbeat(device, now_ms, None if idle_ms < 0 else idle_ms)
            elif session.parked is None:
                self._holders.tell(session, ref, "not_held")
