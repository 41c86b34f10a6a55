"""The demo in a real Chromium: what two people see of each other, and what the network and the browser do to it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from presenced.server.clocks import Clocks
from tests.support.browser import Browser
from tests.support.proxy import Proxy
from tests.web.demo_tab import DemoTab, demonstrating

HOUR_MS = 3_600_000
GRACE_MS = 15_000
SILENCE_MS = 120_000

DND_BOTH = [("others", "ben", "online", "dnd"), ("members", "ben", "online", "dnd")]


def test_two_pages_see_what_each_other_does(browser: Browser) -> None:
    with demonstrating() as (_, port):
        anna, ben = DemoTab(browser, port, "anna"), DemoTab(browser, port, "ben")
        anna.until_all_come(["ben"])
        ben.until_all_come(["anna"])
        assert ben.news() == [], "what is there already is shown, and is no change"
        anna.set("away", "at lunch", "for an hour")
        ben.until_shows("anna", "Away “at lunch”")
        ben.until_member("anna", "Away “at lunch”")
        anna.page.until("/^Away · “at lunch” · until \\d/.test(document.querySelector('#self-line').textContent)")
        ben.set("dnd", "שלום")
        anna.until_shows("ben", "Do not disturb “שלום”")
        anna.page.click("#clear")
        ben.until_shows("anna", "Online")
        assert ben.news()[:2] == ["anna is online", "anna is away: “at lunch”"]
        ben.page.click("#join")
        anna.until_member("ben", "")
        anna.until_shows("ben", "Do not disturb “שלום”")
        ben.page.until("document.querySelector('#join').textContent === 'Enter'")
        ben.page.click("#join")
        anna.until_member("ben", "Do not disturb “שלום”")
        assert anna.news()[:3] == [
            "ben has come into the lobby",
            "ben has left the lobby",
            "ben asks not to be disturbed: “שלום”",
        ]
        assert not anna.page.errors and not ben.page.errors


def test_a_status_ends_by_itself_and_the_text_with_it(browser: Browser) -> None:
    skipped_ms = 0
    clocks = Clocks(
        lambda: time.monotonic_ns() + skipped_ms * 1_000_000, lambda: time.time_ns() + skipped_ms * 1_000_000
    )
    with demonstrating(clocks=clocks, heartbeat_ms=120_000) as (server, port):
        anna, ben = DemoTab(browser, port, "anna"), DemoTab(browser, port, "ben")
        anna.set("dnd", "one moment", "for a minute")
        ben.until_shows("anna", "Do not disturb “one moment”")
        skipped_ms = 61_000
        server.ask(lambda server: server.pacing.begin())
        ben.until_shows("anna", "Online")
        anna.page.until("document.querySelector('#self-line').textContent === 'Online'")
        assert anna.page.evaluate("document.querySelector('input:checked').value") == "auto"
        assert not anna.page.errors and not ben.page.errors


def test_after_a_cut_of_the_network_only_what_changed_is_told_and_no_dot_flickers(browser: Browser) -> None:
    with demonstrating() as (_, port), Proxy(port) as network:
        anna = DemoTab(browser, network.port, "anna")
        ben, carla = DemoTab(browser, port, "ben"), DemoTab(browser, port, "carla")
        anna.until_all_come(["ben", "carla"])
        ben.until_all_come(["anna", "carla"])
        for tab in (anna, ben):
            tab.write_down_dots()
        told, told_ben = len(anna.news()), len(ben.news())
        network.cut()
        anna.page.until("document.querySelector('#link').textContent === 'connection lost; coming back'")
        ben.set("away")
        carla.until_shows("ben", "Away")
        ben.set("dnd", "busy")
        carla.until_shows("ben", "Do not disturb “busy”")
        assert anna.shows("ben") == anna.shows("carla") == "Online", "what was known stays"
        network.mend()
        anna.until_shows("ben", "Do not disturb “busy”")
        anna.until_member("ben", "Do not disturb “busy”")
        anna.until_live()
        ben.until_member("ben", "Do not disturb “busy”")
        assert sorted(anna.dots()) == sorted(DND_BOTH)
        assert anna.news()[:-told] == ["ben asks not to be disturbed: “busy”"], "the net change, once"
        assert {dot[1] for dot in ben.dots()} == {"ben"} and len(ben.news()) == told_ben, "nobody saw the cut"
        assert not anna.page.errors and not ben.page.errors


def test_a_page_that_was_frozen_for_an_hour_shows_what_is_now(browser: Browser) -> None:
    skipped_ms = 0
    clocks = Clocks(
        lambda: time.monotonic_ns() + skipped_ms * 1_000_000, lambda: time.time_ns() + skipped_ms * 1_000_000
    )
    clock = "const real = Date.now; window.skippedMs = 0; Date.now = () => real() + window.skippedMs;"
    with demonstrating(clocks=clocks, away_after_ms=0, offline_after_ms=0) as (server, port):
        anna = DemoTab(browser, port, "anna", first=clock)
        ben, carla = DemoTab(browser, port, "ben", first=clock), DemoTab(browser, port, "carla", first=clock)
        anna.until_all_come(["ben", "carla"])
        told = len(anna.news())
        anna.write_down_dots()
        anna.page.freeze()

        def pass_by(ms: int) -> None:
            nonlocal skipped_ms
            skipped_ms += ms
            for tab in (anna, ben, carla):
                tab.page.evaluate(f"window.skippedMs += {ms}")
            server.ask(lambda server: server.pacing.begin())

        pass_by(HOUR_MS // 2)
        # What anna's page said last may have been read only after that; it says nothing more.
        pass_by(SILENCE_MS)
        server.until(lambda server: _linked(server) == {"ben", "carla"})
        pass_by(GRACE_MS)
        ben.until_shows("anna", "Offline")
        ben.set("dnd", "a long call")
        carla.until_shows("ben", "Do not disturb “a long call”")
        pass_by(HOUR_MS // 2)
        server.until(lambda server: _linked(server) == {"ben", "carla"})
        assert anna.shows("ben") == "Online" and len(anna.news()) == told, "it is frozen"
        anna.page.wake()
        anna.until_shows("ben", "Do not disturb “a long call”")
        anna.until_live()
        ben.until_shows("anna", "Online")
        ben.until_member("anna", "Online")
        assert sorted(anna.dots()) == sorted(DND_BOTH), "the net change, and nothing of those who had come back"
        # Chromium itself says in the console that it closed the connection of a page that it froze.
        assert [error for error in anna.page.errors if "Page entered Back-Forward Cache" not in error] == []
        assert not ben.page.errors


def _linked(server: Any) -> set[str]:
    return {link.session.user_name for link in server.links if link.session}


def test_nobody_sees_a_reload(browser: Browser) -> None:
    with demonstrating() as (server, port):
        anna, ben = DemoTab(browser, port, "anna"), DemoTab(browser, port, "ben")
        anna.until_all_come(["ben"])
        ben.set("away", "reading")
        anna.until_shows("ben", "Away “reading”")
        anna.write_down_dots()
        told = len(anna.news())
        accepted = server.ask(lambda server: server.stats.accepted)
        ben.page.reload()
        ben.until_live()
        assert server.ask(lambda server: server.stats.accepted) == accepted + 1, "it was another link"
        ben.set("dnd")
        anna.until_shows("ben", "Do not disturb")
        assert [dot for dot in anna.dots() if dot[0] == "others"] == [("others", "ben", "away", "dnd")]
        assert len(anna.news()) == told + 1
        assert not anna.page.errors and not ben.page.errors


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_at_every_width(browser: Browser, scheme: str) -> None:
    with demonstrating() as (_, port):
        tab = DemoTab(browser, port, "anna-with-a-name-that-is-as-long-as-a-name-of-somebody-may-well-be")
        tab.set("dnd", "a-text-without-a-place-to-break-it-at-" * 3)
        tab.page.until("document.querySelector('#self-line').textContent.startsWith('Do not disturb')")
        tab.page.emulate(prefers_color_scheme=scheme)
        for width, zoom in ((360, 1.0), (768, 1.0), (1280, 1.0), (1280, 2.0)):
            tab.page.resize(width, zoom=zoom)
            assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert tab.page.evaluate(FAINT_TEXTS) == []


FAINT_TEXTS = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const mixed = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) {
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (color) => {
    const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = color.map((one) => linear(one / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    const grounds = [];
    for (let one = element; one; one = one.parentElement) grounds.unshift(getComputedStyle(one).backgroundColor);
    const [over, under] = [light(mixed([...grounds, getComputedStyle(element).color])), light(mixed(grounds))];
    const contrast = Math.max(over, under) / Math.min(over, under);
    if (contrast < 4.5) faint.push([walk.currentNode.data, contrast]);
  }
  return faint;
})()"""
"""Texts whose contrast to what is behind them is below that of WCAG 2, level AA."""
