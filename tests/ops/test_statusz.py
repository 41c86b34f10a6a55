"""The status page: the figures that the status has, nothing from outside, nothing that a name can break."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import struct
import subprocess
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from presenced.ops import formats, statusz
from presenced.ops.doctor import Finding
from presenced.ops.history import History
from presenced.ops.svg import HEIGHT, WIDTH, plot
from presenced.server.clustering.status import ClusterStatus
from presenced.server.status import ServerStatus, SlowWatcher
from presenced.sync import connect
from tests.support.in_process import InProcess
from tests.support.status import made_cluster, made_log, made_status

CHROMIUM_S = 60.0
EVIL = "<img/src=x/onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, text by table row."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._open: list[str] = []
        self.feed(html.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "polyline", "polygon"):
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("polyline", "polygon"):
            assert self._open.pop() == tag, "elements are nested"

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts.append(data)
        elif inside == "style":
            self.styles.append(data)
        else:
            self.text += data
            if inside in ("td", "th"):
                self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """The cells after `name`."""
        found = [row[1:] for row in self.rows if row and row[0] == name]
        assert len(found) == 1, f"{name!r} is there {len(found)} times"
        return found[0]


def shown(status: ServerStatus, history: History | None = None, findings: tuple[Finding, ...] = ()) -> Page:
    page = Page(statusz.page(status, history or History(), findings))
    assert not page._open
    return page


def some_history(samples: int = 20) -> History:
    history = History()
    for second in range(samples + 1):
        history.sample(
            made_status(uptime_ms=second * 1_000, deliveries=second * second, changes=second * 5, links=100 + second)
        )
    return history


# --- figures ------------------------------------------------------------------------------------------------------


def test_the_figures_of_the_status() -> None:
    page = shown(made_status())
    assert page.row("Shown as away") == ["1,600"]
    assert page.row("Role service") == ["5"]
    assert page.row("Ended: replaced") == ["222"]
    assert page.row("Memory in use, and its budget") == ["128 MiB, 512 MiB"]
    assert page.row("State of the memory") == ["ok"]
    assert page.row("Links refused for lack of memory") == ["100"]
    assert page.row("Requests refused for lack of memory") == ["59"]
    assert page.row("File descriptors") == ["10,101 of 20,002"]
    assert page.row("Directory") == ["/var/lib/presenced"]
    assert page.row("State") == ["ok"]
    assert page.row("Snapshot") == ["1 min 1 s ago, 5.0 MiB, took 741 ms"]
    assert page.row("mallory/phone") == ["user", "431", "12 s"]
    assert page.row("Turn") == ["128 \u00b5s", "700 \u00b5s", "700 \u00b5s", "3"]
    assert "9,123" in page.text and "online of 12,345 users" in page.text
    assert "1.2.3, Python 3.11.2, uvloop, process 4711" in page.text


UNSEEN = {
    "wall_jump_ms": "in the doctor's finding",
    "dev": "likewise",
    "certificate_ends_ms": "likewise",
    "lost_followers": "likewise",
}


@pytest.mark.parametrize("field", ServerStatus.__struct_fields__)
def test_every_figure_of_the_status_is_shown(field: str) -> None:
    status = made_status()
    now = getattr(status, field)
    changed: Any = {
        bool: lambda: not now,
        int: lambda: now * 3 + 1_000_000,
        str: lambda: now + "-other",
        dict: lambda: {key: number * 3 + 1_000_000 for key, number in now.items()},
        list: lambda: [now[0] + "1"] if field == "listeners" else [SlowWatcher("eve", "user", 9, 9)],
    }.get(type(now), lambda: None)()
    if field == "log":
        changed = None
    elif field == "memory":
        changed = msgspec.structs.replace(now, ended_links=7)
    elif field == "cluster":
        changed = msgspec.structs.replace(now, users_own=7)
    elif field == "webhooks":
        changed = msgspec.structs.replace(now, behind=7)
    elif changed is None:
        changed = msgspec.structs.replace(now, count=5, p50_us=77_000.0)
    other = msgspec.structs.replace(status, **{field: changed})
    assert (statusz.page(status, History(), ()) == statusz.page(other, History(), ())) == (field in UNSEEN)


@pytest.mark.parametrize("field", [name for name in ClusterStatus.__struct_fields__ if name != "lease_ms"])
def test_every_figure_of_a_cluster_is_shown(field: str) -> None:
    cluster = made_cluster()
    now = getattr(cluster, field)
    changed: Any = {
        "state": lambda: "isolated",
        "engine": lambda: msgspec.structs.replace(now, version="8.0.1"),
        "nodes": lambda: now[:2],
    }.get(field, lambda: now + "-other" if isinstance(now, str) else now * 3 + 1_000_000)()
    other = made_status(cluster=made_cluster(**{field: changed}))
    assert statusz.page(made_status(), History(), ()) != statusz.page(other, History(), ())


def test_the_nodes_are_a_table_and_their_names_are_text() -> None:
    page = shown(made_status())
    assert page.row("web-2 (this one)") == ["317", "9 s", "812 k", "4,217", "3,343", "4 ms"]
    assert page.row("web-1") == ["311", "9 s", "812 k", "4,111", "3,121", "17 ms"]
    assert page.row("web-3") == ["313", "8 s", "812 k", "4,019", "-", "-"]
    assert "Cluster" not in shown(made_status(cluster=None)).text
    evil = msgspec.structs.replace(made_cluster().nodes[0], name=EVIL)
    assert shown(made_status(cluster=made_cluster(nodes=[evil]))).row(EVIL)


def test_what_the_doctor_found_is_shown_and_what_is_well_is_not() -> None:
    page = shown(
        made_status(),
        findings=(
            Finding("problem", "log_state", "the disk is full", "free space"),
            Finding("warning", "stalls", "it stood still", "look for swapping"),
            Finding("ok", "clock", "the clock did not jump"),
        ),
    )
    items = [attributes.get("class") for tag, attributes in page.elements if tag == "li"]
    assert items == ["problem", "warning"]
    assert "the disk is full free space" in page.text
    assert "did not jump" not in page.text
    assert "warnings" not in str(shown(made_status()).elements)


@pytest.mark.parametrize(
    "status",
    [
        made_status(log=None),
        made_status(slowest=[], slow_watchers=0, listeners=[], config="", goodbyes={}, by_status={}),
        made_status(log=made_log(snapshot_running=True, snapshot_wall_ms=0)),
        made_status(state="draining"),
    ],
)
def test_what_may_be_missing(status: ServerStatus) -> None:
    page = shown(status)
    assert status.state in page.text
    assert status.log is not None or page.row("State") == ["in memory only"]


# --- safety -------------------------------------------------------------------------------------------------------


def test_nothing_from_outside_becomes_markup() -> None:
    clean = shown(made_status(), some_history())
    page = shown(
        made_status(
            slowest=[SlowWatcher(EVIL, EVIL, 431, 12_200), SlowWatcher("bob", "service", 3, 700)],
            listeners=[EVIL],
            config=EVIL,
            version=EVIL,
            python=EVIL,
            loop=EVIL,
            by_status={EVIL: 1, "online": 2, "away": 3, "xa": 4, "dnd": 5},
            links_by_role={EVIL: 1, "service": 1, "admin": 1, "none": 1, "ending": 1},
            goodbyes={EVIL: 1, "replaced": 2, "bad_token": 3},
            refused={EVIL: 1, "read_only": 2},
            log=made_log(directory=EVIL, durability=EVIL, state=EVIL),
        ),
        some_history(),
    )
    assert page.elements == clean.elements, "the same elements with the same attributes"
    assert page.row(EVIL) == [EVIL, "431", "12 s"]
    assert page.text.count(EVIL) == 14
    state = shown(made_status(state=EVIL))
    assert ("b", {"class": EVIL}) in state.elements
    assert [tag for tag, _ in state.elements] == [tag for tag, _ in shown(made_status()).elements]
    finding = shown(made_status(), findings=(Finding("warning", "x", EVIL, EVIL),))
    assert not [tag for tag, _ in finding.elements if tag == "img"]


def test_the_policy_admits_the_pages_own_style_and_script_and_no_others() -> None:
    page = shown(made_status(), some_history())

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    policy = dict(part.strip().split(" ", 1) for part in statusz.POLICY.split(";"))
    assert policy["default-src"] == "'none'"
    assert [digest(text) for text in page.styles] == [policy["style-src"]]
    assert [digest(text) for text in page.scripts] == [policy["script-src"]]
    for tag, attributes in page.elements:
        assert tag not in ("img", "link", "iframe", "object", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in ("style", "src"), f"{tag} {name}"
            assert name != "href" or re.fullmatch(r"/[a-z.]*", value or ""), "links stay here"
    assert "http" not in "".join([*page.styles, *page.scripts])


def test_the_first_page_obeys_the_same_policy() -> None:
    page = Page(statusz.index(["/", "/metrics"]))
    assert not page.scripts
    assert page.styles == shown(made_status()).styles


# --- plots --------------------------------------------------------------------------------------------------------


def points(svg: str) -> list[tuple[float, float]]:
    line = re.search(r'<polyline class="line" points="([^"]+)"', svg)
    assert line is not None
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line[1].split())]


def test_a_plot_ends_now_and_stays_inside() -> None:
    svg = plot("Links", [1_000, 2_000, 3_000, 6_000], [0, 10, 5, 20], 10_000, formats.count)
    drawn = points(svg)
    assert [x for x, _ in drawn] == [WIDTH / 2, WIDTH * 0.6, WIDTH * 0.7, WIDTH]
    assert all(0 <= y <= HEIGHT for _, y in drawn)
    assert drawn[0][1] == HEIGHT, "nothing is at the bottom"
    assert min(drawn, key=lambda point: point[1]) == drawn[3], "the most is at the top"
    assert "<b>20</b>" in svg


def test_what_is_older_than_the_span_is_not_drawn() -> None:
    assert len(points(plot("x", [0, 50_000, 59_000], [1, 2, 3], 10_000, formats.count))) == 2


@pytest.mark.parametrize("values", [[0, 0, 0], [7, 7, 7]])
@pytest.mark.parametrize("from_zero", [True, False])
def test_a_constant_is_a_line(values: list[int], from_zero: bool) -> None:
    svg = plot("x", [0, 1_000, 2_000], values, 10_000, formats.count, from_zero=from_zero)
    assert len({y for _, y in points(svg)}) == 1


def test_the_scale_of_what_matters_by_its_change_begins_at_the_least() -> None:
    drawn = points(plot("x", [0, 1_000], [1_000_000, 1_000_010], 10_000, formats.size, from_zero=False))
    assert drawn[0][1] == HEIGHT and drawn[1][1] < HEIGHT / 4


@pytest.mark.parametrize("number", [0, 1])
def test_no_history_yet(number: int) -> None:
    svg = plot("x", [1_000] * number, [3] * number, 10_000, formats.count)
    assert "no history yet" in svg and "svg" not in svg


def test_the_page_has_a_plot_for_each_series() -> None:
    page = shown(made_status(), some_history())
    assert len([tag for tag, _ in page.elements if tag == "svg"]) == 8


@pytest.mark.parametrize(("samples", "left"), [(30, WIDTH / 2), (61, 0), (300, 0)])
def test_a_young_history_is_drawn_wide(samples: int, left: float) -> None:
    html = statusz.page(made_status(), some_history(samples + 1), ()).decode()
    drawn = points(html)
    assert drawn[0][0] == pytest.approx(left, abs=1.5)
    assert drawn[-1][0] == WIDTH


# --- figures as text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.count(0), "0"),
        (formats.count(99_999), "99,999"),
        (formats.count(100_000), "100 k"),
        (formats.count(999_600), "1 M"),
        (formats.count(1_250_000), "1.25 M"),
        (formats.count(3_000_000_000), "3 G"),
        (formats.size(0), "0 B"),
        (formats.size(1_023), "1023 B"),
        (formats.size(1_024), "1.0 KiB"),
        (formats.size(125 << 20), "125 MiB"),
        (formats.size(3 << 30), "3.0 GiB"),
        (formats.micros(0), "0 \u00b5s"),
        (formats.micros(999.7), "1 ms"),
        (formats.micros(1_234), "1.23 ms"),
        (formats.micros(999_600), "1 s"),
        (formats.micros(4_200_000), "4.2 s"),
        (formats.span(7), "7 ms"),
        (formats.span(59_999), "59 s"),
        (formats.span(60_000), "1 min 0 s"),
        (formats.span(3_661_000), "1 h 1 min"),
        (formats.span(277_200_000), "3 d 5 h"),
        (formats.percent(31), "3.1 %"),
    ],
)
def test_numbers_as_people_read_them(written: str, expected: str) -> None:
    assert written == expected


# --- in a browser -------------------------------------------------------------------------------------------------


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[list[str]]:
    """The command line of a browser without a screen."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium is installed to show the page with")
    yield [
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--window-size=1200,1400",
    ]


