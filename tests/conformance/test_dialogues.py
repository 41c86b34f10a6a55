"""The files of dialogues are of their shape, and say where they come from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from presenced.conformance.client_steps import STRICT_EVENTS
from presenced.conformance.dialogue_files import (
    ClientDialogueFile,
    ClientStep,
    DoStep,
    EventStep,
    SendStep,
    ServerDialogueFile,
    ServerStep,
    client_files,
    server_files,
)
from presenced.conformance.message_types import all_types, name_of
from presenced.conformance.vector_files import vectors
from tests.conformance.make_vectors import VECTORS
from tests.docs.document import SECTIONS, table

FILES = sorted([*(VECTORS / "client").glob("*.json"), *(VECTORS / "server").glob("*.json")])
SHAPES: dict[str, Any] = {"client": ClientDialogueFile, "server": ServerDialogueFile}
DIALOGUES = [dialogue for file in client_files() for dialogue in file.dialogues]
SERVER_DIALOGUES = [dialogue for file in server_files() for dialogue in file.dialogues]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_says_what_it_is_and_is_strict(path: Path) -> None:
    shape = SHAPES[path.parent.name]
    file = msgspec.json.decode(path.read_bytes(), type=shape)
    assert file.vectors == f"{path.parent.name}/{path.stem}"
    for dialogue in file.dialogues:
        assert dialogue.section in SECTIONS, dialogue.name
        tops = {dialogue.section, dialogue.section.split(".")[0]}
        assert tops & set(file.sections), dialogue.name
        assert dialogue.about.endswith("."), dialogue.name
    text: dict[str, Any] = json.loads(path.read_bytes())
    text["dialogues"][0]["steps"][0]["more"] = 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, type=shape)


def test_no_two_dialogues_have_one_name() -> None:
    for dialogues in (DIALOGUES, SERVER_DIALOGUES):
        assert max(Counter(dialogue.name for dialogue in dialogues).values()) == 1


def test_what_a_script_names_is_there() -> None:
    for dialogue in DIALOGUES:
        assert set(dialogue.by_hand) <= all_types().keys(), dialogue.name
        for step in dialogue.steps:
            pattern = getattr(step, "message", None)
            if pattern is not None and not isinstance(pattern, list):
                assert {field.name for field in all_types()[pattern.type].fields} >= pattern.fields.keys(), (
                    dialogue.name
                )
            if isinstance(step, EventStep):
                assert step.event in {"state", "happening", *STRICT_EVENTS}, dialogue.name
        commands = [step for step in dialogue.steps if isinstance(step, DoStep)]
        assert len({step.call for step in commands}) == len(commands), f"{dialogue.name}: two calls have one name"


def test_each_kind_of_step_is_used() -> None:
    assert {type(step) for dialogue in DIALOGUES for step in dialogue.steps} == set(get_args(ClientStep))
    assert {type(step) for dialogue in SERVER_DIALOGUES for step in dialogue.steps} == set(get_args(ServerStep))


def test_what_a_scripted_server_sends_is_a_message_or_is_meant_to_be_none() -> None:
    """A wrong script would have the client judged by what no server sends."""
    numbers = {one.number: one for one in vectors("types").cases if one.sender == "server"}
    for dialogue in DIALOGUES:
        for step in dialogue.steps:
            if isinstance(step, SendStep) and step.message[0] in numbers:
                required = sum(field.default is msgspec.UNSET for field in numbers[step.message[0]].fields)
                assert len(step.message) > required, f"{dialogue.name}: {step.message}"


def test_every_code_is_in_a_dialogue_with_a_client() -> None:
    """The client is told each of them once, and has to know whether it is temporary."""
    said = {"Goodbye": set[str](), "Error": set[str]()}
    for dialogue in DIALOGUES:
        for step in dialogue.steps:
            if isinstance(step, SendStep) and name_of(step.message) in said:
                at = 1 if name_of(step.message) == "Goodbye" else 2
                said[name_of(step.message)].add(step.message[at])
    codes = {row["code"].strip("`"): row["closes the link?"] for row in table(SECTIONS["8"].body, "code")}
    assert {code for code, closes in codes.items() if closes == "yes"} <= said["Goodbye"]
    assert {code for code, closes in codes.items() if closes == "no"} <= said["Error"]
