"""Mistakes that a client could have, each put into a copy of it: the dialogues have to find every one.

`python -m tests.conformance.seeded_bugs [WORDS]` says which are found.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

from presenced.conformance.adapter_process import AdapterProcess
from presenced.conformance.client_steps import play
from presenced.conformance.commands import ADAPTERS
from presenced.conformance.dialogue_files import client_files
from presenced.conformance.outcome import Outcome
from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "presenced"
LIST = Path(__file__).with_name("seeded_bugs.toml")
PATIENCE_S = 5.0


class SeededBug(NamedTuple):
    """One mistake. `old` stands in `file` exactly once."""

    client: str
    file: str
    old: str
    new: str
    dialogue: str

    @property
    def title(self) -> str:
        return f"{self.client}: {self.file}: {self.dialogue}"


def read() -> list[SeededBug]:
    return [SeededBug(**entry) for entry in tomllib.loads(LIST.read_text())["bug"]]


def applied(bug: SeededBug) -> str:
    """The text of the file with the mistake. Raises `ValueError` unless `old` stands in it exactly once."""
    text = (PACKAGE / bug.file).read_text()
    if text.count(bug.old) != 1:
        raise ValueError(f"{bug.file}: {bug.old!r} stands in it {text.count(bug.old)} times; correct the entry")
    return text.replace(bug.old, bug.new)


async def outcome(bug: SeededBug, directory: Path, patience_s: float = PATIENCE_S) -> Outcome:
    """Play the dialogue of a bug with a client that has it; `directory` is for the copy."""
    (dialogue,) = (one for file in client_files() for one in file.dialogues if one.name == bug.dialogue)
    if bug.client == "python":
        shutil.copytree(PACKAGE, directory / "presenced", ignore=shutil.ignore_patterns("__pycache__"))
        (directory / "presenced" / bug.file).write_text(applied(bug))
        command = [sys.executable, "-c", IN_COPY, str(directory)]
    else:
        shutil.copytree(PACKAGE / "web", directory / "web", ignore=shutil.ignore_patterns("demo"))
        (directory / bug.file).write_text(applied(bug))
        command = [*ADAPTERS["javascript"], str(directory / "web" / "presence.js")]
    adapter = await AdapterProcess.start(command)
    try:
        return await play(dialogue, adapter, adapter.transports[0], patience_s)
    finally:
        await adapter.stop()


IN_COPY = """
import asyncio, logging, sys
sys.path.insert(0, sys.argv[1])
from presenced.conformance.adapters.python_adapter import run
logging.disable()
asyncio.run(run())
"""


def main(words: list[str]) -> None:
    """Try all bugs whose titles have these words; exit with 1 if one is not found."""
    missed = 0
    for bug in read():
        if not all(word in bug.title for word in words):
            continue
        with tempfile.TemporaryDirectory() as directory:
            found = asyncio.run(outcome(bug, Path(directory)))
        missed += found.result != "failed"
        print(f"{'found ' if found.result == 'failed' else 'MISSED'} {bug.title}: {found.came}")
    sys.exit(missed > 0)


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    main(sys.argv[1:])
