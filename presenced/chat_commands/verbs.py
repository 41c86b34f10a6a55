"""The table of commands: a row for each, with its names, its argument, its help, its answer, and what it does.

A new command is a new row; the list of commands in the help, and in the answer to a word that is none, follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast, get_args

from presenced.chat_commands import answers, contact_answers, grammar
from presenced.chat_commands.answers import ChatAnswer, ChatCommand
from presenced.chat_commands.grammar import Argument
from presenced.core.replies import quoted
from presenced.core.targets import require_memory
from presenced.wire.messages import Status, StatusRequest


class Verb(NamedTuple):
    """A command, or several that differ in nothing but their name."""

    names: tuple[str, ...]
    argument: str
    """What may stand after the name, as the help shows it; empty = nothing."""
    help: str
    """What it does, as the help says it."""
    answer: Callable[[ChatCommand], ChatAnswer]
    """Called once the records are up to date."""
    parse: Callable[[str, str], Argument] = grammar.nothing
    """Reads what stands after the verb, from the verb and that; raises `ValueError` or `AddressError` with a sentence
    that says what to type instead."""
    act: Callable[[ChatCommand], None] | None = None
    """What it does at once; None = it only asks."""
    is_saved: bool = False
    """What it does is saved, so that the reply waits for the disk, and it is declined while nothing can be saved."""

    @property
    def line(self) -> str:
        """Its line of help: `who: who is online`."""
        names = ", ".join(name or "/presence" for name in self.names)
        between = ", " if len(self.names) > 1 else " "
        return f"{names}{between if self.argument else ''}{self.argument}: {self.help}"


def _set(
    command: ChatCommand,
    *,
    status: StatusRequest | None = None,
    text: str | None = None,
    emoji: str | None = None,
) -> None:
    """Set what is not None, for the time that was typed. It is input on the device, if there is one."""
    command.engine.manual_status.set(
        command.now_ms,
        command.user,
        command.device,
        status=status,
        text=text,
        emoji=emoji,
        for_ms=command.argument.for_ms,
    )


def _set_status(command: ChatCommand) -> None:
    _set(command, status=cast(StatusRequest, command.verb))


def _set_text(command: ChatCommand) -> None:
    _set(command, text=command.argument.words)


def _clear(command: ChatCommand) -> None:
    _set(command, status="auto", text="", emoji="")


def _sync(command: ChatCommand) -> None:
    command.engine.own_states.push_again(command.user)


def _other(command: ChatCommand) -> str:
    """The user whom the command names. Raises `ValueError` if that is who gives it."""
    name = command.argument.words
    if name == command.user.name:
        raise ValueError(f"{command.verb} is about another user, and {quoted(name)} is you")
    return name


def _new_other(command: ChatCommand) -> str:
    """The same for a command that makes the server keep more. Raises `RequestError` (`memory_low`), too."""
    require_memory(command.engine)
    return _other(command)


def _add(command: ChatCommand) -> None:
    command.engine.contacts.subscribe(command.user, _new_other(command), "", command.now_ms)


def _allow(command: ChatCommand) -> None:
    command.engine.contacts.approve(command.user, _new_other(command), command.now_ms)


def _deny(command: ChatCommand) -> None:
    command.engine.contacts.cancel(command.user, _other(command), command.now_ms)


def _remove(command: ChatCommand) -> None:
    command.engine.contacts.unsubscribe(command.user, _other(command), command.now_ms)


def _block(command: ChatCommand) -> None:
    command.engine.privacy.block(command.now_ms, command.user, _new_other(command))


def _unblock(command: ChatCommand) -> None:
    command.engine.privacy.unblock(command.now_ms, command.user, _other(command))


def _hide(command: ChatCommand) -> None:
    command.engine.privacy.hide(command.now_ms, command.user, _new_other(command))


def _unhide(command: ChatCommand) -> None:
    command.engine.privacy.show_again(command.now_ms, command.user, _other(command))


def _help(command: ChatCommand) -> ChatAnswer:
    return ChatAnswer(HELP)


def _of_user(
    name: str, help: str, answer: Callable[[ChatCommand], ChatAnswer], act: Callable[[ChatCommand], None]
) -> Verb:
    """A command that does something about one other user."""
    return Verb((name,), "NAME", help, answer, grammar.user, act, is_saved=True)


VERBS = (
    Verb(("",), "", "your status", answers.show),
    Verb(("who",), "", "who is online", answers.who),
    Verb(("activity",), "", "what you did last", answers.activity),
    Verb(
        get_args(Status),
        'each perhaps "for 30m"',
        "your status; offline hides you",
        answers.status,
        grammar.duration,
        _set_status,
        is_saved=True,
    ),
    Verb(("auto",), "", "back to what your devices say", answers.auto, grammar.auto, _set_status, is_saved=True),
    Verb(
        ("status",),
        '"in a meeting", perhaps "for 30m"',
        "a line of text",
        answers.text,
        grammar.text,
        _set_text,
        is_saved=True,
    ),
    Verb(("clear",), "", "no status and no text", answers.clear, act=_clear, is_saved=True),
    Verb(("devices",), "", "your devices", answers.devices),
    _of_user("add", "ask to see NAME", contact_answers.added, _add),
    _of_user("allow", "let NAME see you", contact_answers.allowed, _allow),
    _of_user("deny", "do not let NAME see you", contact_answers.denied, _deny),
    _of_user("remove", "do not see NAME any longer", contact_answers.removed, _remove),
    Verb(("contacts",), "", "whom you see, who sees you, and who asks to", contact_answers.contacts),
    _of_user("block", "you and NAME do not see each other", contact_answers.blocked, _block),
    _of_user("unblock", "end that", contact_answers.unblocked, _unblock),
    _of_user("hide", "NAME sees you as offline", contact_answers.hidden, _hide),
    _of_user("unhide", "end that", contact_answers.unhidden, _unhide),
    Verb(("audience",), "", "to whom you show your text, last seen and device", contact_answers.audience),
    Verb(("sync",), "", "your own state to your devices again", answers.sync, act=_sync),
    Verb(("help",), "", "this list", _help),
)

BY_NAME = {name: verb for verb in VERBS for name in verb.names}

HELP = " · ".join(verb.line for verb in VERBS)
