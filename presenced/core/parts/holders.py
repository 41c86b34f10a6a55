"""Who speaks for a device: who may have it back, whose it was last, and who is told that it is no longer theirs.

A client is known again by the number that it says on all of its links (`Session.instance`), because a server often
learns last that a link is dead: the client that comes back must not be refused its own devices for that.
"""

from __future__ import annotations

from presenced.core.model import CONNECTED, GONE, Device, Session
from presenced.core.obligations import Obligations
from presenced.core.outboxes import Outboxes
from presenced.errors import RequestError
from presenced.limits import TOLD_REFS_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import Taken, TakenWhy


class Holders:
    """Answers whose a device is, and tells services of what they hold no more."""

    def __init__(self, outboxes: Outboxes, obligations: Obligations) -> None:
        self._outboxes = outboxes
        self._obligations = obligations

    def refuse_if_held(self, device: Device, session: Session) -> None:
        """Raise `RequestError` (`device_held`) if another client than the session's has the device: it holds it, or
        held it last and the grace is not over. O(1)."""
        if device.state == GONE or device.session is session:
            return
        # A device in grace whose holder has no number is free: nobody could ever have it back otherwise.
        if device.holder == session.instance if device.holder else _is_free(device):
            return
        raise RequestError("device_held", f"another client has {device.user.name}/{device.id} by now")

    def is_last(self, device: Device, session: Session) -> bool:
        """Whether the session's client holds the device as a service, or did last and the grace is not over. O(1)."""
        if device.state == GONE or (device.state == CONNECTED and not device.ref):
            return False
        return device.session is session or (session.instance != 0 and device.holder == session.instance)

    def holds(self, session: Session, ref: int) -> None:
        """The session holds a device under this ref from now on."""
        if session.taken_refs:
            session.taken_refs.pop(ref, None)

    def tell(self, session: Session, ref: int, why: TakenWhy) -> None:
        """The session holds nothing under this ref: say so, once; if its link is lost, when its client returns.
        O(1)."""
        if session.ended:
            if session.parked is not None:
                session.parked.keep_taken(ref, why)
            return
        if not self.note_told(session, ref):
            return
        data = encode(Taken(ref, why))
        if session.unanswered:
            # Behind the replies that wait for the disk: that of an attach which came before must not come after this.
            self._obligations.tell_behind(session, data)
        else:
            self._outboxes.reply(session, data)

    def note_told(self, session: Session, ref: int) -> bool:
        """The session is told that it holds nothing under this ref; whether it was not told so before. O(1)."""
        taken = session.taken_refs
        if taken is None:
            taken = session.taken_refs = {}
        elif ref in taken:
            return False
        elif len(taken) >= TOLD_REFS_MAX:
            # The oldest may be told a second time, which does no harm.
            del taken[next(iter(taken))]
        taken[ref] = None
        return True


def _is_free(device: Device) -> bool:
    # Also if the link of its holder is lost, and the device is still to be let go of.
    return device.state != CONNECTED or (device.session is not None and device.session.ended)
