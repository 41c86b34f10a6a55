"""The report page and the picture: whole in themselves, well formed, with a section or a chart for each outcome. How
they look is for eyes."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.errors import BenchError
from bench.paths import REPOSITORY
from bench.results.files import ResultFile, json_text
from bench.results.outcome import OURS, Checks, Latency, Outcome, ServerOutcome
from tests.bench.made_up import core, fanout, idle, result

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "br", "hr"}


@pytest.fixture(scope="module", autouse=True)
def with_matplotlib() -> None:
    """Import what draws, which takes matplotlib a second: only here, and not in each process that collects this
    file."""
    global charts, nines, page, picture
    from bench.report.charts import charts, nines, picture
    from bench.report.page import page


class Reader(HTMLParser):
    """Holds that every element is closed where it should be, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.anchors: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "section" and found.get("id"):
            self.anchors.add(str(found["id"]))
        if tag == "a":
            self.links.add(str(found["href"]).removeprefix("#"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes {self.open[-1:]}"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def texts(drawing: str) -> list[str]:
    """The words in a drawing."""
    return ["".join(each.itertext()) for each in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def test_the_page_is_well_formed_and_says_what_was_found() -> None:
    reader = read(page([result()]))
    words = " ".join(reader.text.split())
    assert (
        "one change told to 1,000 watchers costs 3.5 us of server CPU each: 1.2 x a bare C loop, 0.49 x Redis" in words
    )
    assert "How it was measured: Publishers change and every watcher must be told" in words
    assert "Set: watchers 1,000, changes 200, publishers 1, rounds 5." in words
    for fact in ("Imagined CPU <9000>", "6.18.0", "0123456789ab, with changes", "python -m bench fanout --rounds 5"):
        assert fact in words
    assert "Redis: a change is <SET> and PUBLISH" in words
    assert "the peers keep no presence" in words and "apt-get install mosquitto" in words
    assert reader.links == reader.anchors and len(reader.anchors) == 3


def test_it_needs_nothing_from_anywhere() -> None:
    text = page([result()])
    assert not re.search(r"<(script|link|img|iframe)|@import|url\((?!#)", text)
    assert set(re.findall(r"https?://[\w./]+", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_drawings_are_xml_with_every_server_in_them() -> None:
    bars, curves = charts(fanout())
    for drawing in (bars, curves):
        assert {"presenced", "C loop", "Redis", "NATS", "ejabberd", "Prosody"} <= set(texts(drawing))
    assert {"3.48 us", "2.88 us (0.83 × ours)", "7.15 us (2.1 × ours)"} <= set(texts(bars))
    assert {"p50", "p90", "p99", "p99.9", "p99.99"} <= set(texts(curves))
    (lines,) = charts(core())
    assert {"10,000", "100,000", "1,000,000", "change by users"} <= set(texts(lines))
    assert charts(idle()) == []


def test_two_drawings_of_one_outcome_are_equal() -> None:
    assert charts(fanout()) == charts(fanout())


def test_every_nine_is_as_wide_as_the_last() -> None:
    assert [nines(percent) for percent in (0, 90, 99, 99.9)] == pytest.approx([0, 1, 2, 3])
    assert nines(100) > nines(99.9999999)


def test_several_waits_of_one_server_share_a_chart() -> None:
    outcome = core()
    outcome.servers[OURS].latency = {
        name: Latency.of_ns(range(10_000, 99_000, 97)) for name in ("login", "change_to_watcher_beside_slow")
    }
    waits, _ = charts(outcome)
    assert {"login", "change to watcher beside slow", "the waits by percentile"} <= set(texts(waits))


def test_what_comes_from_outside_is_escaped() -> None:
    outcome = fanout()
    outcome.servers[OURS].version = outcome.title = "<b>&"
    outcome.servers["<i>"] = ServerOutcome("<u>", dict(outcome.servers[OURS].figures))
    outcome.notes.append("<script>alert(1)</script>")
    outcome.options["<s>"] = "<s>"
    text = page([result(outcome, name="<x>.json"), result(idle(), name="<y>.json")])
    read(text)
    assert not re.search(r"<(b|i|u|s|x|y|script)>", text)


def test_failures_are_not_to_be_missed() -> None:
    outcome = fanout()
    outcome.servers["redis"].checks = Checks(lost=3)
    outcome.interrupted = True
    file = result(outcome)
    file.failed["durable"] = "in memory, where a sync costs nothing"
    text = page([file])
    words = " ".join(read(text).text.split())
    assert text.count('<p class="alarm">') == 2
    assert "the run failed: Redis: 3 lost; its figures mean nothing" in words
    assert "interrupted: these are the rounds that were complete" in words
    assert "durable: in memory, where a sync costs nothing" in words


def test_an_outcome_without_figures_still_makes_a_page() -> None:
    nothing = Outcome("flap", "flap: links that come and go", "cpu_us", servers={OURS: ServerOutcome()})
    assert "no round was completed" in read(page([result(nothing)])).text
    read(page([]))


def test_several_files_make_one_page(tmp_path: Path) -> None:
    names = []
    for name, outcome in (("monday.json", fanout()), ("tuesday.json", core())):
        (tmp_path / name).write_text(json_text(result(outcome)))
        names.append(str(tmp_path / name))
    done = CliRunner().invoke(main, ["report", *names, "-o", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    reader = read((tmp_path / "page.html").read_text())
    assert "monday.json" in reader.text and "tuesday.json" in reader.text
    assert len(reader.anchors) == 2


# --- the picture -------------------------------------------------------------------------------------------------


def test_the_picture_has_a_chart_for_each_outcome_with_somebody_to_compare_with(tmp_path: Path) -> None:
    files = []
    for number, names in enumerate((("presenced", "redis"), ("presenced", "limit", "nats"), ("presenced",))):
        outcome = Outcome("fanout", "fan-out", "server_cpu_us_per_delivery", {"watchers": 1000 + number})
        for name in names:
            outcome.servers[name] = ServerOutcome(figures={"server_cpu_us_per_delivery": [3.5, 3.7, 3.6]})
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json_text(ResultFile({}, [outcome])))
    drawn = tmp_path / "picture.svg"
    done = CliRunner().invoke(main, ["plot", *map(str, files), "-o", str(drawn)])
    assert done.exit_code == 0, done.output
    words = texts(drawn.read_text())
    titles = [word for word in words if word.startswith("fanout")]
    assert titles == [f"fanout (1,00{at} watchers): server CPU per delivery" for at in (0, 1)]
    assert words.count("presenced") == 2 and words.count("NATS") == 1


def test_a_picture_of_nobody_to_compare_with_is_refused() -> None:
    with pytest.raises(BenchError, match="two servers"):
        picture([idle()])


def test_without_matplotlib_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own, where matplotlib cannot be found."""
    (tmp_path / "a.json").write_text(json_text(result()))
    script = "import sys; sys.modules['matplotlib'] = None; from bench.__main__ import main; main()"
    command = [sys.executable, "-c", script, "report", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.html")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install 'presenced[bench]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
