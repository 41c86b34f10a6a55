"""The dialogues find mistakes that clients could have; `python -m tests.conformance.seeded_bugs` tries all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from presenced.conformance.dialogue_files import client_files
from tests.conformance.seeded_bugs import SeededBug, applied, outcome, read
from tests.support.tiers import samples

BUGS = read()
STEP = max(1, 40 // max(1, samples(10)))
"""Each costs a process: a few here, spread over the list."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.title)
def test_a_bug_can_be_planted(bug: SeededBug) -> None:
    assert applied(bug)
    assert bug.dialogue in {one.name for file in client_files() for one in file.dialogues}


@pytest.mark.parametrize("bug", BUGS[::STEP], ids=lambda bug: bug.title)
async def test_a_bug_is_found(bug: SeededBug, tmp_path: Path) -> None:
    if bug.client == "javascript" and not shutil.which("node"):
        pytest.skip("Node.js is not installed")
    found = await outcome(bug, tmp_path)
    assert found.result == "failed"
