"""The report page: whole in itself, well formed, with a section for each outcome. How it looks is for eyes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.report import svg
from bench.report.html import page
from bench.report.svg import Bar, Scale, scale_of
from bench.results.files import ResultFile, json_text
from bench.results.outcome import OURS, Checks, Latency, Outcome, ServerOutcome
from tests.bench.made_up import core, fanout, idle, result

VOID = {"meta", "br", "hr"}


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


def test_the_page_is_well_formed_and_says_what_was_found() -> None:
    reader = read(page([result()]))
    words = " ".join(reader.text.split())
    assert (
        "one change told to 1,000 watchers costs 3.5 µs of server CPU each: 1.2 × a bare C loop, 0.49 × Redis" in words
    )
    assert "How it was measured. Publishers change and every watcher must be told" in words
    assert "Set: watchers 1,000, changes 200, publishers 1, rounds 5." in words
    for fact in ("Imagined CPU <9000>", "6.18.0", "0123456789ab, with changes", "python -m bench fanout --rounds 5"):
        assert fact in words
    assert "How the servers were setRedis: a change is <SET> and PUBLISH" in words
    assert "the peers keep no presence" in words and "apt-get install mosquitto" in words
    assert reader.links == reader.anchors and len(reader.anchors) == 3


def test_it_needs_nothing_from_anywhere() -> None:
    text = page([result()])
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(|https?:", text)
    assert "prefers-color-scheme:dark" in text


def test_drawings_are_xml_with_a_mark_for_each_server() -> None:
    drawings = [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page([result()]), re.DOTALL)]
    assert len(drawings) == 3, "bars and curves of the fan-out, lines of the core"
    bars, curves, lines = drawings
    assert [each.text for each in bars.iter("text") if each.get("class") == "name"] == [
        "presenced",
        "C loop",
        "Redis",
        "NATS",
        "ejabberd",
        "Prosody",
    ]
    assert len([each for each in curves.iter("path") if each.get("class") == "line"]) == 6
    assert len([each for each in lines.iter("circle") if each.get("class") == "dot"]) == 3


def test_what_comes_from_outside_is_escaped() -> None:
    outcome = fanout()
    outcome.servers[OURS].version = outcome.title = "<b>&"
    outcome.servers["<i>"] = ServerOutcome("<u>", dict(outcome.servers[OURS].figures))
    outcome.notes.append("<script>alert(1)</script>")
    outcome.options["<s>"] = "<s>"
    text = page([result(outcome, name="<x>.json"), result(idle(), name="<y>.json")])
    read(text)
    assert not re.search(r"<(b|i|u|s|x|y|script)>(?!How it was)", text)


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
    assert "Interrupted: these are the rounds that were complete." in words
    assert "durable: in memory, where a sync costs nothing" in words


def test_an_outcome_without_figures_still_makes_a_page() -> None:
    nothing = Outcome("flap", "flap: links that come and go", "cpu_us", servers={OURS: ServerOutcome()})
    assert "no round was completed" in read(page([result(nothing)])).text
    read(page([]))


@pytest.mark.parametrize("values", [[1.0, 19.0], [0.004, 0.005], [3.0], [0.0, 2.0], [1e9, 1.2e9]])
def test_a_narrow_range_is_drawn_from_zero(values: list[float]) -> None:
    scale = scale_of(values, 0, 100)
    assert not scale.log and scale(0) == 0
    assert 80 < scale(max(values)) <= 100
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 9 and all(scale.low <= tick <= scale.high for tick in ticks)


@pytest.mark.parametrize("values", [[1.0, 21.0], [0.3, 9000.0], [10.0, 10_000.0]])
def test_a_wide_range_is_drawn_on_a_logarithmic_scale(values: list[float]) -> None:
    scale = scale_of(values, 0, 100)
    assert scale.log
    assert 0 < scale(min(values)) < scale(max(values)) <= 100, "the smallest can still be seen"
    steps = [round(scale(b) - scale(a)) for a, b in pairwise(scale.ticks())]
    assert max(steps) - min(steps) <= 1, "decades are equally wide"


def test_bars_end_where_their_values_are() -> None:
    drawing = ElementTree.fromstring(
        svg.bars("server_cpu_us_per_delivery", [Bar("presenced", [2.0]), Bar("redis", [4.0])])
    )
    widths = [float(each.get("width", 0)) for each in drawing.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)


def test_every_nine_is_as_wide_as_the_last() -> None:
    points = [(0.0, 1.0), (90.0, 2.0), (99.0, 3.0), (99.9, 4.0), (100.0, 5.0)]
    drawing = ElementTree.fromstring(svg.latency_curve([("presenced", points)]))
    line = next(each for each in drawing.iter("path") if each.get("class") == "line")
    xs = [float(point.split()[0]) for point in str(line.get("d"))[1:].split("L")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.3) == pytest.approx(xs[3] - xs[2], abs=0.3)
    assert [each.text for each in drawing.iter("text")][-6:-2] == ["p50", "p90", "p99", "p99.9"]


def test_names_at_the_ends_of_lines_do_not_overlap() -> None:
    lines = [(f"server{number}", [(50.0, 100.0 + number / 10), (100.0, 200.0 + number / 10)]) for number in range(7)]
    drawing = ElementTree.fromstring(svg.latency_curve(lines))
    heights = sorted(float(each.get("y", 0)) for each in drawing.iter("text") if each.get("class") == "name")
    assert len(heights) == 7 and min(b - a for a, b in pairwise(heights)) >= svg.LABEL_APART - 0.2
    assert heights[-1] <= svg.PLOT_HEIGHT - svg.BOTTOM + 5


def test_several_waits_of_one_server_share_a_chart_with_room_for_their_names() -> None:
    outcome = core()
    outcome.servers[OURS].latency = {
        name: Latency.of_ns(range(10_000, 99_000, 97)) for name in ("login", "change_to_watcher_beside_slow")
    }
    drawings = [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page([result(outcome)]), re.S)]
    assert len(drawings) == 2, "the waits, and cost against scale"
    names = {each.text: float(each.get("x", 0)) for each in drawings[0].iter("text") if each.get("class") == "name"}
    assert names.keys() == {"login", "change to watcher beside slow"}
    assert max(names.values()) + 7 * len("change to watcher beside slow") <= svg.WIDTH
    colours = {each.get("class") for each in drawings[0].iter("g")}
    assert len(colours) == 2


def test_a_scale_of_nothing_is_still_one() -> None:
    assert Scale(0.0, 0.0, 5, 10, log=False)(3) == 5
    assert scale_of([], 0, 100).high > 0


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
    picture = tmp_path / "picture.svg"
    done = CliRunner().invoke(main, ["plot", *map(str, files), "-o", str(picture)])
    assert done.exit_code == 0, done.output
    root = ElementTree.parse(picture).getroot()
    space = "{http://www.w3.org/2000/svg}"
    titles = [text.text for text in root.iter(f"{space}text") if text.get("class") == "title"]
    assert len(titles) == 2 and "1,000 watchers" in str(titles[0]) and "1,001 watchers" in str(titles[1])
    assert len(list(root.iter(f"{space}rect"))) == 1 + 2 + 3, "the background and a bar for each server"
    assert "http" not in picture.read_text().replace("http://www.w3.org/2000/svg", ""), "it needs nothing from outside"
