"""Sentences on a terminal: no word is cut in two, and a program's reader gets one line."""

from __future__ import annotations

import sys
from typing import Any

import click
import pytest
from hypothesis import given, settings, strategies as st

from presenced.cli import exits
from presenced.cli.asides import terminal_width
from presenced.cli.output import Output, clock_time
from presenced.cli.text_lines import LEAST_WIDTH, columns, wrapped
from tests.cli.commands import on_terminal
from tests.support.tiers import samples

SENTENCE = "the log has 3 facts that wait, and the disk is full"


def test_lines_end_between_words() -> None:
    assert wrapped(SENTENCE, 24, 2) == ["the log has 3 facts that", "  wait, and the disk is", "  full"]
    assert wrapped(SENTENCE, 51) == [SENTENCE], "just wide enough"
    assert wrapped("  laptop  online  used", 20, 4) == ["  laptop  online", "    used"], "columns stay where they are"


@pytest.mark.parametrize("width", [0, 1, LEAST_WIDTH - 1])
def test_without_a_width_it_is_one_line(width: int) -> None:
    assert wrapped(SENTENCE, width) == [SENTENCE]


def test_a_word_that_is_too_long_stays_whole() -> None:
    path = "/run/presenced/admin.socket.of.the.first.node"
    assert wrapped(f"there is no {path} here", 20) == ["there is no", path, "here"]


def test_each_line_of_several_begins_anew() -> None:
    text = f"refused:\n{SENTENCE}\nx.toml:4: is wrong"
    assert wrapped(text, 24) == ["refused:", *wrapped(SENTENCE, 24), "x.toml:4: is wrong"]


def test_wide_characters_take_two_columns() -> None:
    assert columns("a\u754c") == 3
    assert wrapped("\u754c\u754c\u754c\u754c \u754c\u754c\u754c\u754c \u754cx", 20) == [
        "\u754c\u754c\u754c\u754c \u754c\u754c\u754c\u754c",
        "\u754cx",
    ]


@settings(max_examples=samples(100))
@given(st.lists(st.text("ab\u754c-", min_size=1, max_size=30), min_size=1), st.integers(LEAST_WIDTH, 60))
def test_no_word_is_lost_or_broken(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), width, 3)
    assert " ".join(lines).split() == words
    assert all(columns(line) <= width or len(line.split()) == 1 for line in lines)


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    assert terminal_width(sys.stdout) == 33
    for odd in ("", "0", "x", "\u0663"):
        monkeypatch.setenv("COLUMNS", odd)
        assert terminal_width(sys.stdout) == 0, "standard output is no terminal here"


class TestOutput:
    def shown(self, capsys: pytest.CaptureFixture[str], width: int, *, has_colour: bool = False) -> str:
        output = Output(is_json=False, has_colour=has_colour, is_quiet=False, width=width)
        output.say({}, SENTENCE)
        output.sentence(f"kept    {SENTENCE}", indent=8)
        output.page({}, ["Devices", "  laptop  online  connected", "Why: the claim of the call decides."])
        output.finding({"severity": "problem", "what": SENTENCE, "advice": "free the disk, then look again"})
        return capsys.readouterr().out

    def test_sentences_pages_and_findings(self, capsys: Any) -> None:
        assert self.shown(capsys, 24).splitlines() == [
            "the log has 3 facts that",
            "wait, and the disk is",
            "full",
            "kept    the log has 3",
            "        facts that wait,",
            "        and the disk is",
            "        full",
            "Devices",
            "  laptop  online",
            "      connected",
            "Why: the claim of the",
            "call decides.",
            "problem  the log has 3",
            "         facts that",
            "         wait, and the",
            "         disk is full",
            "         -> free the",
            "            disk, then",
            "            look again",
        ]

    def test_the_colour_of_a_finding_takes_no_columns(self, capsys: Any) -> None:
        first = self.shown(capsys, 24, has_colour=True).splitlines()[12]
        assert first == "\x1b[31mproblem \x1b[0m the log has 3"

    def test_not_on_a_terminal_each_is_a_line(self, capsys: Any) -> None:
        assert self.shown(capsys, 0).splitlines() == [
            SENTENCE,
            f"kept    {SENTENCE}",
            "Devices",
            "  laptop  online  connected",
            "Why: the claim of the call decides.",
            f"problem  {SENTENCE}",
            "         -> free the disk, then look again",
        ]

    @pytest.mark.parametrize("is_terminal", [True, False])
    def test_notes_are_wrapped_where_standard_error_is_a_terminal(
        self, capsys: Any, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
    ) -> None:
        monkeypatch.setenv("COLUMNS", "24")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
        Output(is_json=False, has_colour=False, is_quiet=False).note(SENTENCE)
        assert len(capsys.readouterr().err.splitlines()) == (3 if is_terminal else 1)
        assert exits.complain(SENTENCE, 7) == 7
        assert len(capsys.readouterr().err.splitlines()) == (3 if is_terminal else 1)

    @pytest.mark.parametrize("has_colour", [True, False])
    def test_what_happened_stands_beside_its_time(self, capsys: Any, has_colour: bool) -> None:
        Output(is_json=False, has_colour=has_colour, is_quiet=False, width=24).moment(SENTENCE, "dnd", 5_000)
        red, end = ("\x1b[31m", "\x1b[0m") if has_colour else ("", "")
        clock = clock_time(5_000)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{clock}  {red}the{end}" or lines[0] == f"{clock}  {red}the log{end}"
        assert all(line.startswith(" " * (len(clock) + 2) + red) for line in lines[1:])
        assert click.unstyle(" ".join(lines)).split()[-12:] == SENTENCE.split()


class TestNarrow:
    """On a terminal of 40 columns nothing is left to the terminal, which cuts words in two."""

    COLUMNS = 40

    def shown(self, *args: str, module: str = "presenced.cli.ctl") -> list[str]:
        text = on_terminal(*args, env={"COLUMNS": str(self.COLUMNS)}, module=module, has_errors=True)
        return text.splitlines()

    @pytest.mark.parametrize(
        "words",
        [("get",), ("get", "--frob"), ("gte",), ("--frob",), ("set", "busy"), ("get", "x", "--json"), ("--node", "0")],
    )
    def test_wrong_usage(self, words: tuple[str, ...]) -> None:
        lines = self.shown(*words)
        assert any(line.startswith("Error: ") for line in lines) and len(lines) > 3
        assert max(map(len, lines)) <= self.COLUMNS, lines

    @pytest.mark.parametrize("words", [("-h",), ("set", "-h"), ("contacts", "ask", "-h")])
    def test_help(self, words: tuple[str, ...]) -> None:
        lines = [line for line in self.shown(*words) if not line.endswith(":")]
        assert len(lines) > 5 and max(map(len, lines)) <= self.COLUMNS, lines

    @pytest.mark.parametrize(
        "words",
        [
            ("serve", "--listen", "nowhere", "--data-dir", "x"),
            ("config", "check", "--config", "/no-such-file"),
            ("store", "check", "/no-such-directory"),
            ("token", "--user", "x", "--secret-file", "/no-such-file"),
            ("serve", "--frob"),
        ],
    )
    def test_the_daemons_program(self, words: tuple[str, ...]) -> None:
        lines = self.shown(*words, module="presenced.__main__")
        assert len(lines) > 1 and any(line.startswith(("presenced: ", "Error: ")) for line in lines)
        assert all(len(line) <= self.COLUMNS or " " not in line for line in lines), lines
