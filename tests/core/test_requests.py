"""The tables of handlers that a server joins."""

from __future__ import annotations

from typing import get_args

import pytest

from presenced.core.requests import HANDLERS, Handler, Requests
from presenced.wire.messages import ClientMessage, Command, Get, GetDevices, Renew, SetStatus
from tests.core.world import World
from tests.support import requests


def test_each_message_has_one_handler_and_the_core_knows_no_chat_commands_and_no_tokens() -> None:
    assert set(requests.HANDLERS) == set(get_args(ClientMessage))
    assert set(get_args(ClientMessage)) - set(HANDLERS) == {Command, Renew}


def test_two_handlers_of_one_type_are_refused() -> None:
    with pytest.raises(ValueError, match="Get has two handlers"):
        Requests(HANDLERS, {Get: Handler(lambda *_: None)})


def test_a_question_waits_for_the_records_of_its_subject_and_for_no_others() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/laptop")
    alice.say(SetStatus(1, "dnd"))
    bob.say(GetDevices(2))
    assert bob.session not in world.engine.obligations.asking, "nothing of bob changes in this turn"
    bob.say(SetStatus(3, "dnd"))
    bob.say(GetDevices(4))
    assert bob.session in world.engine.obligations.asking
    world.turn()
    assert {getattr(message, "id", 0) for message in bob.messages} >= {2, 3, 4}
