"""The clients of this package do in every dialogue what protocol.md says, and the runner tells when one does not."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from presenced.conformance.adapter_process import AdapterProcess
from presenced.conformance.commands import ADAPTERS, hold_client
from presenced.conformance.outcome import Outcome, report
from tests.conformance.seeded_bugs import SeededBug, outcome

PATIENCE_S = 60.0


def failures(outcomes: list[Outcome]) -> str:
    return "\n".join(report([one for one in outcomes if one.result == "failed"]))


async def test_the_python_client_passes() -> None:
    _, outcomes = await hold_client(ADAPTERS["python"], patience_s=PATIENCE_S)
    assert all(one.result == "passed" for one in outcomes), failures(outcomes)
    assert len(outcomes) >= 80


ONLY_SERVICES = {"attach", "detach", "follow", "watch_all"}


@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed, and it runs the JavaScript client")
async def test_the_javascript_client_passes() -> None:
    _, outcomes = await hold_client(ADAPTERS["javascript"], patience_s=PATIENCE_S)
    assert not any(one.result == "failed" for one in outcomes), failures(outcomes)
    for one in outcomes:
        missing = set(one.came.removeprefix("the adapter does not know ").split(", "))
        assert one.result == "passed" or missing <= {*ONLY_SERVICES, "connect_with_checks"}, one
    assert sum(one.result == "passed" for one in outcomes) >= 70


def adapter_in(directory: Path, body: str) -> list[str]:
    """An adapter whose `answer(call)` yields the lines for one call."""
    path = directory / "adapter.py"
    head = "import json, sys\nsay = lambda line: print(json.dumps(line), flush=True)\n"
    loop = "\nfor line in sys.stdin:\n    for said in answer(json.loads(line)):\n        say(said)\n"
    path.write_text(head + textwrap.dedent(body) + loop)
    return [sys.executable, str(path)]


NOBODY = """
say({"adapter": "nobody", "transports": ["tcp"], "commands": ["connect"]})
def answer(call):
    yield {"call": call["call"], "value": None}
"""


async def test_a_client_that_does_nothing_fails_and_what_it_cannot_do_is_skipped(tmp_path: Path) -> None:
    name, outcomes = await hold_client(adapter_in(tmp_path, NOBODY), only="h", patience_s=0.3)
    assert name == "nobody"
    by_name = {one.name: one for one in outcomes}
    failed = by_name["hello comes first [tcp]"]
    assert (failed.result, failed.came) == ("failed", "no link was opened in 0.3 s")
    assert failed.step.startswith("2: ") and json.loads(failed.step[3:])["step"] == "opens"
    skipped = by_name["a watched user changes [tcp]"]
    assert (skipped.result, skipped.came) == ("skipped", "the adapter does not know watch")
    assert not any(one.result == "passed" for one in outcomes)
    text = "\n".join(report(outcomes))
    assert "protocol.md, 5.1" in text and "no link was opened" in text and "0 passed" in text


def test_a_report_of_very_much_is_cut() -> None:
    failed = [Outcome(f"case {number}", "3", "failed", expected="this", came="that") for number in range(40)]
    lines = report(failed)
    assert len(lines) == 25 * 3 + 2
    assert "15 more" in lines[-2] and lines[-1] == "0 passed, 40 failed, 0 skipped"
    assert len(report(failed, is_verbose=True)) == 40 * 3 + 1


async def test_an_application_that_is_told_twice_fails(tmp_path: Path) -> None:
    once = 'self._tell("change", **shown(change.new))'
    file, dialogue = "conformance/adapters/python_adapter.py", "contacts in several messages"
    found = await outcome(SeededBug("python", file, once, f"{once}; {once}", dialogue), tmp_path, PATIENCE_S)
    assert found.result == "failed" and "the application was also told" in found.came


async def test_an_adapter_that_dies_fails_its_dialogues(tmp_path: Path) -> None:
    dying = NOBODY.replace("    yield", "    sys.exit(3)\n    yield")
    _, outcomes = await hold_client(adapter_in(tmp_path, dying), only="hello comes first", patience_s=PATIENCE_S)
    assert [one.result for one in outcomes] == ["failed"]
    assert "the adapter has ended" in outcomes[0].came


async def test_an_answer_for_which_nobody_waits_any_longer_is_passed_over(tmp_path: Path) -> None:
    adapter = await AdapterProcess.start(adapter_in(tmp_path, NOBODY))
    adapter.call(1, "forget", {}).cancel()
    assert (await adapter.call(1, "connect", {}))["value"] is None
    await adapter.stop()
