"""The sentences that commands are answered with, and the data behind each. Nothing is changed in here.

An answer is made when the records are up to date, and tells the user what others see from then on.
"""

from __future__ import annotations

from typing import NamedTuple

from presenced.chat_commands.grammar import Argument
from presenced.core.engine import Engine
from presenced.core.faces import HIDDEN
from presenced.core.model import Claim, Device, Session, User
from presenced.core.parts.own_state import device_info
from presenced.core.precedence import MANUAL, SCHEDULED, is_hidden
from presenced.durations import format_duration
from presenced.limits import COMMAND_LISTED_MAX
from presenced.wire.messages import ActivityInfo, DeviceInfo, Record


class ChatCommand(NamedTuple):
    """A command that somebody gives: who, on which device if one is known, when, and the words after the verb."""

    engine: Engine
    session: Session
    user: User
    device: Device | None
    now_ms: int
    verb: str
    argument: Argument

    def may_tell(self, other: User) -> bool:
        """Whether the link that asks may be told of somebody whom the user sees: a service may see but some."""
        session = self.session
        return session.viewer is not None or self.engine.sight.face(session, other) != HIDDEN


class ChatAnswer(NamedTuple):
    """A sentence to show, and the data that it is about."""

    text: str
    records: list[Record] = []
    devices: list[DeviceInfo] = []
    activities: list[ActivityInfo] = []


def show(command: ChatCommand) -> ChatAnswer:
    """How the user is seen, and for how long what they set still holds."""
    record, claim = command.user.record, command.user.claim
    text = f"You are {describe(record)}"
    if claim is not None and claim.until_ms:
        left = _left(command, claim)
        text += f", {left}" if record.status == claim.status else f"; {claim.status} holds {left}"
    return _with_record(command, text)


def status(command: ChatCommand) -> ChatAnswer:
    """What a status that was set comes to: something stronger may cover it, or no device may be there to show it."""
    record, claim = command.user.record, command.user.claim
    for_ms = command.argument.for_ms
    for_how_long = f", for {format_duration(for_ms)}" if for_ms else ""
    if claim is not None and claim.name != MANUAL:
        text = f"You have set {command.verb}{for_how_long}, but {_standing(command, claim)}"
    elif command.verb == "offline":
        text = f"You appear offline to everybody{for_how_long}"
    elif record.status == "offline":
        text = f"You will show as {command.verb} as soon as a device of yours is online{for_how_long}"
    elif record.status != command.verb:
        seen = describe(record)
        text = f"You have set {command.verb}{for_how_long}; while no device of yours is in use you are {seen}"
    else:
        text = f"You are now {describe(record)}{for_how_long}"
    return _with_record(command, text)


def auto(command: ChatCommand) -> ChatAnswer:
    """What decides once the status that was set has ended."""
    claim = command.user.claim
    if claim is None:
        return _with_record(command, f"Back to what your devices say: you are {describe(command.user.record)}")
    return _with_record(command, f"What you set is ended, but {_standing(command, claim)}")


def text(command: ChatCommand) -> ChatAnswer:
    """The text that was set, for how long, and whether it waits because the user appears offline (section 5.5)."""
    for_ms = command.argument.for_ms
    for_how_long = f" for {format_duration(for_ms)}" if for_ms else ""
    hidden = "; others see it once you do not appear offline" if is_hidden(command.user) else ""
    return _with_record(command, f'Your status is "{command.argument.words}"{for_how_long}{hidden}')


def clear(command: ChatCommand) -> ChatAnswer:
    """How the user is seen without a status and a text of their own."""
    claim = command.user.claim
    seen = f": you are {describe(command.user.record)}" if claim is None else f", but {_standing(command, claim)}"
    return _with_record(command, f"Cleared{seen}")


def who(command: ChatCommand) -> ChatAnswer:
    """Who is online, as the user sees it: the first by name, and how many in all."""
    sight = command.engine.sight
    # On a link of the user's own its token may open more to see.
    session = command.session if command.session.viewer is command.user else None
    page = command.engine.company.page_for(command.user, "", COMMAND_LISTED_MAX, session)
    users, total = page.users, page.total
    if session is None and not sight.sees_all(command.session):
        # Of all whom the user sees only those whom the service sees as well; there are few such services.
        everybody = command.engine.company.page_for(command.user, "", len(command.engine.publisher.online) + 1)
        seen = [(user, kind) for user, kind in everybody.users if command.may_tell(user)]
        users, total = seen[:COMMAND_LISTED_MAX], len(seen)
    listed = ", ".join(f"{user.name} ({sight.present(user, kind).status})" for user, kind in users)
    sentence = f"{total} online: {listed}" + (", ..." if total > len(users) else "") if total else "Nobody is online"
    return ChatAnswer(sentence, [sight.record(user, kind) for user, kind in users])


def activity(command: ChatCommand) -> ChatAnswer:
    """What the user did last, the newest first."""
    wall_ms = command.now_ms + command.engine.clock.offset_ms
    found = command.engine.activities.recent(command.now_ms, command.user, COMMAND_LISTED_MAX, 0)
    if not found:
        return ChatAnswer("No activity of yours is recorded")
    listed = "; ".join(
        f"{done.activity}{f' in {done.channel}' if done.channel else ''} {_rounded(max(0, wall_ms - done.at_ms))} ago"
        for done in found
    )
    return ChatAnswer(f"Your last activity: {listed}", activities=found)


def devices(command: ChatCommand) -> ChatAnswer:
    """The user's devices, and where each stands."""
    offset_ms = command.engine.clock.offset_ms
    infos = [device_info(device, offset_ms) for device in command.user.devices.values()]
    if not infos:
        return ChatAnswer("No device of yours is known")
    listed = "; ".join(
        f"{info.name or info.device} {info.state}, {info.status}{', primary' if info.primary else ''}" for info in infos
    )
    return ChatAnswer(f"{len(infos)} devices: {listed}" if len(infos) > 1 else f"1 device: {listed}", devices=infos)


def sync(command: ChatCommand) -> ChatAnswer:
    """To how many links the user's own state was sent again, and how many of them had the newest already."""
    state = command.engine.own_states.state(0, command.user)
    return ChatAnswer(f"Sent to your devices again; {state.synced} of {state.total} were up to date")


def describe(record: Record) -> str:
    """A record in words: `dnd: in a meeting`."""
    line = f"{record.emoji} {record.text}".strip()
    return f"{record.status}: {line}" if line else record.status


def _with_record(command: ChatCommand, sentence: str) -> ChatAnswer:
    record = command.engine.publisher.record_of(command.user)
    return ChatAnswer(sentence, [record] if command.may_tell(command.user) else [])


def _standing(command: ChatCommand, claim: Claim) -> str:
    """What the claim that counts makes of the user, and until when."""
    record = command.user.record
    until = _left(command, claim) if claim.until_ms else "until it is ended"
    what = "your schedule" if claim.name == SCHEDULED else f'the {claim.source} claim "{claim.name}"'
    seen = describe(record) if record.status == claim.status else f"{record.status}, with no device online"
    return f"{what} says {claim.status} {until}: you are {seen}"


def _left(command: ChatCommand, claim: Claim) -> str:
    return f"for {_rounded(claim.until_ms - command.now_ms - command.engine.clock.offset_ms)} more"


def _rounded(duration_ms: int) -> str:
    """A duration in the unit in which a person would say it."""
    for unit_ms, word in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if duration_ms >= unit_ms:
            return f"{duration_ms // unit_ms} {word}"
    return f"{duration_ms // 1000} s"
