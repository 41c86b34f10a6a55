"""The sentences about contacts, and about who may see the user. Nothing is changed in here.

Each tells what holds once the command is done, and not what was typed: most of these commands may find that it held
before.
"""

from __future__ import annotations

from presenced.chat_commands.answers import ChatAnswer, ChatCommand
from presenced.core.contacts.news import shown_contact
from presenced.core.faces import HIDDEN
from presenced.core.model import User
from presenced.core.roster import APPROVED, ASKED, ASKS, FROM, TO, Contact
from presenced.limits import COMMAND_LISTED_MAX
from presenced.wire.messages import AudienceLevel, Record


def added(command: ChatCommand) -> ChatAnswer:
    """Whether the user sees the contact already, or has asked to."""
    name = command.argument.words
    if _contact(command).flags & TO:
        return _with_contact(command, f"{name} lets you see them")
    return _with_contact(command, f"You have asked to see {name}, who has to allow it")


def allowed(command: ChatCommand) -> ChatAnswer:
    """Whether the contact has asked, and is allowed to see the user now."""
    name = command.argument.words
    if _contact(command).flags & FROM:
        return _with_contact(command, f"You let {name} see you")
    return _with_contact(command, f"{name} has not asked to see you yet; when they do, it is allowed")


def denied(command: ChatCommand) -> ChatAnswer:
    """The contact has no leave of the user's."""
    return _with_contact(command, f"You do not let {command.argument.words} see you as a contact")


def removed(command: ChatCommand) -> ChatAnswer:
    """The user does not want to see the contact."""
    return _with_contact(command, f"You do not see {command.argument.words} as a contact any longer")


def contacts(command: ChatCommand) -> ChatAnswer:
    """The contacts, the first by name, and what waits for an answer."""
    user, roster = command.user, command.user.contacts
    found = {name: shown_contact(user, name) for name in sorted(roster.contacts)} if roster is not None else {}
    found = {name: contact for name, contact in found.items() if contact.flags}
    if not found:
        return ChatAnswer("You have no contacts; add NAME asks to see somebody")
    # Who asks comes first: that is what the user can do something about.
    named = sorted(found.items(), key=lambda one: not one[1].flags & ASKS)[:COMMAND_LISTED_MAX]
    listed = "; ".join(f"{name} {_standing(contact)}" for name, contact in named)
    more = "; ..." if len(found) > len(named) else ""
    sentence = f"{len(found)} contact{'s' if len(found) > 1 else ''}: {listed}{more}"
    records = [_seen(command, name) for name, contact in named if contact.flags & TO]
    return ChatAnswer(sentence, [record for record in records if record is not None])


def blocked(command: ChatCommand) -> ChatAnswer:
    """Neither sees the other."""
    return ChatAnswer(f"You and {command.argument.words} do not see each other; they are not told")


def unblocked(command: ChatCommand) -> ChatAnswer:
    """The block has ended, or there was none."""
    return ChatAnswer(f"You do not block {command.argument.words}")


def hidden(command: ChatCommand) -> ChatAnswer:
    """The contact sees the user as offline."""
    return ChatAnswer(f"{command.argument.words} sees you as offline; they are not told")


def unhidden(command: ChatCommand) -> ChatAnswer:
    """Hiding has ended, or the user did not hide."""
    return ChatAnswer(f"You do not hide from {command.argument.words}")


def audience(command: ChatCommand) -> ChatAnswer:
    """To whom the user shows which field."""
    text, last_seen, device, always, never = command.engine.privacy.audience_of(command.user)
    sentence = f"You show your text to {_to(text)}, last seen to {_to(last_seen)} and your device to {_to(device)}"
    for names, words in ((always, "always all of it to"), (never, "never any of it to")):
        if names:
            more = f" and {len(names) - COMMAND_LISTED_MAX} more" if len(names) > COMMAND_LISTED_MAX else ""
            sentence += f"; {words} {', '.join(sorted(names)[:COMMAND_LISTED_MAX])}{more}"
    return ChatAnswer(sentence)


def _to(level: AudienceLevel) -> str:
    return "your contacts" if level == "contacts" else level


def _contact(command: ChatCommand) -> Contact:
    return shown_contact(command.user, command.argument.words)


def _standing(contact: Contact) -> str:
    """What holds between the two, in brackets: `(you see each other)`."""
    flags = contact.flags
    sees = {TO | FROM: "you see each other", TO: "you see them", FROM: "they see you"}.get(flags & (TO | FROM))
    waits = {ASKED: "you have asked", ASKS: "asks to see you", APPROVED: "may see you when they ask"}
    said = [sees, *(words for flag, words in waits.items() if flags & flag)]
    return f"({', '.join(words for words in said if words) or 'neither sees the other'})"


def _with_contact(command: ChatCommand, sentence: str) -> ChatAnswer:
    record = _seen(command, command.argument.words)
    return ChatAnswer(sentence, [record] if record is not None else [])


def _seen(command: ChatCommand, name: str) -> Record | None:
    """What the user sees of somebody; None = nothing."""
    other: User | None = command.engine.users.get(name)
    if other is None:
        return None
    kind = command.engine.sight.face_for(command.user, other)
    return command.engine.sight.present(other, kind) if kind != HIDDEN and command.may_tell(other) else None
