"""What each step of a dialogue with a client does, and when it has failed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from presenced.conformance import dialogue_files as steps
from presenced.conformance.adapter_process import AdapterDied, AdapterProcess, checked_error
from presenced.conformance.client_play import PATIENCE_S, ClientPlay, ServedLink
from presenced.conformance.link_ends import BadBytes, TransportName
from presenced.conformance.message_types import name_of
from presenced.conformance.outcome import Outcome, StepFailed
from presenced.conformance.patterns import made, message_mismatch, mismatch

STRICT_EVENTS: Final = ("change", "member", "taken")
"""Of these, none comes that the script does not tell of."""

_SUBJECTS: Final = ("user", "channel", "device")
"""What an event is about: those of one kind about another subject come in any order."""


async def play(
    dialogue: steps.ClientDialogue, adapter: AdapterProcess, transport: TransportName, patience_s: float = PATIENCE_S
) -> Outcome:
    """Play one dialogue; each step waits for up to `patience_s`. It never raises for what the client does."""
    name, section = f"{dialogue.name} [{transport}]", dialogue.section
    missing = {step.command for step in dialogue.steps if isinstance(step, steps.DoStep)} - adapter.commands
    if missing:
        why = f"the adapter does not know {', '.join(sorted(missing))}"
        return Outcome(name, section, "skipped", dialogue.about, came=why)
    state, at = ClientPlay(dialogue, adapter, transport, patience_s), ""
    try:
        await state.start()
        for number, step in enumerate(dialogue.steps, 1):
            at = f"{number}: {json.dumps(msgspec.to_builtins(step), ensure_ascii=False)}"
            await _TAKE[type(step)](state, step)
        at = "behind the last"
        _check_end(state)
    except StepFailed as failure:
        said = tuple(state.said)
        return Outcome(name, section, "failed", dialogue.about, at, failure.expected, failure.came, said)
    except AdapterDied as error:
        return Outcome(
            name, section, "failed", dialogue.about, at, "an adapter that runs", str(error), tuple(state.said)
        )
    finally:
        await state.stop()
    return Outcome(name, section, "passed", dialogue.about)


def _check_end(play: ClientPlay) -> None:
    if play.fault:
        raise StepFailed("nothing that no client may do", play.fault)
    for event in play.events:
        if event.get("event") in STRICT_EVENTS:
            raise StepFailed("no other event", f"the application was also told {_told(event)}")
    for link in play.links[: play.opened]:
        for message in link.by_hand:
            raise StepFailed("no other message that the script answers", f"the client also sent {message}")


def _told(event: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in event.items() if key != "client"}, ensure_ascii=False)


# --- messages -------------------------------------------------------------------------------------------------


async def _send(play: ClientPlay, step: steps.SendStep) -> None:
    message = made(step.message, play.bound)
    if step.pieces > 1:
        try:
            await play.say_in_pieces(play.link, message, step.pieces)
        except BadBytes as error:
            raise StepFailed("a message in pieces that is taken", str(error)) from error
    else:
        play.say(play.link, message)


async def _expect(play: ClientPlay, step: steps.ExpectStep) -> None:
    link = play.link
    came = await play.until(
        lambda: link.next_by_hand() or (() if link.has_ended else None),
        f"the message {step.message}",
        lambda: "nothing came",
    )
    if not came:
        raise StepFailed(f"the message {step.message}", "the client closed the link")
    why = message_mismatch(step.message, came, play.bound)
    if why:
        raise StepFailed(f"the message {step.message}", f"{name_of(came)} {came}: {why}")


async def _send_garbage(play: ClientPlay, step: steps.SendGarbageStep) -> None:
    play.note("client <- (no message)")
    play.link.end.send_garbage()


async def _pass_over(play: ClientPlay, step: steps.PassOverStep) -> None:
    play.hand_over(step.types)


async def _silence(play: ClientPlay, step: steps.SilenceStep) -> None:
    link = play.link
    ends_s = link.sent_s + step.for_ms / 1000

    def check() -> None:
        if link.by_hand and link.came_s < ends_s:
            after_ms = (link.came_s - link.sent_s) * 1000
            raise StepFailed(f"no message for {step.for_ms} ms", f"{link.by_hand[0]} came after {after_ms:.0f} ms")

    await play.pass_time(max(0, int((ends_s - play.loop.time()) * 1000)), check)


async def _sent(play: ClientPlay, step: steps.SentStep) -> None:
    link = play.link
    await play.until(
        lambda: _matching(play, link, step.message),
        f"at some time on this link the message {step.message}",
        lambda: f"on this link came {link.came}",
    )


async def _never_sent(play: ClientPlay, step: steps.NeverSentStep) -> None:
    found = _matching(play, play.link, step.message)
    if found:
        raise StepFailed(f"no message {step.message} on this link", f"the client sent {found}")


def _matching(play: ClientPlay, link: ServedLink, pattern: Any) -> list[Any] | None:
    return next((one for one in link.came if not message_mismatch(pattern, one, play.bound)), None)


async def _watches(play: ClientPlay, step: steps.WatchesStep) -> None:
    model, wanted = play.model, set(step.users)
    await play.until(
        lambda: True if model.link.watched == wanted else None,
        f"a link that watches {step.users}",
        lambda: f"the link watches {sorted(model.link.watched)}",
    )


async def _unanswered(play: ClientPlay, step: steps.UnansweredStep) -> None:
    link = play.link

    def waiting() -> int:
        return sum(name == step.type for name in link.waiting.values())

    def check() -> None:
        if waiting() > step.most:
            raise StepFailed(f"at most {step.most} {step.type} that wait", f"{waiting()} wait")

    await play.until(lambda: waiting() or None, f"a {step.type}", lambda: "none came")
    await play.pass_time(step.for_ms, check)


async def _answer_all(play: ClientPlay, step: steps.AnswerAllStep) -> None:
    for message in play.hand_over([step.type]):
        play.answer(play.link, message)


# --- links ----------------------------------------------------------------------------------------------------


async def _opens(play: ClientPlay, step: steps.OpensStep) -> None:
    await play.until(lambda: play.next_link() or None, "a link from the client", lambda: "no link was opened")
    waited_ms = (play.link.opened_s - play.ended_s) * 1000
    if step.after_ms and waited_ms < step.after_ms:
        raise StepFailed(f"no link before {step.after_ms} ms", f"the client came back after {waited_ms:.0f} ms")


async def _stays_away(play: ClientPlay, step: steps.StaysAwayStep) -> None:
    def check() -> None:
        if len(play.links) > play.opened:
            raise StepFailed(f"no link for {step.for_ms} ms", "the client opened another")

    await play.pass_time(step.for_ms, check)


async def _lose(play: ClientPlay, step: steps.LoseStep) -> None:
    play.note("the link is lost")
    play.over(play.link)
    play.link.end.lose()


async def _hang_up(play: ClientPlay, step: steps.HangUpStep) -> None:
    play.note("the server hangs up")
    play.over(play.link)
    play.link.end.hang_up()


async def _ends(play: ClientPlay, step: steps.EndsStep) -> None:
    link = play.link
    await play.until(
        lambda: link.has_ended or None, "that the client closes the link", lambda: "the link is still open"
    )


# --- the world ------------------------------------------------------------------------------------------------


async def _world(play: ClientPlay, step: steps.WorldStep) -> None:
    for record in step.records:
        told = play.model.change(record)
        for message in told if step.is_told else []:
            play.say(play.link, message)


async def _contact(play: ClientPlay, step: steps.ContactStep) -> None:
    play.model.set_contact(step.contact, is_removed=step.is_removed)


async def _channel(play: ClientPlay, step: steps.ChannelStep) -> None:
    play.model.set_members(step.channel, step.members)


async def _epoch(play: ClientPlay, step: steps.EpochStep) -> None:
    play.model.lose_history(step.records)


# --- the application ------------------------------------------------------------------------------------------


async def _do(play: ClientPlay, step: steps.DoStep) -> None:
    arguments = made(step.parameters, play.bound)
    if step.command in ("connect", "connect_with_checks"):
        scheme, path = ("tcp", "") if play.transport == "tcp" else ("ws", "/ws")
        is_user = play.dialogue.role == "user"
        who = {"user": "alice", "device": "laptop"} if is_user else {"user": "backend", "device": ""}
        arguments = {"url": f"{scheme}://127.0.0.1:{play.port}{path}", "role": play.dialogue.role, **who, **arguments}
    play.call(step.call, step.command, arguments)


async def _returns(play: ClientPlay, step: steps.ReturnsStep) -> None:
    call = play.calls[step.call]
    expected = f"that {step.call} ends"
    said = await play.until(lambda: call.result() if call.done() else None, expected, lambda: "it has not ended")
    error = checked_error(said)
    if error is not None and step.may_fail:
        return
    if step.error is None:
        why = f"it failed with {error}" if error else mismatch(step.value, said.get("value"), play.bound)
        if why:
            raise StepFailed(f"{step.call} with the value {step.value}", why)
    elif error is None:
        raise StepFailed(f"{step.call} with the error {step.error}", f"it ended well, with {said.get('value')!r}")
    elif why := mismatch({"fields": step.error}, error, play.bound):
        raise StepFailed(f"{step.call} with the error {step.error}", why)


async def _event(play: ClientPlay, step: steps.EventStep) -> None:
    expected = f"the event {step.event} {step.fields}"

    def find() -> dict[str, Any] | None:
        for event in play.events:
            if event.get("event") != step.event or not _has_subject(step, event):
                continue
            if step.event in STRICT_EVENTS or not mismatch({"fields": step.fields}, event, dict(play.bound)):
                return event
        return None

    event = await play.until(find, expected, lambda: f"the application was told {[*map(_told, play.events)]}")
    play.take_event(event, passes_over=step.event == "state")
    why = mismatch({"fields": step.fields}, event, play.bound)
    if why:
        raise StepFailed(expected, f"the application was told {_told(event)}: {why}")


def _has_subject(step: steps.EventStep, event: dict[str, Any]) -> bool:
    """Whether the event is about what the step is about."""
    named = ((name, step.fields[name]) for name in _SUBJECTS if isinstance(step.fields.get(name), str))
    return all(event.get(name) == value for name, value in named)


async def _quiet(play: ClientPlay, step: steps.QuietStep) -> None:
    def check() -> None:
        for event in play.events:
            if event.get("event") in step.events:
                raise StepFailed(f"no event of {step.events}", f"the application was told {_told(event)}")

    await play.pass_time(step.for_ms, check)


_TAKE: Final[dict[type, Callable[[ClientPlay, Any], Awaitable[None]]]] = {
    steps.SendStep: _send,
    steps.ExpectStep: _expect,
    steps.SendGarbageStep: _send_garbage,
    steps.PassOverStep: _pass_over,
    steps.SilenceStep: _silence,
    steps.SentStep: _sent,
    steps.NeverSentStep: _never_sent,
    steps.WatchesStep: _watches,
    steps.UnansweredStep: _unanswered,
    steps.AnswerAllStep: _answer_all,
    steps.OpensStep: _opens,
    steps.StaysAwayStep: _stays_away,
    steps.LoseStep: _lose,
    steps.HangUpStep: _hang_up,
    steps.EndsStep: _ends,
    steps.WorldStep: _world,
    steps.ContactStep: _contact,
    steps.ChannelStep: _channel,
    steps.EpochStep: _epoch,
    steps.DoStep: _do,
    steps.ReturnsStep: _returns,
    steps.EventStep: _event,
    steps.QuietStep: _quiet,
}
