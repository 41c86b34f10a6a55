"""A real Chromium without a window, driven over its DevTools protocol.

Each page belongs to a context, which has its own cookies and storage, as a person's own browser has; pages of one
context are tabs of one browser. Nothing here sleeps for a time and looks then: `Page.until` asks the page itself.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from tests.support.until import LOOK_EVERY_S, PATIENCE_S, until

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    # A page that is not in front is treated like one that is: a test has several, and no window.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)

Json = dict[str, Any]


def chromium() -> str | None:
    """The path of the program, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(AssertionError):
    """The browser refused a command, or a page's script failed."""


class AxNode(NamedTuple):
    """A node of the accessibility tree, as a screen reader finds it."""

    role: str
    name: str
    description: str
    states: dict[str, Any]
    """Such as `live`, `checked`, `expanded`."""


class Browser:
    """One Chromium with a directory of its own. Used by `with`."""

    def __init__(self, directory: Path, *options: str) -> None:
        program = chromium()
        assert program is not None, "there is no Chromium; ask `chromium()` first"
        self._profile = directory / "chromium"
        self._log_path = directory / "chromium.log"
        self._ending = ExitStack()
        words = [program, *OPTIONS, *options, f"--user-data-dir={self._profile}", "about:blank"]
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self._connection = self._ending.enter_context(self._connect())
        except BaseException:
            self._end_process()
            raise
        self._pages: dict[str, Page] = {}
        """By the session in which the browser speaks of the page."""
        self._answers: dict[int, Json] = {}
        self._asked = 0

    def _connect(self) -> ClientConnection:
        port_path = self._profile / "DevToolsActivePort"
        what = lambda: f"Chromium told no port\n{self._log_path.read_text(errors='replace')}"  # noqa: E731
        until(lambda: port_path.exists() and port_path.read_text().count("\n") or self._has_ended(), what)
        port, path = port_path.read_text().split("\n")[:2]
        # No keepalive: a page says much while a test waits for something else, and a pong waits behind it.
        return connect(
            f"ws://127.0.0.1:{port}{path}",
            max_size=None,
            compression=None,
            open_timeout=PATIENCE_S,
            ping_interval=None,
        )

    def _has_ended(self) -> bool:
        if self.process.poll() is not None:
            raise BrowserError(f"Chromium ended\n{self._log_path.read_text(errors='replace')}")
        return False

    def context(self) -> str:
        """Another person's browser: cookies and storage of its own."""
        context: str = self.call("Target.createBrowserContext", disposeOnDetach=True)["browserContextId"]
        return context

    def page(self, url: str = "", context: str = "", *, width: int = 1280, height: int = 800) -> Page:
        """A new page; in a context of its own unless `context` names one. With `url` it is loaded when this returns."""
        context = context or self.context()
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target, context)
        page.begin()
        page.resize(width, height)
        if url:
            page.go(url)
        return page

    def call(self, method: str, session: str = "", **params: Any) -> Json:
        """Give one command and return its result. Raises `BrowserError`."""
        self._asked += 1
        number = self._asked
        message = {"id": number, "method": method, "params": params}
        self._connection.send(json.dumps({**message, "sessionId": session} if session else message))
        deadline_s = time.monotonic() + PATIENCE_S
        while number not in self._answers:
            if not self.pump(deadline_s - time.monotonic()):
                raise BrowserError(f"Chromium did not answer {method}")
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: Json = answer["result"]
        return result

    def pump(self, wait_s: float) -> bool:
        """Take in one message, if one comes within this time; whether one came."""
        try:
            message = json.loads(self._connection.recv(timeout=max(0.0, wait_s)))
        except TimeoutError:
            return False
        if "id" in message:
            self._answers[message["id"]] = message
        elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
            page.take(message["method"], message["params"])
        return True

    def forget(self, session: str) -> None:
        """The page of this session is closed."""
        self._pages.pop(session, None)

    def close(self) -> None:
        """End the program and all pages. Idempotent."""
        if self.process.poll() is None:
            try:
                self.call("Browser.close")
            except (BrowserError, OSError, EOFError, WebSocketException):
                pass  # It has ended on its own; the next lines make sure of it.
        self._ending.close()
        self._end_process()

    def _end_process(self) -> None:
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Page:
    """One tab. `errors` has what its console complained of, scripts that failed and what the browser refused."""

    def __init__(self, browser: Browser, session: str, target: str, context: str) -> None:
        self.errors: list[str] = []
        self.context = context
        self._browser = browser
        self._session = session
        self._target = target
        self._loaded = 0
        """How many documents have come to the end of their loading."""

    def begin(self) -> None:
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScrollbarsHidden", hidden=True)

    def call(self, method: str, **params: Any) -> Json:
        """A command to this page alone. Raises `BrowserError`."""
        return self._browser.call(method, self._session, **params)

    def take(self, method: str, params: Json) -> None:
        """The browser tells of something that happened in the page."""
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.errors.append(f"{entry['text']} {entry.get('url', '')}".strip())

    # --- what is loaded ---------------------------------------------------------------------------------------

    def go(self, url: str) -> None:
        """Load this address, to the end."""
        self._load(lambda: self.call("Page.navigate", url=url))

    def reload(self) -> None:
        """Load the same address again, to the end."""
        self._load(lambda: self.call("Page.reload"))

    def _load(self, begin: Callable[[], Json]) -> None:
        before = self._loaded
        result = begin()
        if result.get("errorText"):
            raise BrowserError(f"the page was not loaded: {result['errorText']}")
        deadline_s = time.monotonic() + PATIENCE_S
        while self._loaded == before:
            if not self._browser.pump(deadline_s - time.monotonic()):
                raise BrowserError("the page did not come to the end of its loading")

    def first(self, script: str) -> None:
        """Run this in each document that is loaded from now on, before its own scripts."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; of a promise, what it comes to. Raises `BrowserError`."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def until(self, script: str, what: str = "") -> None:
        """Return once the expression is true in the page, such as an element that is there. A failure shows the text
        of the page."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.evaluate(f"(async () => Boolean(await ({script})))()"):
            if time.monotonic() >= deadline_s:
                shown = self.evaluate("document.body.innerText")
                raise AssertionError(f"it did not come about that {what or script}\n{shown}\n{self.errors}")
            self._browser.pump(LOOK_EVERY_S)

    def text(self, selector: str) -> str:
        """The text of the first element, as it is seen; empty if there is none."""
        text: str = self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return text

    # --- what a person does -----------------------------------------------------------------------------------

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of the first element, wherever it has to be scrolled to."""
        script = f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center", behavior: "instant"}});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        x, y = self.evaluate(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release one key, by the name that a page sees: `Tab`, `Enter`, ` `, `ArrowDown`, `a`."""
        code, number, text = KEYS.get(key, (f"Key{key.upper()}", ord(key.upper()[0]), key))
        common: Json = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Put this text where the focus is, as a keyboard or an input method does."""
        self.call("Input.insertText", text=text)

    def focused(self) -> str:
        """What has the focus, as a screen reader calls it: `button Set`."""
        node = self.evaluate("document.activeElement !== document.body")
        if not node:
            return ""
        handle = self.call("Runtime.evaluate", expression="document.activeElement")["result"]["objectId"]
        found = self.call("Accessibility.getPartialAXTree", objectId=handle, fetchRelatives=False)["nodes"][0]
        return f"{found['role']['value']} {found['name']['value']}"

    # --- how it is shown --------------------------------------------------------------------------------------

    def resize(self, width: int, height: int = 800, *, zoom: float = 1.0) -> None:
        """Show the page in a window of this size. `zoom` 2 = at 200 %, as by the browser's own menu."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=round(width / zoom),
            height=round(height / zoom),
            deviceScaleFactor=zoom,
            mobile=False,
        )

    def emulate(self, **features: str) -> None:
        """What the person prefers: `emulate(prefers_color_scheme="dark")`."""
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=media)

    def screenshot(self, path: Path) -> None:
        """Write the whole page, and not only what the window shows, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def tree(self) -> list[AxNode]:
        """The accessibility tree in the order in which it is read, without what a screen reader passes over."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        by_id = {node["nodeId"]: node for node in nodes}

        def walk(node: Json) -> Iterator[AxNode]:
            if not node["ignored"]:
                values = [node.get(field, {}).get("value", "") for field in ("role", "name", "description")]
                yield AxNode(*values, {one["name"]: one["value"].get("value") for one in node.get("properties", [])})
            for child in node.get("childIds", []):
                yield from walk(by_id[child])

        return list(walk(nodes[0]))

    # --- what befalls it --------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop the page as a browser does with a tab that nobody looks at, or a laptop that sleeps: no script runs."""
        self.call("Page.setWebLifecycleState", state="frozen")

    def wake(self) -> None:
        """The frozen page goes on."""
        self.call("Page.setWebLifecycleState", state="active")

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.forget(self._session)


KEYS: dict[str, tuple[str, int, str]] = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
"""Keys that have a name: their code, their number, and the text that they put in."""
