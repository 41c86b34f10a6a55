"""One turn of the server: what happens, in which order, and why in that order.

Inputs were applied as they arrived. The turn is a plain function of its arguments and imports no event loop, so that a
simulator can run the same turn on a clock, a network and a disk of its own.
"""

from __future__ import annotations

from presenced.core.engine import Engine
from presenced.core.replies import refuse
from presenced.limits import READ_ONLY_RETRY_MS
from presenced.server.fact_log import Ack, Log
from presenced.wire.codec import encode
from presenced.wire.messages import Done

READ_ONLY = (
    "the disk became full, or went missing, before this was saved: watchers see it already, but a restart may lose it; "
    "send it again"
)
LATE = (
    "the engine is away for long: this holds here, and is saved, or told to the other nodes, once it is back; "
    "send it again to know that it was"
)


def run_turn(engine: Engine, log: Log, now_ms: int, *, stopping: bool = False) -> int | None:
    """Run one turn, and return when the next is needed if nothing arrives (None = never). O(what is due or changed).

    While `stopping` no time passes: links are being closed, and no user is to be announced as gone for that.
    """
    ledger, outboxes, obligations = engine.ledger, engine.outboxes, engine.obligations

    # 1. Time, after the inputs: a heartbeat that lay in a socket buffer counts before its deadline is looked at.
    next_ms = engine.next_ms
    if next_ms is not None and now_ms >= next_ms and not stopping:
        engine.tick(now_ms)

    # 2. Records, once per user, after everything that may change them.
    engine.settle(now_ms)

    # 3. Facts go to the log before any reply that tells of them.
    acks: list[Ack] = list(obligations.take_acks()) if obligations.acks else []
    facts = ledger.take_facts()
    if engine.events.followers and log.refusal != "read_only" and (mark := engine.events.take_mark()):
        # Behind the replies of this turn: who asked to follow is told of the cursor before the events.
        acks.append((None, mark, b""))
    if facts or acks:
        log.append(facts, acks)
        for session, _, _ in acks:
            if session is not None:
                outboxes.corks.put(session, now_ms)

    if engine.erasures.pending:
        # What is told of it is sent in the next turn, which follows at once.
        engine.erasures.tell(log.erased_until, now_ms)

    # 4. Acknowledgements that have come due. What the others are told does not wait for them (protocol.md, 6.5).
    _answer(engine, log, now_ms)
    if log.refusal != engine.read_only:
        engine.set_read_only(log.refusal)

    # 5. One write per link, however many frames it is to be sent, and with the answer that it is about to be given.
    if stopping:
        outboxes.corks.clear()
    outboxes.write(now_ms, is_busy=bool(facts or acks))

    # 6. Goodbyes last, so that what was said before them is read before them.
    if obligations.closing:
        for session, code in obligations.take_closing():
            session.edge.end(code)

    if obligations.asking:
        # Answers that would have been too much for one turn.
        return 0
    if stopping:
        return None
    # Of an erasure an event may have come about since the facts were taken.
    return 0 if ledger.has_facts else engine.next_ms


def _answer(engine: Engine, log: Log, now_ms: int) -> None:
    """Answer what the log has saved by now, and what it could not save. O(answers)."""
    outboxes, obligations = engine.outboxes, engine.obligations
    for session, request_id, reply in log.take_durable():
        if session is None:
            engine.events.release(request_id)
            continue
        outboxes.reply(session, reply or encode(Done(request_id, engine.ledger.version)))
        outboxes.corks.take(session, now_ms)
        if session in engine.events.unanswered:
            engine.events.answered(session, reply)
        obligations.answered(session)
    for acks, code, sentence in ((log.take_refused(), "read_only", READ_ONLY), (log.take_late(), "log_busy", LATE)):
        for session, request_id, reply in acks:
            if session is None:
                engine.events.refuse()
                continue
            outboxes.corks.take(session, now_ms)
            if request_id:
                refuse(engine, session, request_id, code, sentence, READ_ONLY_RETRY_MS)
                if session in engine.events.unanswered:
                    engine.events.refused(session, reply, now_ms)
            else:
                outboxes.reply(session, reply)
                if session in engine.events.unanswered:
                    engine.events.answered(session, reply)
            obligations.answered(session)
