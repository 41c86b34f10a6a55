"""Chapter 27 of protocol.md says what the runner has: every file, step, pattern, command and event, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from presenced.conformance.adapters.python_adapter import COMMANDS
from presenced.conformance.client_steps import STRICT_EVENTS
from presenced.conformance.commands import ADAPTERS, main
from presenced.conformance.dialogue_files import ClientStep, DoStep, EventStep, ServerStep, client_files
from presenced.conformance.patterns import mismatch
from presenced.conformance.vector_files import KINDS
from tests.docs.document import SECTIONS, table
from tests.support import REPOSITORY
from tests.support.until import PATIENCE_S

FILES, STEPS, ADAPTER = (SECTIONS[f"27.{number}"].body for number in (1, 2, 3))


def words(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", cell)


def rows(body: str, column: str) -> dict[str, dict[str, str]]:
    return {word: row for row in table(body, column) for word in words(row[column])}


def test_every_file_is_described_with_its_fields() -> None:
    described = rows(FILES, "file")
    assert list(described) == list(KINDS)
    for name, kind in KINDS.items():
        fields = {field.name for field in msgspec.structs.fields(kind)} - {"name", "section"}
        assert fields <= {*words(described[name]["a case has"])}, name


def step_names(union: Any) -> set[str]:
    return {kind.__struct_config__.tag for kind in get_args(union)}


def test_every_step_is_described_with_its_fields() -> None:
    described = rows(STEPS, "step")
    client, server = step_names(ClientStep), step_names(ServerStep)
    assert described.keys() == client | server
    for name, row in described.items():
        wanted = "both" if name in client & server else "client" if name in client else "server"
        assert row["in dialogues with"] == wanted, name
    for kind in (*get_args(ClientStep), *get_args(ServerStep)):
        row = described[kind.__struct_config__.tag]
        fields = {field.name for field in msgspec.structs.fields(kind)} - {"on", "value"}
        assert fields <= {*words(row["what happens"])}, row


def test_every_pattern_is_described() -> None:
    for row in table(STEPS, "pattern"):
        pattern = row["pattern"].strip("`").replace("[...]", "[1]").replace("{...}", '{"a": 1}').replace("...", "1")
        pattern = pattern.replace("record", '["a", "online", "", "", 1, 0, "b", 2]').replace(", 1]}", "]}")
        value = msgspec.json.decode(pattern)
        # A rule that nobody knows raises; one that is known says something, or nothing.
        assert mismatch(value, object(), {}) is not None


def test_commands_and_events_are_those_of_the_dialogues_and_of_the_adapters() -> None:
    commands, events = rows(ADAPTER, "command"), rows(ADAPTER, "event")
    assert commands.keys() == set(COMMANDS)
    script = Path(ADAPTERS["javascript"][-1]).read_text()
    javascript = set(re.findall(r"^  async ([a-z_]+)\(", script, re.MULTILINE))
    assert javascript <= commands.keys() and len(javascript) > 12
    steps = [step for file in client_files() for dialogue in file.dialogues for step in dialogue.steps]
    assert {step.command for step in steps if isinstance(step, DoStep)} == commands.keys() - {"forget"}
    told = [step for step in steps if isinstance(step, EventStep)]
    assert {step.event for step in told} == events.keys() == {"state", "happening", *STRICT_EVENTS}
    for step in told:
        assert step.fields.keys() <= {*words(events[step.event]["fields"])}, step
    for step in steps:
        if isinstance(step, DoStep):
            assert step.parameters.keys() <= {*words(commands[step.command]["parameters"]), *CONNECT}, step


CONNECT = {"token", "tokens", "kind", "name", "status", "contacts", "timeout_ms"}


def test_the_command_line_tells_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"--{name}" in said for name in ("client", "server", "websocket", "only", "patience", "list"))
    main(["--list"])
    said = capsys.readouterr().out
    assert "hello comes first (protocol.md, 5.1)" in said and "server/people" in said


@pytest.mark.parametrize(
    "arguments",
    [["--client", "/nowhere/adapter"], ["--server", "5250"], ["--client", "true"], ["--server", "127.0.0.1:1"]],
    ids=["no such program", "no host", "no adapter", "no server"],
)
def test_what_cannot_be_tried_is_told_apart_from_what_fails(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said and "[Errno" not in said


def test_a_reader_that_has_read_enough() -> None:
    """As with `| head`."""
    with subprocess.Popen(
        [sys.executable, "-m", "presenced.conformance", "--list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(PATIENCE_S)) == (b"", 0)
