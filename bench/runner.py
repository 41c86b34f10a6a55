"""One command from its profiles to its exit code: run them, keep what a signal left, write the files, judge the result.

Exit codes: 0 clean; 1 a fault, a broken promise or no result; 130 and 143 ended by Ctrl-C and SIGTERM, after what was
there by then has been told.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.machine.cores import Cores, take_cores
from bench.machine.facts import machine_facts
from bench.registry import Profile
from bench.report import slo
from bench.report.progress import Bar
from bench.report.sentences import faults_sentence
from bench.report.table import print_outcome, print_quiet
from bench.results.files import ResultFile, json_text, write_csv, write_text
from bench.results.outcome import OURS

OK = 0
FAILED = 1
SIGNALLED = 128
PATIENCE = 2
"""The signal with this number is not heeded."""
HOLD_ON = b"\nbench: telling what there is; once more to throw it away\n"


@dataclass
class Wanted:
    """What is to come out, and what it must keep."""

    json: bool = False
    json_file: Path | None = None
    csv_file: Path | None = None
    report_file: Path | None = None
    quiet: bool = False
    promises: Sequence[slo.Promise] = field(default_factory=tuple)


class Signals:
    """Turns SIGINT and SIGTERM into what `partial` catches, while a profile runs, and into the exit at other times.

    Between the first signal and the end of the telling a second one is not heeded: it would throw away what was found.
    The third one ends everything.
    """

    def __init__(self) -> None:
        self.running = False
        self.reports = False
        """There are results that are not written yet."""
        self.number = 0
        self._count = 0

    def install(self) -> None:
        """For the program; whoever calls the commands as functions keeps its own handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: object) -> None:
        self.number = number
        self._count += 1
        if self._count == PATIENCE:
            os.write(2, HOLD_ON)  # not print: it may be in the middle of one
            return
        if self.running:
            raise KeyboardInterrupt
        if self.reports and self._count < PATIENCE:
            return
        sys.exit(SIGNALLED + number)  # unwinds the context managers, which end the servers

    @property
    def exit_code(self) -> int:
        """130 or 143."""
        return SIGNALLED + (self.number or signal.SIGINT)


SIGNALS = Signals()


def run_all(profiles: Sequence[tuple[Profile, dict[str, Any]]], wanted: Wanted) -> int:
    """Run each with its settings, tell what was found, and give the exit code."""
    cores = take_cores()
    result = ResultFile(machine_facts(cores))
    interrupted = False
    SIGNALS.reports = True
    for number, (profile, settings) in enumerate(profiles, 1):
        title = profile.name if len(profiles) == 1 else f"{number}/{len(profiles)} {profile.name}"
        interrupted = _run_one(profile, settings, cores, result, title, quiet=wanted.quiet)
        if result.outcomes and result.outcomes[-1].profile == profile.name and not wanted.json:
            if wanted.quiet:
                print_quiet(result.outcomes[-1])
            else:
                print_outcome(result.outcomes[-1], result.machine, foot=number == len(profiles) or interrupted)
                if number < len(profiles) and not interrupted:
                    print()
            sys.stdout.flush()
        interrupted = interrupted or bool(SIGNALS.number)
        if interrupted:
            break
    try:
        return _finish(result, wanted, interrupted=interrupted)
    finally:
        SIGNALS.reports = False


def _run_one(
    profile: Profile, settings: dict[str, Any], cores: Cores, result: ResultFile, title: str, *, quiet: bool
) -> bool:
    """Add its outcome to the result, or why there is none. True if a signal ended it."""
    SIGNALS.running = True
    try:
        with Bar(title, quiet=quiet) as bar:
            outcome = profile.run(cores=cores, progress=bar, **settings)
    except KeyboardInterrupt:
        result.failed[profile.name] = "interrupted before a round was complete"
        return True
    except (BenchError, OSError) as error:
        if SIGNALS.number:
            result.failed[profile.name] = "interrupted before a round was complete"
            return True
        result.failed[profile.name] = str(error)
        return False
    except Exception as error:
        # Whatever one profile meets, the results of those before it must be written.
        traceback.print_exc()
        result.failed[profile.name] = f"{type(error).__name__}: {error}"
        return False
    finally:
        SIGNALS.running = False
        gc.enable()
        gc.unfreeze()
        gc.collect()
    if outcome.interrupted and not any(server.figures for server in outcome.servers.values()):
        result.failed[profile.name] = "interrupted before a round was complete"
        return True
    outcome.options.setdefault("change_spacing", "off")
    if OURS in outcome.servers and not outcome.servers[OURS].version:
        outcome.servers[OURS].version = str(result.machine.get("presenced", ""))
    result.outcomes.append(outcome)
    return outcome.interrupted


def _finish(result: ResultFile, wanted: Wanted, *, interrupted: bool) -> int:
    """Write what was asked for, say what is wrong, and give the exit code."""
    told = [f"{name}: {why}" for name, why in result.failed.items()]
    told += [f"{outcome.profile}: {sentence}" for outcome in result.outcomes if (sentence := faults_sentence(outcome))]
    if not interrupted and not (result.failed and not result.outcomes):
        told += slo.broken(wanted.promises, result.outcomes)
    try:
        _write(result, wanted)
    except BenchError as error:
        told.append(str(error))
    for sentence in told:
        print(f"bench: {sentence}", file=sys.stderr)
    if interrupted:
        return SIGNALS.exit_code
    return FAILED if told else OK


def _write(result: ResultFile, wanted: Wanted) -> None:
    text = json_text(result)
    # Written to stdout whatever becomes of the files: it may be all that remains of an hour.
    if wanted.json:
        sys.stdout.write(text)
        sys.stdout.flush()
    if wanted.json_file is not None:
        write_text(wanted.json_file, text)
    if wanted.csv_file is not None:
        rows = io.StringIO()
        write_csv(rows, result)
        write_text(wanted.csv_file, rows.getvalue())
    if wanted.report_file is not None:
        from bench.report.page import page  # only a report needs it

        write_text(wanted.report_file, page([result]))
