"""Replies that several kinds of requests share (protocol.md, section 4.2), and how a sentence quotes what was sent."""

from __future__ import annotations

from typing import Final

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.limits import MESSAGE_CHARS_MAX, QUOTED_CHARS_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import Done, Error, Record, Records, ServerMessage


def quoted(value: str) -> str:
    """What somebody sent, to be put into a sentence: in quotes, escaped, and cut after 40 characters (section 8).

    An escape takes up to ten times the bytes of the character that it stands for, and a client that sends 64 KiB must
    not get more than that back.
    """
    return repr(value) if len(value) <= QUOTED_CHARS_MAX else f"{value[:QUOTED_CHARS_MAX]!r}..."


def refuse(engine: Engine, session: Session, request_id: int, code: str, text: str, retry_ms: int = 0) -> None:
    """Answer a request with an error frame. The id is 0 if the request has none, or if it could not be read."""
    engine.note_refusal(code)
    reply(engine, session, Error(request_id, code, text[:MESSAGE_CHARS_MAX], retry_ms))


def reply(engine: Engine, session: Session, message: ServerMessage) -> None:
    """Answer this session alone. The answer stays in order with what the session is pushed."""
    engine.outboxes.reply(session, encode(message))


def done(engine: Engine, session: Session, request_id: int) -> None:
    """Say that a request was applied that leaves nothing to save."""
    reply(engine, session, Done(request_id, engine.ledger.version))


def acknowledge(engine: Engine, session: Session, request_id: int, answer: bytes = b"") -> None:
    """Say that a request was applied, once what it changed is as durable as promised. The reply is `answer`, or Done if
    that is empty."""
    engine.obligations.acknowledge(session, request_id, answer)


NOTHING_VALID: Final[list[int]] = []


def reply_records(
    engine: Engine, session: Session, request_id: int, records: list[Record], valid_until_ms: list[int] = NOTHING_VALID
) -> None:
    """Answer with these records, which are those of the present moment, and hold until these moments."""
    ledger = engine.ledger
    reply(engine, session, Records(request_id, ledger.epoch, ledger.version, records, valid_until_ms))
