"""What `presencectl webhooks` says to a person, and how it ends. That events are posted is for tests/webhooks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from presenced.cli.ctl_webhooks import say_test, say_webhooks
from presenced.cli.output import Output
from tests.support.status import made_webhooks


def said(capsys: pytest.CaptureFixture[str], **fields: Any) -> tuple[bool, list[str]]:
    output = Output(is_json=False, has_colour=False, is_quiet=False)
    is_well = say_webhooks(output, msgspec.to_builtins(made_webhooks(**fields)))
    return is_well, capsys.readouterr().out.splitlines()


def test_requests_are_counted_apart_from_events(capsys: pytest.CaptureFixture[str]) -> None:
    is_well, lines = said(capsys, accepted=2, requests=5, accepted_wall_ms=0, failures={"connect": 3, "status": 0})
    assert is_well and "accepted       2 events" in lines
    assert "requests       5, of which failed: 3 connect" in lines
    assert "requests       1, of which failed: none" in said(capsys, requests=1, failures={"connect": 0})[1]


def test_a_receiver_that_takes_nothing_is_a_no(capsys: pytest.CaptureFixture[str]) -> None:
    is_well, lines = said(capsys, state="failing", receiver="http://h\x1b[2J", error="no answer", gaps=1)
    assert not is_well and lines[0] == "http://h\ufffd[2J takes nothing for now, and is tried now and then"
    assert lines[-2] == "lost           events, 1 time" and lines[-1].endswith(" ago: no answer")


@pytest.mark.parametrize(
    ("status", "error", "words"), [(204, "", "said 204"), (0, "no connection", "did not take it: no connection")]
)
def test_of_a_test(capsys: pytest.CaptureFixture[str], status: int, error: str, words: str) -> None:
    found = {"receiver": "http://h", "status": status, "error": error, "id": "test_1", "took_ms": 3, "ok": not error}
    output = Output(is_json=False, has_colour=False, is_quiet=False)
    assert say_test(output, found) is not bool(error)
    assert capsys.readouterr().out == f"http://h {words} (event test_1, 3 ms)\n"
