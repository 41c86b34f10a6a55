"""The table of commands: what follows from its rows."""

from __future__ import annotations

import pytest

from presenced.chat_commands.verbs import BY_NAME, HELP, VERBS, Verb


def test_no_name_stands_for_two_commands() -> None:
    assert len(BY_NAME) == sum(len(verb.names) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.names[0] or "show")
def test_each_row_has_a_line_of_help_that_names_it(verb: Verb) -> None:
    assert verb.help in HELP
    for name in verb.names:
        assert (name or "/presence") in verb.help.split(":")[0]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.names[0] or "show")
def test_what_is_saved_is_done_and_a_question_does_nothing(verb: Verb) -> None:
    assert verb.act is not None or not verb.is_saved
