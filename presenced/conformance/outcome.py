"""What came of one dialogue or case, and the report of many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

FAILED_MAX: Final = 25


class StepFailed(Exception):
    """A step did not come true. The text says what was expected and what came."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; {came}")
        self.expected = expected
        self.came = came


class Outcome(NamedTuple):
    """The result of one dialogue, or of one case of a file of payloads."""

    name: str
    section: str
    result: Literal["passed", "failed", "skipped"]
    about: str = ""
    step: str = ""
    """Which step did not come true."""
    expected: str = ""
    came: str = ""
    conversation: tuple[str, ...] = ()
    """The last lines of what was said, oldest first."""

    def lines(self) -> Iterable[str]:
        """As a person reads it."""
        yield f"{self.result.upper():8}{self.name} (protocol.md, {self.section})"
        if self.result == "skipped":
            yield f"        because {self.came}"
        if self.result != "failed":
            return
        if self.about:
            yield f"        {self.about}"
        if self.step:
            yield f"        step     {self.step}"
        yield f"        expected {self.expected}"
        yield f"        came     {self.came}"
        if self.conversation:
            yield "        what was said before:"
            yield from (f"          {line}" for line in self.conversation)


def report(outcomes: list[Outcome], *, is_verbose: bool = False) -> list[str]:
    """The lines of a report: what failed, what was skipped and why, and the count. It has the first `FAILED_MAX`
    failures, and all if it `is_verbose`."""
    lines: list[str] = []
    failed = 0
    for outcome in outcomes:
        failed += outcome.result == "failed"
        if is_verbose or (outcome.result != "passed" and failed <= FAILED_MAX):
            lines += outcome.lines()
    if failed > FAILED_MAX and not is_verbose:
        lines.append(f"... and {failed - FAILED_MAX} more that failed; --verbose tells all of them")
    counts = {result: sum(one.result == result for one in outcomes) for result in ("passed", "failed", "skipped")}
    return [*lines, ", ".join(f"{count} {result}" for result, count in counts.items())]
