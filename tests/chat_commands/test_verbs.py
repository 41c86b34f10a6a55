"""The table of commands: what follows from its rows."""

from __future__ import annotations

import pytest

from presenced.chat_commands.verbs import BY_NAME, HELP, VERBS, Verb


def test_no_name_stands_for_two_commands() -> None:
    assert len(BY_NAME) == sum(len(verb.names) for verb in VERBS)


def test_the_help_has_a_line_for_each_row() -> None:
    assert HELP == (
        "/presence: your status · who: who is online · activity: what you did last · "
        'chat, online, away, xa, dnd, offline, each perhaps "for 30m": your status; offline hides you · '
        'auto: back to what your devices say · status "in a meeting", perhaps "for 30m": a line of text · '
        "clear: no status and no text · devices: your devices · "
        "add NAME: ask to see NAME · allow NAME: let NAME see you · deny NAME: do not let NAME see you · "
        "remove NAME: do not see NAME any longer · contacts: whom you see, who sees you, and who asks to · "
        "block NAME: you and NAME do not see each other · unblock NAME: end that · "
        "hide NAME: NAME sees you as offline · unhide NAME: end that · "
        "audience: to whom you show your text, last seen and device · "
        "sync: your own state to your devices again · "
        "help: this list"
    )


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.names[0] or "show")
def test_what_is_saved_is_done_and_a_question_does_nothing(verb: Verb) -> None:
    assert verb.act is not None or not verb.is_saved
