"""A tab with the demo, and what a person sees and does in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from tests.support.browser import Browser, Page
from tests.support.in_process import InProcess

READ = """(list, user) => {
  for (const row of document.querySelectorAll(`${list} > li`)) {
    if (row.querySelector(".name").textContent !== user) continue;
    const dot = row.querySelector("[role=img]")?.getAttribute("aria-label") ?? "";
    const words = ["status", "text"].map((part) => row.querySelector(`.${part}`)?.textContent);
    return [dot, ...words].filter(Boolean).join(" ");
  }
  return "";
}"""
"""What a row says of a person."""

WRITE_DOWN = """
window.dots = [];
for (const list of document.querySelectorAll("#others, #members")) {
  new MutationObserver((changes) => {
    for (const { type, target, oldValue, removedNodes } of changes) {
      const name = (row) => row.querySelector(".name").textContent;
      const note = (row, ...words) => window.dots.push([list.id, name(row), ...words]);
      if (type === "attributes") note(target.closest("li"), oldValue, target.dataset.status);
      for (const row of removedNodes) if (row.matches?.("li")) note(row, "", "removed");
    }
  }).observe(list, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-status"], attributeOldValue: true,
  });
}
"""

LIVE = "document.querySelector('#link').dataset.state === 'online' && document.querySelector('#devices > li')"


@contextmanager
def demonstrating(**settings: object) -> Iterator[tuple[InProcess, int]]:
    """A server in development with its demo, and the port of the demo. It fails if the server complains."""
    with InProcess(http="127.0.0.1:0", **settings) as server:
        yield server, server.ask(lambda _: server.operations.http.port)  # type: ignore[union-attr]
        assert not server.loop_errors


class DemoTab:
    """The demo at this port, open as `user` in a browser of their own. It is live when this returns."""

    def __init__(self, browser: Browser, port: int, user: str, *, first: str = "") -> None:
        self.user = user
        self.page: Page = browser.page()
        if first:
            self.page.first(first)
        self.page.go(f"http://127.0.0.1:{port}/?as={quote(user)}")
        self.until_live()

    def until_live(self) -> None:
        """The link is there, and this tab's own device is shown."""
        self.page.until(LIVE, "the page is live")

    # --- what it shows ----------------------------------------------------------------------------------------

    def shows(self, user: str) -> str:
        """What stands beside the person: `Away “at lunch”`; empty if they are not in the list of people."""
        shown: str = self.page.evaluate(f"({READ})('#others', {json.dumps(user)})")
        return shown

    def until_shows(self, user: str, shown: str) -> None:
        """Until just this stands beside the person."""
        self.page.until(f"({READ})('#others', {json.dumps(user)}) === {json.dumps(shown)}", f"{user} shows {shown!r}")

    def until_member(self, user: str, shown: str) -> None:
        """The same in the room, with the name of the dot as the status; empty = until the person is not there."""
        self.page.until(
            f"({READ})('#members', {json.dumps(user)}) === {json.dumps(shown)}", f"{user} is {shown!r} there"
        )

    def until_all_come(self, users: Iterable[str]) -> None:
        """Until these are online, and in the room, and that was told."""
        for user in users:
            self.until_shows(user, "Online")
            self.until_member(user, "Online")

    def news(self) -> list[str]:
        """What the page has told, the newest first, without the times."""
        news: list[str] = self.page.evaluate(
            "[...document.querySelectorAll('#log li')].map((row) => ['.name', '.what']"
            ".map((part) => row.querySelector(part).textContent).join(' '))"
        )
        return news

    def write_down_dots(self) -> None:
        """From now on each change of a dot is written down."""
        self.page.evaluate(WRITE_DOWN)

    def dots(self) -> list[tuple[str, ...]]:
        """What was written down: the list, the name, the status before, and the status or `removed`."""
        return [tuple(one) for one in self.page.evaluate("window.dots")]

    # --- what the person does ---------------------------------------------------------------------------------

    def set(self, status: str, text: str = "", how_long: str = "until I change it") -> None:
        """Set the status by the form, with the mouse."""
        self.page.click(f"input[value={status}]")
        self.page.evaluate(
            f"document.querySelector('[name=text]').value = {json.dumps(text)};"
            f"for (const one of document.querySelectorAll('option')) one.selected = one.text === {json.dumps(how_long)}"
        )
        self.page.click("#set button.main")
