"""A command from the message to its reply.

What a person got wrong is told in the reply, with `ok` false, and not as an error, so that a chat can show the sentence
(protocol.md, section 20). The same holds for what the server cannot do just now.
"""

from __future__ import annotations

from presenced.chat_commands import grammar
from presenced.chat_commands.answers import ChatCommand
from presenced.chat_commands.verbs import BY_NAME, Verb
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import acknowledge, quoted, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.core.targets import device_of, require_change, require_durability, user_of
from presenced.errors import AddressError, RequestError
from presenced.limits import COMMAND_BYTES_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import Command, CommandReply


def _command(engine: Engine, session: Session, now_ms: int, message: Command) -> None:
    if len(message.text.encode()) > COMMAND_BYTES_MAX:
        raise RequestError("bad_text", f"the command is longer than {COMMAND_BYTES_MAX} bytes")
    user = user_of(engine, session, message.user)
    device = device_of(engine, session, message.user, message.device)
    name, rest = grammar.verb_and_rest(message.text)
    verb = BY_NAME.get(name)
    if verb is None:
        known = ", ".join(known for known in BY_NAME if known)
        _decline(engine, session, message.id, "help", f"I do not know {quoted(name)}. Try: {known}")
        return
    if verb.act is not None:
        require_change(session)
    try:
        command = ChatCommand(engine, session, user, device, now_ms, name, verb.parse(name, rest))
        _act(command, verb)
    except (RequestError, AddressError) as error:
        _decline(engine, session, message.id, name, error.message)
    except ValueError as error:
        _decline(engine, session, message.id, name, str(error))
    else:
        if engine.publisher.has_dirty or session in engine.obligations.asking:
            # The answer tells records, some of which change in this turn: it is made at the turn's end, as the answers
            # to other questions are (`core.requests`), and in order with them.
            engine.obligations.put_off(session, lambda _: _answer(session, message.id, verb, command))
        else:
            _answer(session, message.id, verb, command)


def _act(command: ChatCommand, verb: Verb) -> None:
    """Do what the command does at once. Raises what is wrong with it, and has changed nothing then."""
    if verb.is_saved:
        require_durability(command.engine)
    if verb.act is not None:
        verb.act(command)


def _answer(session: Session, request_id: int, verb: Verb, command: ChatCommand) -> None:
    answer = verb.answer(command)
    told = CommandReply(
        request_id, True, answer.text, command.verb or "show", answer.records, answer.devices, answer.activities
    )
    if verb.is_saved:
        acknowledge(command.engine, session, request_id, encode(told))
    else:
        reply(command.engine, session, told)


def _decline(engine: Engine, session: Session, request_id: int, name: str, sentence: str) -> None:
    reply(engine, session, CommandReply(request_id, False, sentence, name, [], [], []))


HANDLERS: dict[type, Handler] = {
    Command: Handler(_command, costs.change, has_long_answer=True),
}
