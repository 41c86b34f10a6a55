"""Result files: the JSON object that holds outcomes with the machine they were made on, read back, and the same as CSV.

The machine, the versions, the commit and the command stand in both: a figure is worth nothing without them.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

from bench.errors import BenchError
from bench.results.outcome import Checks, Latency, Outcome, ServerOutcome

SCHEMA = 1
NOT_FIGURES = ("version", "checks", "latency", "series")
CSV_COLUMNS = ("profile", "server", "version", "figure", "round", "value")
CSV_OPTIONS = ("change_spacing", "options")
"""Of the profile; the options as one JSON object."""
CSV_MACHINE = (
    *("date", "commit", "dirty", "cpu", "cpu_count", "kernel", "python", "presenced", "uvloop", "msgspec"),
    *("pinning", "command_line"),
)


@dataclass
class ResultFile:
    """What one command found."""

    machine: dict[str, Any]
    outcomes: list[Outcome] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Profiles that gave no outcome, and the sentence that says why."""
    name: str = ""
    """Of the file it was read from."""

    def as_json(self) -> dict[str, Any]:
        """The form of `--json`."""
        outcomes = [outcome.as_json() for outcome in self.outcomes]
        return {"schema": SCHEMA, "machine": self.machine, "outcomes": outcomes, "failed": self.failed}


class NotAResult(BenchError):
    """The file holds no results that this version can read; the text says why."""


def write_text(path: Path, text: str) -> None:
    """Write the whole file or leave the old one; `BenchError` if that cannot be done."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BenchError(f"{path} cannot be written: {error.strerror}; choose another file") from error


def json_text(result: ResultFile) -> str:
    """The object on one line."""
    return json.dumps(result.as_json()) + "\n"


def read_result(path: Path) -> ResultFile:
    """What `--json-file` wrote; `NotAResult` for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotAResult(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise NotAResult(f"{path} is not JSON: {error}; give a file that --json-file wrote") from error
    if not isinstance(found, dict) or "schema" not in found:
        raise NotAResult(f"{path} is not a result of the bench; give a file that --json-file wrote")
    if found["schema"] != SCHEMA:
        raise NotAResult(f"{path} has schema {found['schema']!r} and this bench reads {SCHEMA}; make it again")
    try:
        outcomes = [outcome_of(each) for each in found["outcomes"]]
        return ResultFile(dict(found["machine"]), outcomes, dict(found.get("failed", {})), path.name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotAResult(f"{path} is damaged: {type(error).__name__} {error}; make it again") from error


def outcome_of(found: dict[str, Any]) -> Outcome:
    """The outcome that `Outcome.as_json` gave this for."""
    return Outcome(
        str(found["profile"]),
        str(found["title"]),
        str(found["main_figure"]),
        options=dict(found["options"]),
        servers={name: _server_of(server) for name, server in found["servers"].items()},
        missing=dict(found["missing"]),
        notes=list(found["notes"]),
        interrupted=bool(found["interrupted"]),
    )


def _server_of(found: dict[str, Any]) -> ServerOutcome:
    figures = {name: [float(value) for value in each["rounds"]] for name, each in found.items() if _is_figure(name)}
    counts = {each.name: int(found["checks"].get(each.name, 0)) for each in fields(Checks)}
    return ServerOutcome(
        str(found["version"]),
        figures,
        Checks(**counts),
        {name: _latency_of(latency) for name, latency in found["latency"].items()},
        {name: [(float(x), float(y)) for x, y in points] for name, points in found["series"].items()},
    )


def _is_figure(name: str) -> bool:
    return name not in NOT_FIGURES


def _latency_of(found: dict[str, Any]) -> Latency:
    points = [(float(percent), float(value)) for percent, value in found["points"]]
    p50, p90, p99, p999, largest = (float(found[f"{name}_us"]) for name in ("p50", "p90", "p99", "p999", "max"))
    return Latency(int(found["count"]), p50, p90, p99, p999, largest, points)


def write_csv(file: TextIO, result: ResultFile) -> None:
    """A row for each profile, server, figure and round; what belongs to the whole run has the round `all`. Every row
    carries the machine, so that files can be put together."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*CSV_COLUMNS, *CSV_OPTIONS, *CSV_MACHINE))
    machine = [result.machine.get(name, "") for name in CSV_MACHINE]
    for outcome in result.outcomes:
        options = (outcome.options.get("change_spacing", ""), json.dumps(outcome.options))
        for row in csv_rows(outcome):
            writer.writerow((*row, *options, *machine))


def csv_rows(outcome: Outcome) -> Iterator[Sequence[object]]:
    """The rows of one outcome, in `CSV_COLUMNS`."""
    for name, server in outcome.servers.items():
        head = (outcome.profile, name, server.version)
        for figure, values in server.figures.items():
            yield from ((*head, figure, number, value) for number, value in enumerate(values, 1))
        for what, latency in server.latency.items():
            for each in fields(latency):
                if each.name != "points":
                    yield *head, f"{what}_{each.name}", "all", getattr(latency, each.name)
        yield from ((*head, f"checks_{each.name}", "all", getattr(server.checks, each.name)) for each in fields(Checks))
    for peer, ratio in outcome.ratios().items():
        yield from ((outcome.profile, peer, "", f"ratio_{what}", "all", value) for what, value in ratio.items())


def all_outcomes(results: Iterable[ResultFile]) -> Iterator[tuple[ResultFile, Outcome]]:
    """Every outcome with the file that it is from."""
    for result in results:
        for outcome in result.outcomes:
            yield result, outcome
