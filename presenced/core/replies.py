"""Replies that several requests give, and what they repeat of a request."""

from __future__ import annotations

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.limits import MESSAGE_CHARS_MAX, QUOTED_CHARS_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import Done, Error, Record, Records, ServerMessage


def quoted(value: str) -> str:
    """What somebody sent, for a sentence: in quotes, escaped, and cut where it is long. An escape takes ten times the
    bytes of what it stands for, and whoever sends 64 KiB is to get back less than that."""
    return repr(value) if len(value) <= QUOTED_CHARS_MAX else f"{value[:QUOTED_CHARS_MAX]!r}..."


def refuse(engine: Engine, session: Session, request_id: int, code: str, text: str, retry_ms: int = 0) -> None:
    """Answer a request (0 = unknown which) with an error frame."""
    engine.note_refusal(code)
    reply(engine, session, Error(request_id, code, text[:MESSAGE_CHARS_MAX], retry_ms))


def reply(engine: Engine, session: Session, message: ServerMessage) -> None:
    """Answer this session alone, in order with what it is pushed."""
    engine.outboxes.reply(session, encode(message))


def done(engine: Engine, session: Session, request_id: int) -> None:
    """Say that a request that leaves nothing to keep was applied."""
    reply(engine, session, Done(request_id, engine.ledger.version))


def acknowledge(engine: Engine, session: Session, request_id: int, answer: bytes = b"") -> None:
    """Say that a request was applied, once what it changed is as durable as promised: with `answer`, else done."""
    session.unanswered += 1
    engine.acks.append((session, request_id, answer))


def reply_records(engine: Engine, session: Session, request_id: int, records: list[Record]) -> None:
    """Answer with records as of now."""
    ledger = engine.ledger
    reply(engine, session, Records(request_id, ledger.epoch, ledger.version, records))
