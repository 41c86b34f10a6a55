"""One turn of the server: what happens, in which order, and why in that order.

Inputs have been applied as they arrived. This is a plain function of its arguments and imports no event loop, so
that a simulator can run the very same turn on a clock, a network and a disk of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.engine import Engine
from presenced.core.model import Session, Sink
from presenced.core.outboxes import Broadcast, Outboxes
from presenced.core.replies import refuse
from presenced.limits import READ_ONLY_RETRY_MS
from presenced.server.fact_log import Log
from presenced.wire.codec import encode
from presenced.wire.messages import Done

READ_ONLY = (
    "the disk became full, or was gone, while this was being saved: it shows, a restart may forget it; repeat it"
)


def run_turn(engine: Engine, log: Log, now_ms: int, *, stopping: bool = False) -> int | None:
    """Run one turn; gives when the next is needed if nothing arrives (None = never).

    While `stopping` no time passes: links are being closed, and nobody is to be announced as gone for that.
    """
    ledger, outboxes = engine.ledger, engine.outboxes

    # 1. Time, after the inputs: a heartbeat that lay in a socket buffer counts before its deadline is looked at.
    next_ms = engine.next_ms
    if next_ms is not None and now_ms >= next_ms and not stopping:
        engine.tick(now_ms)

    # 2. Records, once per user, after everything that may change them.
    engine.settle(now_ms)

    # 3. Facts to the log before any reply that tells of them.
    acks, engine.acks = engine.acks, []
    facts = ledger.take_facts()
    if facts or acks:
        log.append(facts, acks)

    # 4. Acknowledgements that have become due; pushes do not wait for them.
    for session, request_id, reply in log.take_durable():
        outboxes.reply(session, reply or encode(Done(request_id, ledger.version)))
        _answered(engine, session)
    for session, request_id, _ in log.take_refused():
        refuse(engine, session, request_id, "read_only", READ_ONLY, READ_ONLY_RETRY_MS)
        _answered(engine, session)
    engine.read_only = log.refusal

    # 5. One write per link, whatever has gathered for it.
    for broadcast in (outboxes.take_broadcast(), outboxes.take_slice()):
        if broadcast is not None:
            write_broadcast(outboxes, broadcast)
    outboxes.bytes_out += write_all(outboxes.take_dirty())

    # 6. Goodbyes last, so that what was said before them is read before them.
    closing, engine.closing = engine.closing, []
    for session, code in closing:
        session.edge.end(code)

    return None if stopping else engine.next_ms


def _answered(engine: Engine, session: Session) -> None:
    session.unanswered -= 1
    if session.ended and not session.unanswered:
        # Its link waits with its end for nothing else.
        engine.closing.append((session, ""))


def write_broadcast(outboxes: Outboxes, broadcast: Broadcast) -> None:
    """Write one frame to all watchers of a user, straight from the set of them. O(watchers)."""
    user, watchers, data = broadcast
    # A copy: the sending of one may end up anywhere, and the set must not change under the loop.
    sinks: list[Sink] = list(watchers.values())
    late = 0
    # Sessions are looked at only if one of them may not be written to now: each is two objects more to touch.
    if outboxes.slow or any(session in watchers for session in outboxes.dirty):
        sinks.clear()
        for session, sink in watchers.items():
            if session.held is not None:
                session.held[user] = None
            elif session.pending:
                # A reply that came after the change, in the same turn.
                session.pending.insert(0, data)
                late += 1
            else:
                sinks.append(sink)
    if sinks:
        _send_all(outboxes, sinks, data)
    outboxes.deliveries += len(sinks) + late
    outboxes.bytes_out += len(sinks) * len(data)


def _send_all(outboxes: Outboxes, sinks: list[Sink], data: bytes) -> None:
    """Write to each class of sinks with one call. Sorting costs a hundredth of a write for each, and is not done while
    there is one class. O(sinks)."""
    if len(outboxes.sink_kinds) == 1:
        sinks[0].send_all(sinks, data)
        return
    by_kind: dict[type[Sink], list[Sink]] = {}
    for sink in sinks:
        by_kind.setdefault(type(sink), []).append(sink)
    for kind, some in by_kind.items():
        kind.send_all(some, data)


def write_all(sessions: Sequence[Session]) -> int:
    """Write what is pending; gives how many bytes. Links with equal pending frames share one joined buffer.

    Comparing with the previous link's frames is a pointer comparison each and finds nearly all equal runs, because
    the watchers of the same users come in the same order; a dict keyed by the frames found no more and cost a
    tuple and its hash per link.
    """
    before: list[bytes] = []
    data = b""
    size = written = 0
    for session in sessions:
        pending = session.pending
        if not pending:
            continue
        if pending != before:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            before = pending.copy()
            size = len(data)
        # Emptied and kept: a new list per write is one more object for the collector to track, 2 % of a delivery.
        pending.clear()
        session.reply_bytes = 0
        session.sink.send(data)
        written += size
    return written
