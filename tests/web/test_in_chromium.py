"""The client in a real Chromium, in pages of another origin than the server's: the README's page, reloads, tabs that
are duplicated, two clients in one page, pages in the background."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.sync import connect
from tests.support import REPOSITORY
from tests.support.browser import Browser, Page
from tests.support.daemon import Daemon
from tests.support.until import until

BLANK = "<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>Page</title><body>"
CONNECT = """(async () => {
  const { connect } = await import("http://127.0.0.1:%d/client/presence.js");
  window.presence = await connect({ url: "ws://127.0.0.1:%d/ws", user: %r });
  window.states = [];
  presence.on("state", ({ state, error }) => states.push([state, error?.code ?? null]));
  return presence.device;
})()"""


class Site:
    """A web server for the pages, and a daemon that lets them in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "page.html").write_text(BLANK)

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(directory))  # type: ignore[arg-type]

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.daemon = Daemon(
            directory / "log", "--http", "127.0.0.1:0", environ={"PRESENCED_HTTP__ORIGINS": self.origin}
        )
        self.port = int(self.daemon.until_log("at presence://").split("http://127.0.0.1:")[1].split(";")[0])

    def connect(self, page: Page, user: str) -> str:
        """Connect a client in the page; returns the id of its device."""
        device: str = page.evaluate(CONNECT % (self.port, self.port, user))
        return device

    def devices(self, user: str) -> dict[str, str]:
        """The user's devices and their states."""
        with connect(self.daemon.url(user, "looker") + "?priority=-1") as looking:
            return {one.device: one.state for one in looking.get_devices() if one.device != "looker"}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.daemon.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


def test_the_page_of_the_readme_shows_who_is_there(browser: Browser, site: Site) -> None:
    (html,) = re.findall(r"^```html\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (site.directory / "readme.html").write_text(html.replace("5251", str(site.port)))
    page = browser.page(f"{site.origin}/readme.html")
    page.until("people.children.length === 2")
    with connect(site.daemon.url("anna", "desk")) as anna:
        anna.set_status("away", text="<img src=x onerror=alert(1)>")
        page.until("anna.textContent === 'anna: away <img src=x onerror=alert(1)>'")
    page.until("anna.textContent.startsWith('anna: offline')")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert [error for error in page.errors if "favicon" not in error] == []
    page.close()


def test_a_tab_keeps_its_device_over_reloads_and_a_copy_of_it_gets_another(browser: Browser, site: Site) -> None:
    page = browser.page(f"{site.origin}/page.html")
    device = site.connect(page, "gina")
    for _ in range(3):
        page.reload()
        assert site.connect(page, "gina") == device
    # A browser copies the storage into a tab that is duplicated.
    copy = browser.page(f"{site.origin}/page.html", page.context)
    copy.evaluate(f"sessionStorage.setItem('presence', {device!r})")
    other = site.connect(copy, "gina")
    assert other != device
    copy.reload()
    assert site.connect(copy, "gina") == other
    assert page.evaluate("[presence.state, states.length]") == ["online", 0]
    # Without locks the server tells: the tab that had the id first takes another, and goes on.
    copy.reload()
    copy.evaluate(f"sessionStorage.setItem('presence', {device!r})")
    copy.evaluate("Object.defineProperty(navigator, 'locks', { value: undefined })")
    assert site.connect(copy, "gina") == device
    page.until("presence.state === 'online' && states.length === 2")
    assert page.evaluate("presence.device") not in (device, other)
    assert page.evaluate("states[0]") == ["reconnecting", "replaced"]
    assert [state for state in site.devices("gina").values()].count("connected") == 2
    assert page.errors == copy.errors == []
    for one in (page, copy):
        one.close()


def test_two_clients_in_one_page_are_two_devices_and_bye_frees_the_id(browser: Browser, site: Site) -> None:
    page = browser.page(f"{site.origin}/page.html")
    first = site.connect(page, "hal")
    page.evaluate("window.before = presence")
    second = site.connect(page, "hal")
    assert first != second and page.evaluate("before.state") == "online"
    page.evaluate("Promise.all([before.close(), presence.close()])")
    until(lambda: site.devices("hal") == {first: "gone", second: "gone"}, "both have said bye")
    assert site.connect(page, "hal") == first
    page.reload()
    assert site.connect(page, "hal") == first, "the page's first client is the one whose id survives"
    assert page.errors == []
    page.close()


def test_a_page_that_is_left_says_no_bye_and_one_in_the_background_beats(browser: Browser, site: Site) -> None:
    page = browser.page(f"{site.origin}/page.html")
    hide = "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
    page.evaluate(hide + "window.Workers = []; window.Real = Worker;")
    page.evaluate("window.Worker = class extends Real { constructor(url) { super(url); Workers.push(url); } }")
    device = site.connect(page, "iris")
    page.until("Workers.length === 1")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert page.evaluate("presence.ping?.() ?? presence.request(4).then(([type]) => type)") == 68
    assert page.evaluate("Workers.length") == 1
    page.go("about:blank")
    until(lambda: site.devices("iris").get(device) == "grace", "the page that was left is in grace")
    assert page.errors == []
    page.close()


def test_a_machine_that_slept_says_how_long_and_only_a_person_is_input(browser: Browser, site: Site) -> None:
    page = browser.page(f"{site.origin}/page.html")
    page.first("window.skip = 0; const now = Date.now; Date.now = () => now() + skip;")
    page.first("window.sent = []; const { send } = WebSocket.prototype;")
    page.first("WebSocket.prototype.send = function (text) { sent.push(JSON.parse(text)); send.call(this, text); };")
    page.reload()
    site.connect(page, "jo")
    # The machine sleeps for an hour. The page comes back on a new link at once, and its hello says so.
    page.evaluate("window.skip = 3_600_000; document.dispatchEvent(new Event('resume')); 0")
    page.until("presence.state === 'online' && states.length === 2")
    assert page.evaluate("states[0]") == ["reconnecting", "silent"]
    assert page.evaluate("sent.filter(([type]) => type === 1)[1][9]") >= 3_600_000
    page.evaluate("sent.length = 0; document.body.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true })); 0")
    assert page.evaluate("presence.request(4).then(() => sent.map(([type]) => type))") == [4], "a script is nobody"
    page.press("a")
    page.until("sent.some(([type, idle]) => type === 2 && idle < 1000)")
    assert page.errors == []
    page.close()


def test_a_page_of_another_origin_gets_no_link(browser: Browser, site: Site) -> None:
    stranger = browser.page(f"{site.origin.replace('127.0.0.1', 'localhost')}/page.html")
    script = f"""(async () => {{
        try {{ await import("http://127.0.0.1:{site.port}/client/presence.js"); return "loaded"; }} catch {{ }}
        return await new Promise((resolve) => {{
            const socket = new WebSocket("ws://127.0.0.1:{site.port}/ws", ["presence.v1.json"]);
            socket.onopen = () => resolve("open");
            socket.onclose = () => resolve("refused");
        }});
    }})()"""
    assert stranger.evaluate(script) == "refused"
    stranger.close()
