"""What people type into a chat: `/presence away`, `/presence status "in a meeting" for 30m`, and so on.

A command becomes the same calls that the requests make, and a reply with both a sentence to show and the data behind
it, so that a chat bot passes text through and needs no code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, get_args

from presenced.address import check_text
from presenced.core.engine import Engine
from presenced.core.model import Claim, Device, Session, User
from presenced.core.parts.claims import is_hidden
from presenced.core.parts.own_state import device_info
from presenced.core.replies import acknowledge, quoted, reply
from presenced.core.spoken import split_for, text_and_span
from presenced.core.standing import MANUAL, SCHEDULED
from presenced.core.targets import device_of, require_durability, user_of
from presenced.durations import format_duration
from presenced.errors import AddressError, RequestError
from presenced.limits import COMMAND_BYTES_MAX, COMMAND_LISTED_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import ActivityInfo, Command, CommandReply, DeviceInfo, Record, StatusRequest

HELP = (
    "/presence: your status · who: who is online · activity: what you did last · online, chat, away, xa, dnd, "
    'offline (hides you), each perhaps "for 30m" · auto: back to what your devices say · status "in a meeting" '
    "for 30m · clear: no status and no text · devices · sync · help"
)

_SLASH = re.compile(r"\A\s*/?presence\b\s*", re.IGNORECASE)
_FOR_ALONE = re.compile(r"\Afor(?:\s+[0-9].*)?\Z", re.IGNORECASE)


class _Call(NamedTuple):
    engine: Engine
    user: User
    device: Device | None
    now_ms: int
    rest: str


class _Answer(NamedTuple):
    text: str
    records: list[Record] = []
    devices: list[DeviceInfo] = []
    activities: list[ActivityInfo] = []


_Answering = Generator[None, None, _Answer]
"""Does what is asked, yields once, and answers when records are up to date."""


def run(
    engine: Engine, user: User, device: Device | None, now_ms: int, request_id: int, text: str
) -> Generator[None, None, CommandReply]:
    """Do what `text` says for the user; what cannot be done is said in the reply, with `ok` false. Yields when it is
    done, if the reply tells records: go on once they are made anew."""
    rest = _SLASH.sub("", text, count=1).strip()
    verb, rest = (*rest.split(None, 1), "", "")[:2]
    verb = verb.lower()
    take = _VERBS.get(verb)
    if take is None:
        answer = f"I do not know {quoted(verb)}. Try: {', '.join(name for name in _VERBS if name)}"
        return CommandReply(request_id, False, answer, "help", [], [], [])
    if rest and take in _ALONE:
        # More was meant than the command says: to do it all the same would clear or tell what nobody asked for.
        answer = f"{verb} takes nothing after it, and I do not understand {quoted(rest.split()[0])}; write {verb} alone"
        return CommandReply(request_id, False, answer, verb, [], [], [])
    try:
        # A status is its own argument.
        said = yield from take(_Call(engine, user, device, now_ms, f"{verb} {rest}" if take is _status else rest))
    except (RequestError, AddressError) as error:
        return CommandReply(request_id, False, error.message, verb, [], [], [])
    except ValueError as error:
        return CommandReply(request_id, False, str(error), verb, [], [], [])
    return CommandReply(request_id, True, said.text, verb or "show", said.records, said.devices, said.activities)


def _show(call: _Call) -> _Answering:
    yield
    record = call.user.record
    text = f"You are {describe(record)}"
    claim = call.user.claim
    if claim is not None and claim.until_ms:
        left = _left(call, claim)
        text += f", {left}" if record.status == claim.status else f"; {claim.status} holds {left}"
    return _Answer(text, [call.engine.publisher.record_of(call.user)])


def _status(call: _Call) -> _Answering:
    """The verb is the status itself, perhaps with `for DURATION`."""
    rest, for_ms = split_for(call.rest)
    if rest.strip().lower() not in _STATUSES:
        verb, extra = rest.split()[:2]
        if verb.lower() == "auto":
            raise ValueError(f"auto takes nothing after it, and I do not understand {quoted(extra)}; write auto alone")
        raise ValueError(f"{verb} takes nothing but 'for 30m'; a text goes with: status \"...\"")
    if for_ms and rest.strip().lower() == "auto":
        raise ValueError("auto takes no time: it ends what you set, and your devices decide again")
    status: StatusRequest = rest.strip().lower()  # type: ignore[assignment]  # one of them, as was just checked
    _set(call, status=status, for_ms=for_ms)
    yield
    record, claim = call.user.record, call.user.claim
    if status == "auto" and claim is None:
        text = f"Back to what your devices say: you are {describe(record)}"
    elif status == "auto":
        text = f"What you set is ended, but {_standing(call)}"
    else:
        for_how_long = f", for {format_duration(for_ms)}" if for_ms else ""
        if claim is not None and claim.name != MANUAL:
            text = f"You have set {status}{for_how_long}, but {_standing(call)}"
        elif status == "offline":
            text = f"You appear offline to everybody{for_how_long}"
        elif record.status == "offline":
            text = f"You will show as {status} as soon as a device of yours is online{for_how_long}"
        elif record.status != status:
            text = f"You have set {status}{for_how_long}; while no device of yours is in use you are {describe(record)}"
        else:
            text = f"You are now {describe(record)}{for_how_long}"
    return _Answer(text, [call.engine.publisher.record_of(call.user)])


def _standing(call: _Call) -> str:
    """What the claim that counts makes of the user, and until when. There is one."""
    claim, record = call.user.claim, call.user.record
    assert claim is not None
    until = _left(call, claim) if claim.until_ms else "until it is ended"
    what = "your schedule" if claim.name == SCHEDULED else f'the {claim.source} claim "{claim.name}"'
    seen = describe(record) if record.status == claim.status else f"{record.status}, with no device online"
    return f"{what} says {claim.status} {until}: you are {seen}"


def _left(call: _Call, claim: Claim) -> str:
    return f"for {_rounded(claim.until_ms - call.now_ms - call.engine.clock.offset_ms)} more"


def _set_text(call: _Call) -> _Answering:
    text, for_ms = text_and_span(call.rest)
    if not text or (_FOR_ALONE.match(text) and text == call.rest.strip()):
        raise ValueError('say what your status is: status "in a meeting" for 30m, or clear')
    check_text(text)
    _set(call, text=text, for_ms=for_ms)
    yield
    for_how_long = f" for {format_duration(for_ms)}" if for_ms else ""
    hidden = "; others see it once you do not appear offline" if is_hidden(call.user) else ""
    return _Answer(f'Your status is "{text}"{for_how_long}{hidden}', [call.engine.publisher.record_of(call.user)])


def _set(
    call: _Call,
    *,
    status: StatusRequest | None = None,
    text: str | None = None,
    emoji: str | None = None,
    for_ms: int = 0,
) -> None:
    """Set it. The answer tells the record, and so waits for it."""
    require_durability(call.engine)
    call.engine.statements.set_status(
        call.now_ms, call.user, call.device, status=status, text=text, emoji=emoji, for_ms=for_ms
    )


def _clear(call: _Call) -> _Answering:
    _set(call, status="auto", text="", emoji="")
    yield
    seen = f": you are {describe(call.user.record)}" if call.user.claim is None else f", but {_standing(call)}"
    return _Answer(f"Cleared{seen}", [call.engine.publisher.record_of(call.user)])


def _who(call: _Call) -> _Answering:
    yield
    publisher = call.engine.publisher
    names, following = publisher.online.page("", COMMAND_LISTED_MAX)
    users = [call.engine.users[name] for name in names]
    listed = ", ".join(f"{user.name} ({user.record.status})" for user in users)
    total = len(publisher.online)
    text = "Nobody is online" if not total else f"{total} online: {listed}" + (", ..." if following else "")
    return _Answer(text, [publisher.record_of(user) for user in users])


def _activity(call: _Call) -> _Answering:
    yield
    wall_ms = call.now_ms + call.engine.clock.offset_ms
    found = call.engine.statements.activities(call.now_ms, call.user, COMMAND_LISTED_MAX, 0)
    if not found:
        return _Answer("No activity of yours is recorded")
    listed = "; ".join(
        f"{done.activity}{f' in {done.channel}' if done.channel else ''} {_rounded(max(0, wall_ms - done.at_ms))} ago"
        for done in found
    )
    return _Answer(f"Your last activity: {listed}", activities=found)


def _devices(call: _Call) -> _Answering:
    yield
    offset_ms = call.engine.clock.offset_ms
    infos = [device_info(device, offset_ms) for device in call.user.devices.values()]
    if not infos:
        return _Answer("No device of yours is known")
    listed = "; ".join(
        f"{info.name or info.device} {info.state}, {info.status}{', primary' if info.primary else ''}" for info in infos
    )
    return _Answer(f"{len(infos)} devices: {listed}" if len(infos) > 1 else f"1 device: {listed}", devices=infos)


def _sync(call: _Call) -> _Answering:
    call.engine.own_states.push_again(call.user)
    yield
    state = call.engine.own_states.state(0, call.user)
    return _Answer(f"Sent to your devices again; {state.synced} of {state.total} were up to date")


def _help(call: _Call) -> _Answering:
    yield
    return _Answer(HELP)


_STATUSES = get_args(StatusRequest)

_VERBS: dict[str, Callable[[_Call], _Answering]] = {
    "": _show,
    "who": _who,
    "activity": _activity,
    **dict.fromkeys(_STATUSES, _status),
    "status": _set_text,
    "clear": _clear,
    "devices": _devices,
    "sync": _sync,
    "help": _help,
}


_ALONE = (_who, _activity, _clear, _devices, _sync, _help)
"""What takes nothing after it."""

_CHANGING = frozenset((*_STATUSES, "status", "clear"))
"""What is saved, and acknowledged once it is."""


def describe(record: Record) -> str:
    """A record in words: `dnd: in a meeting`."""
    text = f"{record.emoji} {record.text}".strip()
    return f"{record.status}: {text}" if text else record.status


def _rounded(duration_ms: int) -> str:
    """In the unit in which a person would say it."""
    for unit_ms, word in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if duration_ms >= unit_ms:
            return f"{duration_ms // unit_ms} {word}"
    return f"{duration_ms // 1000} s"


def _command(engine: Engine, session: Session, now_ms: int, message: Command) -> None:
    if len(message.text.encode()) > COMMAND_BYTES_MAX:
        raise RequestError("bad_text", f"the command is longer than {COMMAND_BYTES_MAX} bytes")
    user = user_of(engine, session, message.user)
    device = device_of(engine, session, message.user, message.device)
    answering = run(engine, user, device, now_ms, message.id, message.text)
    if not _go_on(engine, session, answering):
        return
    if engine.publisher.has_dirty or session in engine.asking:
        engine.put_off(session, lambda _: _go_on(engine, session, answering))
    else:
        _go_on(engine, session, answering)


def _go_on(engine: Engine, session: Session, answering: Generator[None, None, CommandReply]) -> bool:
    """Whether there is more to come; if not, the reply is made."""
    try:
        next(answering)
    except StopIteration as over:
        answer: CommandReply = over.value
    else:
        return True
    if answer.ok and answer.verb in _CHANGING:
        acknowledge(engine, session, answer.id, encode(answer))
    else:
        # Nothing is to be kept, so nothing need wait for the disk.
        reply(engine, session, answer)
    return False


HANDLERS: dict[type, Callable[[Engine, Session, int, Any], None]] = {
    Command: _command,
}