@pytest.mark.slow
def test_a_browser_shows_the_page_of_a_real_server(chromium: list[str], tmp_path: Path) -> None:
    with InProcess(http="127.0.0.1:0", data_dir=str(tmp_path / "data")) as node:
        url = node.ask(lambda _: node.operations.http.url) + "/statusz"
        asked: list[str] = []

        def count_requests(server: Any) -> None:
            pages = node.operations.http.doors[-1].pages
            answer = pages.answer
            pages.answer = lambda path: asked.append(path) or answer(path)

        node.ask(count_requests)
        with connect(f"presence://alice@127.0.0.1:{node.port}/laptop") as alice:
            alice.set_status("dnd")
            node.until(lambda _: len(node.operations.history) >= 2)
            dumped = run([*chromium, "--virtual-time-budget=5000", "--dump-dom", url])
            picture = tmp_path / "statusz.png"
            run([*chromium, f"--screenshot={picture}", url])
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.headers["Content-Security-Policy"] == statusz.POLICY
    page = Page(dumped.encode())
    assert page.row("Shown as dnd") == ["1"]
    assert page.row("Shown as online") == ["0"]
    assert page.row("Role user") == ["1"]
    assert page.row("Welcomed") == ["1"]
    assert page.row("Directory") == [str(tmp_path / "data")]
    assert len([tag for tag, _ in page.elements if tag == "polyline"]) == 8
    assert "old" not in dict(page.elements)["body"].get("class", ""), "the script reached the server"
    assert asked.count("/statusz") >= 4, "the page fetched itself anew: the policy lets its script run"
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:]) == (1200, 1400)


def run(command: list[str]) -> str:
    """What the browser prints; it must have had nothing to complain of in the page."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHROMIUM_S)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr and "Content Security Policy" not in done.stderr, done.stderr
    return done.stdout
