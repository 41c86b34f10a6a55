"""Dialogues: scripts that hold one end of the protocol to what protocol.md says. Their files are read strictly.

In `vectors/client` the runner is the server, and the program that is judged is a client behind an adapter. In
`vectors/server` the runner is the clients.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Literal

import msgspec

from presenced.conformance.vector_files import Strict, Vector


def _word(name: str) -> str:
    """`SendGarbageStep` is `send_garbage`."""
    words = (f"_{letter.lower()}" if letter.isupper() else letter for letter in name.removesuffix("Step"))
    return "".join(words).lstrip("_")


class Step(Strict, frozen=True, tag_field="step", tag=_word):
    """One line of a script. The runner goes on when it is done, and fails if it does not come true."""


# --- what both kinds of dialogue have -------------------------------------------------------------------------


class SendStep(Step, frozen=True, kw_only=True):
    """The runner sends a message; it is a template (`patterns`)."""

    message: list[Any]
    on: str = ""
    """On which link, where the runner has several."""
    pieces: int = 1
    """In how many pieces it leaves: of the stream over TCP; over WebSocket as so many frames, with a ping between."""


class Named(Strict, frozen=True):
    """A pattern of a message by the names of its fields."""

    type: str
    fields: dict[str, Any] = {}


class ExpectStep(Step, frozen=True, kw_only=True):
    """The next message matches this pattern: from a client the next that the script answers by hand, from a server the
    next of its type."""

    message: list[Any] | Named
    among: bool = False
    """From a server: those of its type that do not match are passed over, as they are about others."""
    on: str = ""


class SendGarbageStep(Step, frozen=True, kw_only=True):
    """The runner sends what is no message."""

    on: str = ""


class LoseStep(Step, frozen=True, kw_only=True):
    """The runner ends the connection as a broken network does."""

    on: str = ""


class HangUpStep(Step, frozen=True, kw_only=True):
    """The runner ends the connection in order."""

    on: str = ""


class EndsStep(Step, frozen=True, kw_only=True):
    """The other end closes the connection."""

    on: str = ""
    close_code: int | None = None
    """With which code, over WebSocket."""


class PassOverStep(Step, frozen=True, kw_only=True):
    """Messages of these types are passed over on this link from now on."""

    types: list[str]
    on: str = ""


class SilenceStep(Step, frozen=True, kw_only=True):
    """No message that the script answers by hand comes for so long after the runner has last sent something."""

    for_ms: int
    on: str = ""


# --- dialogues with a client ----------------------------------------------------------------------------------


class DoStep(Step, frozen=True, kw_only=True):
    """The adapter is told to do something. Its answer is waited for by `returns`."""

    command: str
    call: str
    """A name for this call within the script."""
    parameters: dict[str, Any] = {}


class ReturnsStep(Step, frozen=True, kw_only=True):
    """The call has ended: with a value that matches, or with an error whose fields match."""

    call: str
    value: Any = msgspec.field(default_factory=lambda: {"any": True})
    error: dict[str, Any] | None = None
    may_fail: bool = False
    """Whether any error will do as well."""


class OpensStep(Step, frozen=True, kw_only=True):
    """The client opens its next link."""

    after_ms: int = 0
    """Not before so long after the end of the last one."""


class StaysAwayStep(Step, frozen=True, kw_only=True):
    """The client opens no link for so long."""

    for_ms: int


class WorldStep(Step, frozen=True, kw_only=True):
    """The records of these users are others now."""

    records: list[list[Any]]
    is_told: bool = True
    """Whether a link that watches them is told, as by a server that works; False = the push is lost."""


class ContactStep(Step, frozen=True, kw_only=True):
    """A contact of the user is another now; nothing is told by that."""

    contact: list[Any]
    is_removed: bool = False


class ChannelStep(Step, frozen=True, kw_only=True):
    """The members of a channel are these now; nothing is told by that."""

    channel: str
    members: list[str]


class EpochStep(Step, frozen=True, kw_only=True):
    """The server has lost its history: later links have another epoch."""

    records: list[list[Any]]


class EventStep(Step, frozen=True, kw_only=True):
    """The application is told. Events of one kind about one user, channel or device come in the order of the script
    and no others between them; of `state`, some may be passed over."""

    event: str
    fields: dict[str, Any] = {}


class QuietStep(Step, frozen=True, kw_only=True):
    """The application is told nothing of these kinds for so long, and was not since the events of the script."""

    events: list[str]
    for_ms: int


class SentStep(Step, frozen=True, kw_only=True):
    """On its present link the client sends a message that matches, now or before."""

    message: list[Any] | Named


class NeverSentStep(Step, frozen=True, kw_only=True):
    """On its present link the client has sent no message that matches."""

    message: list[Any] | Named


class WatchesStep(Step, frozen=True, kw_only=True):
    """The present link comes to watch just these users by name, by whatever requests."""

    users: list[str]


class UnansweredStep(Step, frozen=True, kw_only=True):
    """For so long, no more than `most` requests of this type wait on the present link, and at least one does."""

    type: str
    most: int
    for_ms: int


class AnswerAllStep(Step, frozen=True, kw_only=True):
    """The model answers the requests of this type that wait, and each that comes from now on."""

    type: str


class ClientDialogue(Vector, frozen=True, kw_only=True):
    """A script that holds a client."""

    about: str
    """What must be so, in a sentence."""
    role: Literal["user", "service"] = "user"
    by_hand: list[str] = []
    """The types of messages that the script answers. All others are answered by a model of a server."""
    world: dict[str, Any] = {}
    """What the model begins with: `records`, `contacts`, `channels` (the names of members), `resumes` (whether lost
    links are taken back), `welcome` (fields of it)."""
    transports: list[str] = []
    """Empty = over each."""
    steps: list[ClientStep]


ClientStep = (
    SendStep
    | ExpectStep
    | SendGarbageStep
    | LoseStep
    | HangUpStep
    | EndsStep
    | PassOverStep
    | SilenceStep
    | DoStep
    | ReturnsStep
    | OpensStep
    | StaysAwayStep
    | WorldStep
    | ContactStep
    | ChannelStep
    | EpochStep
    | EventStep
    | QuietStep
    | SentStep
    | NeverSentStep
    | WatchesStep
    | UnansweredStep
    | AnswerAllStep
)


# --- dialogues with a server ----------------------------------------------------------------------------------


class OpenStep(Step, frozen=True, kw_only=True):
    """The runner opens a link."""

    on: str
    """A name for it within the script."""


class ServerDialogue(Vector, frozen=True, kw_only=True):
    """A script that holds a server in dev mode (section 1.3)."""

    about: str
    names: list[str] = []
    """Variables that stand for names which nobody has used before, of users, channels and the like."""
    transports: list[str] = []
    steps: list[ServerStep]


ServerStep = (
    OpenStep | SendStep | ExpectStep | SendGarbageStep | LoseStep | HangUpStep | EndsStep | PassOverStep | SilenceStep
)


class DialogueFile(Strict, frozen=True):
    """What every file of dialogues has in common."""

    format: Literal[1]
    vectors: str
    protocol: Literal[1]
    about: str
    sections: list[str]


class ClientDialogueFile(DialogueFile, frozen=True):
    """A file of `vectors/client`."""

    dialogues: list[ClientDialogue]


class ServerDialogueFile(DialogueFile, frozen=True):
    """A file of `vectors/server`."""

    dialogues: list[ServerDialogue]


def client_files() -> list[ClientDialogueFile]:
    """All dialogues with a client. Raises `msgspec.ValidationError` for a file that is not of its shape."""
    return [msgspec.json.decode(text, type=ClientDialogueFile) for text in _texts("client")]


def server_files() -> list[ServerDialogueFile]:
    """All dialogues with a server. Raises as `client_files`."""
    return [msgspec.json.decode(text, type=ServerDialogueFile) for text in _texts("server")]


def _texts(directory: str) -> list[bytes]:
    found = [one for one in files("presenced.conformance").joinpath("vectors", directory).iterdir()]
    return [one.read_bytes() for one in sorted(found, key=lambda one: one.name) if one.name.endswith(".json")]
