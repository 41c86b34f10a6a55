"""The pages of the listener in a real Chromium: for a keyboard and a screen reader, against what people write, and
against pages of strangers."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from presenced.server.status import SlowWatcher
from presenced.sync import BlockingClient, connect
from tests.cli.commands import ctl
from tests.cli.terminal import Terminal
from tests.support.browser import AxNode, Browser, Page
from tests.support.status import made_status
from tests.web.demo_tab import DemoTab, demonstrating

HOSTILE = """<img src=x onerror='window.hit=1'><b>[bold]"&"""
HOSTILE_NAME = "<script>window.hit=1<b>[red]\"'&`$(id)"
"""A name has no spaces and no slashes."""

MARK_LIVE = """
new MutationObserver((_, observer) => {
  if (document.querySelector("#link")?.dataset.state !== "online" || !document.querySelector("#devices > li")) return;
  window.liveMs ??= performance.now();
  observer.disconnect();
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


# --- the demo -----------------------------------------------------------------------------------------------------


def test_a_screen_reader_finds_landmarks_names_and_what_changes(browser: Browser) -> None:
    with demonstrating() as (_, port):
        anna, _ben = DemoTab(browser, port, "anna"), DemoTab(browser, port, "ben")
        anna.until_all_come(["ben"])
        tree = anna.page.tree()
        landmarks = [
            (node.role, node.name) for node in tree if node.role in ("banner", "main", "contentinfo", "region")
        ]
        assert [role for role, _ in landmarks if role != "region"] == ["banner", "main", "contentinfo"]
        assert {name for role, name in landmarks if role == "region"} >= {
            "You",
            "People",
            "Room lobby",
            "What has changed",
        }
        assert [node.name for node in tree if node.role == "heading" and node.states["level"] == 1] != []
        live = {(node.role, node.states["live"]) for node in tree if node.states.get("live")}
        assert live >= {("status", "polite"), ("log", "polite")}
        assert [node for node in tree if node.states.get("focusable") and not node.name and node.role in CONTROLS] == []
        assert {"Online", "Offline"} & {node.name for node in tree if node.role == "image"} == {"Online"}, (
            "dots have names"
        )
        assert [node.name for node in tree if node.role == "list" and not node.name] == []
        assert _checked(tree) == "Automatic"
        assert not anna.page.errors


CONTROLS = ("button", "link", "textbox", "combobox", "radio")


def _checked(tree: list[AxNode]) -> str:
    return next(node.name for node in tree if node.role == "radio" and node.states["checked"] == "true")


def test_a_keyboard_alone_is_enough(browser: Browser) -> None:
    with demonstrating() as (_, port):
        anna, ben = DemoTab(browser, port, "anna"), DemoTab(browser, port, "ben")
        ben.until_all_come(["anna"])
        _tab_to(anna.page, "radio Automatic")
        for _ in range(3):
            anna.page.press("ArrowDown")
        assert anna.page.focused() == "radio Away"
        assert ben.shows("anna") == "Online", "arrows choose, and nothing is said yet"
        _tab_to(anna.page, "textbox Text")
        anna.page.type("nur kurz weg")
        anna.page.press("Enter")
        ben.until_shows("anna", "Away “nur kurz weg”")
        anna.page.until("!document.querySelector('#clear').hidden")
        _tab_to(anna.page, "button Clear")
        anna.page.press("Enter")
        ben.until_shows("anna", "Online")
        assert anna.page.focused() == "radio Automatic", "the focus is not lost with the button"
        _tab_to(anna.page, "textbox Somebody else")
        anna.page.type("dora")
        anna.page.press("Enter")
        anna.until_shows("dora", "Offline")
        _tab_to(anna.page, "button Leave")
        anna.page.press(" ")
        ben.until_member("anna", "")
        _tab_to(anna.page, "button Stop watching dora", back=True)
        anna.page.press("Enter")
        anna.until_shows("dora", "")
        assert anna.page.focused() == "textbox Somebody else"
        assert not anna.page.errors


def _tab_to(page: Page, control: str, *, back: bool = False) -> None:
    """Press Tab until this has the focus, which is to be seen by eyes as well."""
    for _ in range(60):
        page.press("Tab", shift=back)
        if page.focused() == control:
            ringed = "document.activeElement.closest('.choices label') ?? document.activeElement"
            assert page.evaluate(f"getComputedStyle({ringed}).outlineStyle") != "none"
            return
    raise AssertionError(f"{control} is not reached")


def test_another_tab_is_another_device_and_a_name_that_cannot_be_is_said_so(browser: Browser) -> None:
    with demonstrating() as (_, port):
        anna = DemoTab(browser, port, "anna")
        second = browser.page(f"http://127.0.0.1:{port}/", anna.page.context)
        anna.page.until("document.querySelectorAll('#devices > li').length === 2")
        second.close()
        stranger = browser.page(f"http://127.0.0.1:{port}/?as=not%20a%20name")
        stranger.until("document.querySelector('#link').dataset.state === 'closed'")
        assert "not connected as not a name" in stranger.text("[role=alert]")
        anna.page.click("input[name=as]")
        anna.page.type("not a name")
        anna.page.press("Enter")
        anna.page.until("document.querySelector('#watch-said').textContent !== ''")
        anna.until_shows("ben", "Offline")
        assert not anna.page.errors and not stranger.errors


def test_a_page_and_a_terminal_tell_of_each_other(browser: Browser) -> None:
    with demonstrating() as (server, port):
        anna = DemoTab(browser, port, "anna")
        lines = anna.page.evaluate("[...document.querySelectorAll('dd code')].map((code) => code.textContent)")
        watch, be, set_ = [shlex.split(line) for line in lines]
        assert watch[0] == "presencectl" and f"127.0.0.1:{server.port}" in watch[2]
        terminal = Terminal(*watch[1:])
        terminal.until("online")
        anna.set("dnd", "in a call")
        terminal.until("in a call")
        terminal.process.terminate()
        terminal.end()
        anna.page.click("#clear")
        anna.page.until("document.querySelector('#self-line').textContent === 'Online'")
        assert ctl(*set_[1:4], "away", "--text", "typed there").returncode == 0
        anna.page.until("document.querySelector('#self-line').textContent.startsWith('Away · “typed there”')")
        assert be[-1] == "online"
        with connect(be[2]):
            anna.until_shows("ben", "Online")
        anna.until_shows("ben", "Offline")
        assert not anna.page.errors


def test_how_soon_it_is_live(browser: Browser, record_property: Callable[[str, object], None]) -> None:
    with demonstrating() as (_, port):
        took_ms = []
        for number in range(3):
            tab = DemoTab(browser, port, f"user{number}", first=MARK_LIVE)
            took_ms.append(tab.page.evaluate("window.liveMs"))
            assert not tab.page.errors
        record_property("live_ms", min(took_ms))
        print(f"the demo is live {min(took_ms):.0f} ms after the beginning of its load")
        assert 0 < min(took_ms)


# --- what people write --------------------------------------------------------------------------------------------


def _hostile(port: int) -> BlockingClient:
    return connect(host="127.0.0.1", port=port, user=HOSTILE_NAME, device="desk", name=HOSTILE)


def test_names_and_texts_are_only_text_in_the_demo(browser: Browser) -> None:
    with demonstrating() as (server, port):
        anna = DemoTab(browser, port, "anna")
        images = anna.page.evaluate("document.images.length")
        with _hostile(server.port) as hostile:
            hostile.set_status("dnd", text=HOSTILE)
            hostile.join("lobby")
            anna.until_shows(HOSTILE_NAME, f"Do not disturb “{HOSTILE}”")
            anna.until_member(HOSTILE_NAME, f"Do not disturb “{HOSTILE}”")
            own = DemoTab(browser, port, HOSTILE_NAME)
            own.page.until(f"document.querySelector('#devices').textContent.includes({json.dumps(HOSTILE)})")
            for page in (anna.page, own.page):
                assert page.evaluate("window.hit === undefined && document.images.length") == images
                assert page.evaluate("document.scripts.length") == 1
                assert not page.errors
        inserted = "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')"
        assert (
            anna.page.evaluate(f"(() => {{ try {{ {inserted} }} catch (error) {{ return error.name }} }})()")
            == "TypeError"
        )
        assert "TrustedHTML" in anna.page.errors.pop(), "the policy of the page lets nothing in as HTML"


def test_names_and_texts_are_only_text_in_the_terminal() -> None:
    with demonstrating() as (server, _):
        with _hostile(server.port) as hostile:
            hostile.set_status("dnd", text=HOSTILE)
            shown = ctl("--url", f"presence://anna@127.0.0.1:{server.port}/desk", "--text", "get", HOSTILE_NAME).stdout
            assert HOSTILE_NAME in shown and HOSTILE in shown
            terminal = Terminal("--url", f"presence://anna@127.0.0.1:{server.port}/desk", "get", HOSTILE_NAME)
            terminal.end()
            assert "[bold]" in terminal.shown, "no mark-up of the table is taken for its own"


# --- the operator's pages, and pages of strangers -------------------------------------------------------------------


def test_the_status_page_shows_names_as_text_and_fetches_itself_anew(browser: Browser) -> None:
    with demonstrating() as (server, port):
        watchers = [SlowWatcher(f"{HOSTILE_NAME}/{HOSTILE}", "user", 3, 4_000)]
        taken = iter([made_status(slow_watchers=1, slowest=watchers, users=number) for number in range(1_000, 9_000)])
        server.ask(lambda _: setattr(server.operations.http.doors[-1].pages, "_take", lambda: next(taken)))
        page = DemoTab(browser, port, "anna").page
        page.click("footer a[href='/statusz']")
        page.until("location.pathname === '/statusz' && document.querySelector('main')")
        assert f"{HOSTILE_NAME}/{HOSTILE}" in page.text("main")
        shown = page.text("main")
        page.until(f"document.querySelector('main').innerText !== {json.dumps(shown)}", "the page fetches itself")
        assert page.evaluate("window.hit === undefined && document.images.length") == 0
        index = browser.page(f"http://127.0.0.1:{port}/status-index")
        assert "/statusz" in index.text("body")
        assert not page.errors and not index.errors


@contextmanager
def strange_site() -> Iterator[str]:
    """A page of another origin, on the same machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "15")
        self.end_headers()
        self.wfile.write(b"<!doctype html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


CONNECT = """new Promise((done) => {
  const socket = new WebSocket("ws://127.0.0.1:%d/ws", ["presence.v1.json"]);
  socket.onopen = () => done("open");
  socket.onclose = () => done("closed");
})"""


def test_a_page_of_a_foreign_origin_is_refused(browser: Browser) -> None:
    with demonstrating() as (_, port), strange_site() as site:
        page = browser.page(site)
        assert page.evaluate(CONNECT % port) == "closed"
        for path in ("/", "/demo/demo.js", "/client/presence.js", "/statusz", "/metrics"):
            fetched = f"fetch('http://127.0.0.1:{port}{path}').then(() => 'read', () => 'refused')"
            assert page.evaluate(fetched) == "refused", path
        made = f"Object.assign(document.createElement('iframe'), {{ src: 'http://127.0.0.1:{port}/', onload: done }})"
        page.evaluate(f"new Promise((done) => document.body.append({made})).then(() => 0)")
        (frame,) = page.call("Page.getFrameTree")["frameTree"]["childFrames"]
        assert frame["frame"]["url"].startswith("chrome-error://"), "it shows nothing of the demo in its own page"


def test_the_program_that_the_demo_shows_runs_in_a_page_whose_origin_is_on_the_list(browser: Browser) -> None:
    with strange_site() as site, demonstrating(http_origins=site.rstrip("/")) as (_, port):
        program = DemoTab(browser, port, "anna").page.text("#program")
        lines = re.fullmatch(r"<script type=\"module\">\n(.*)</script>", program, re.DOTALL)
        assert lines is not None
        page = browser.page(site)
        page.evaluate("window.said = []; console.log = (...words) => window.said.push(words.join(' '))")
        made = f"Object.assign(document.createElement('script'), {{ type: 'module', text: {json.dumps(lines[1])} }})"
        page.evaluate(f"void document.body.append({made})")
        page.until("window.said[0] === 'ben offline '")
        ben = DemoTab(browser, port, "ben")
        ben.set("away", "at lunch")
        page.until("window.said.at(-1) === 'ben away at lunch'")
        assert not page.errors
